"""Registration of images: the transform of one, and the frames of a night brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import ArrayImage, FileImage, HDUChoice, Image
from astro_sr_plugin.data.signatures import shared_parameters
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.registration.applying import apply_transform, check_resampling
from astro_sr_plugin.registration.fitting import check_model
from astro_sr_plugin.registration.frames import (
    Frame,
    as_table,
    choose_reference,
    hdu_of,
    look_at,
    match_all,
    open_frame,
    solve,
)
from astro_sr_plugin.registration.transform import Transform

__all__ = ["Registration", "find_transform", "register"]


@shared_parameters
def find_transform(
    image: Image | Table,
    reference: Image | Table,
    *,
    model: str = "auto",
    scale: tuple[float, float] = (0.4, 2.5),
    mirror: bool = True,
    use_wcs: bool = True,
    hdu: HDUChoice = None,
) -> Transform:
    """Find where the pixels of an image lie in a reference.

    Parameters
    ----------
    image, reference : CCDData, NDData, ndarray, str, Path or Table
        Images in linear units, or their stars: tables of `detect_stars`, or of photutils.
    model : str
        ``'shift'``, ``'similarity'``, ``'affine'``, ``'homography'``, ``'polynomial2'`` to
        ``'polynomial5'``, ``'thin-plate'``; ``'auto'`` takes the simplest one such that no freer
        one predicts stars better that it was not fitted to.
    scale : (float, float)
        Least and largest number of pixels of the reference per pixel of the image.
    mirror : bool
        Whether the image may be a mirror image.
    use_wcs : bool
        Whether world coordinates that both images have say where to look first. The stars decide.

    Returns
    -------
    Transform
        Fitted to stars, weighted by the inverse squares of their errors. Where an image shows too
        few stars, that of the world coordinates, with a warning.

    Raises
    ------
    InputError
        If the stars of the two images do not agree better than chance, or are too few for the
        model.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(2)
    >>> sky = np.zeros((200, 200))
    >>> for x, y in rng.uniform(20, 180, (30, 2)):
    ...     v, u = np.mgrid[:200, :200]
    ...     sky += rng.uniform(100, 900) * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4.5)
    >>> a, b = (s + rng.normal(0, 3, s.shape) for s in (sky, np.roll(sky, (5, -3), (0, 1))))
    >>> dx, dy = asr.find_transform(b, a).shift
    >>> print(f"{dx:.1f} {dy:.1f}")
    3.0 -5.0
    """
    check_model(model)
    frames = open_frame(image, "the image", hdu), open_frame(reference, "the reference", hdu)
    settings = {"scale": scale, "mirror": mirror, "use_wcs": use_wcs, "model": model}
    return _transform_of(*frames, settings)


def _transform_of(image: Frame, reference: Frame, settings: dict[str, Any]) -> Transform:
    found = solve(image, reference, **settings)
    if isinstance(found, str):
        msg = f"the image cannot be registered: {found}"
        raise InputError(msg)
    return found


@dataclass(frozen=True, eq=False)
class Registration:
    """Frames brought together on the pixels of one of them.

    Attributes
    ----------
    table : astropy.table.Table
        One row per frame: ``frame``, ``registered``, ``stars`` and ``fwhm`` (pixels), ``shift_x
        shift_y`` (pixels), ``rotation`` (degrees), ``scale``, ``mirrored``, ``model``, ``pairs``,
        ``residual`` (pixels), ``probability``, and ``reason`` where it was left out.
    transforms : dict of int to Transform
        By the number of the frame; frames that were left out have none.
    reference : int
        Number of the frame that is the reference; -1 if it is none of them.
    wcs : astropy.wcs.WCS or None
        World coordinates of the reference.
    left_out : dict of int to str
        Why frames were left out.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> v, u = np.mgrid[:120, :120]
    >>> sky = np.random.default_rng(1).normal(0, 1, (120, 120))
    >>> for x, y in np.random.default_rng(3).uniform(10, 110, (12, 2)):
    ...     sky += 500 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4.5)
    >>> found = asr.register([sky, np.roll(sky, 2, 0)], reference=0)
    >>> [image.shape for number, image in found.aligned()]
    [(120, 120), (120, 120)]
    """

    table: Table
    transforms: dict[int, Transform]
    reference: int
    wcs: WCS | None
    left_out: dict[int, str]
    _frames: Sequence[Image] = field(repr=False)
    _hdu: HDUChoice = field(repr=False)

    def aligned(
        self, *, kernel: str = "bspline", conserve_flux: bool = True
    ) -> Iterator[tuple[int, CCDData | NDArray]]:
        """Resample the frames, one at a time.

        Parameters
        ----------
        kernel, conserve_flux
            As in `apply_transform`.

        Yields
        ------
        number : int
            Of the frame.
        image : CCDData or ndarray
            On the pixels of the reference.
        """
        check_resampling(kernel)
        for number, transform in self.transforms.items():
            image: Any = self._frames[number]
            yield (
                number,
                apply_transform(
                    image,
                    transform,
                    kernel=kernel,
                    conserve_flux=conserve_flux,
                    wcs=self.wcs,
                    hdu=hdu_of(image, self._hdu),
                ),
            )


@overload
def register(
    frames: FileImage,
    reference: Image,
    *,
    model: str = ...,
    scale: tuple[float, float] = ...,
    mirror: bool = ...,
    use_wcs: bool = ...,
    strict: bool = ...,
    kernel: str = ...,
    measured: Quality | None = ...,
    hdu: HDUChoice = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> CCDData: ...
@overload
def register(
    frames: ArrayImage,
    reference: Image,
    *,
    model: str = ...,
    scale: tuple[float, float] = ...,
    mirror: bool = ...,
    use_wcs: bool = ...,
    strict: bool = ...,
    kernel: str = ...,
    measured: Quality | None = ...,
    hdu: HDUChoice = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> NDArray: ...
@overload
def register(
    frames: Sequence[Image],
    reference: Image | int | None = ...,
    *,
    model: str = ...,
    scale: tuple[float, float] = ...,
    mirror: bool = ...,
    use_wcs: bool = ...,
    strict: bool = ...,
    kernel: str = ...,
    measured: Sequence[Quality | None] | None = ...,
    hdu: HDUChoice = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> Registration: ...
def register(
    frames: Image | Sequence[Image],
    reference: Image | int | None = None,
    *,
    model: str = "auto",
    scale: tuple[float, float] = (0.4, 2.5),
    mirror: bool = True,
    use_wcs: bool = True,
    strict: bool = False,
    kernel: str = "bspline",
    measured: Quality | Sequence[Quality | None] | None = None,
    hdu: HDUChoice = None,
    progress: Callable[[int, int], None] | None = None,
) -> CCDData | NDArray | Registration:
    """Register an image to a reference, or find the transforms of many frames.

    Parameters
    ----------
    frames : CCDData, NDData, ndarray, str or Path, or a list of them
        An image, or the frames; raw frames of colour cameras too.
    reference : CCDData, NDData, ndarray, str, Path or int, optional
        The image that the others are brought to, or the number of one of the frames. By default
        one that is sharp, shows many stars and lies near the middle of all.
    model, scale, mirror, use_wcs
        As in `find_transform`.
    strict : bool
        Whether a frame that cannot be registered is an error; otherwise it is left out, with a
        warning.
    kernel : str
        For a single image, as in `apply_transform`.
    measured : Quality, or list of Quality or None, optional
        What `measure` found on the image, or on each of the frames, to be used again.
    hdu : int, str or (str, int), optional
        Which image of files: number, name (``"SCI"``), or name and version.
    progress : callable, optional
        Called with the number of frames looked at, and of all.

    Returns
    -------
    CCDData or ndarray, or Registration
        The image on the pixels of the reference; for a list, the transforms and a table.

    Raises
    ------
    InputError
        If the image, or with `strict` any frame, cannot be registered; if none of several frames
        can; if `measured` belongs to other images.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(2)
    >>> sky = np.zeros((160, 160))
    >>> for x, y in rng.uniform(20, 140, (30, 2)):
    ...     v, u = np.mgrid[:160, :160]
    ...     sky += rng.uniform(100, 900) * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4.5)
    >>> frames = [np.roll(sky, k, 1) + rng.normal(0, 3, sky.shape) for k in (0, 4, 9)]
    >>> found = asr.register(frames, reference=0)
    >>> [f"{x:.1f}" for x in found.table["shift_x"]]
    ['0.0', '-4.0', '-9.0']
    >>> asr.register(frames[1], frames[0]).shape
    (160, 160)
    """
    check_model(model)
    check_resampling(kernel)
    settings: dict[str, Any] = {
        "model": model,
        "scale": scale,
        "mirror": mirror,
        "use_wcs": use_wcs,
    }
    if not isinstance(frames, list | tuple):
        if reference is None or isinstance(reference, int):
            msg = f"reference={reference!r}; a single image needs an image to be registered to"
            raise InputError(msg)
        if not isinstance(measured, Quality | None):
            msg = "measured is a list, but frames is a single image: give the Quality of that"
            raise InputError(msg)
        return _register_one(frames, reference, settings, kernel, measured, hdu)
    known = [None] * len(frames) if measured is None else measured
    if isinstance(known, Quality) or len(known) != len(frames):
        msg = f"measured has to be a list of {len(frames)}, one Quality or None for each frame"
        raise InputError(msg)
    return _register_all(frames, reference, settings, strict, known, hdu, progress)


def _register_one(
    image: Any,
    reference: Image,
    settings: dict[str, Any],
    kernel: str,
    measured: Quality | None,
    hdu: HDUChoice,
) -> CCDData | NDArray:
    own_hdu = hdu_of(image, hdu)
    target = open_frame(reference, "the reference", hdu_of(reference, hdu))
    found = _transform_of(open_frame(image, "the image", own_hdu, measured), target, settings)
    return apply_transform(image, found, kernel=kernel, wcs=target.wcs, hdu=own_hdu)


def _register_all(
    images: Sequence[Image],
    reference: Image | int | None,
    settings: dict[str, Any],
    strict: bool,
    measured: Sequence[Quality | None],
    hdu: HDUChoice,
    progress: Callable[[int, int], None] | None,
) -> Registration:
    needed = 1 if reference is not None and not isinstance(reference, int) else 2
    if len(images) < needed:
        msg = f"frames holds {len(images)}; registering needs {needed} or more"
        raise InputError(msg)
    if isinstance(reference, int) and not 0 <= reference < len(images):
        msg = f"reference={reference} is not one of the {len(images)} frames"
        raise InputError(msg)
    frames = []
    for number, image in enumerate(images):
        frames.append(look_at(image, number, hdu, measured[number]))
        if progress is not None:
            progress(number + 1, len(images))
    if reference is None:
        chosen, found = choose_reference(frames, settings)
        target = frames[chosen]
    else:
        chosen = reference if isinstance(reference, int) else -1
        outside = (
            None if isinstance(reference, int) else open_frame(reference, "the reference", hdu)
        )
        target = frames[chosen] if outside is None else outside
        if target.stars is None:
            msg = f"the reference {target.name} cannot be used: {target.fault}"
            raise InputError(msg)
        found = match_all(frames, target, settings)
    left_out = {k: reason for k, reason in found.items() if isinstance(reason, str)}
    transforms = {k: t for k, t in found.items() if isinstance(t, Transform)}
    named = "; ".join(f"{frames[k].name}: {reason}" for k, reason in left_out.items())
    if left_out and (strict or not set(transforms) - {chosen}):
        msg = f"{len(left_out)} of {len(frames)} frames cannot be registered ({named})"
        raise InputError(msg)
    if left_out:
        warn(f"{len(left_out)} of {len(frames)} frames are left out ({named})")
    table = as_table(frames, found)
    return Registration(table, transforms, chosen, target.wcs, left_out, images, hdu)
