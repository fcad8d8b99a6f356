"""Find artefacts of a known shape, and fill them from what is around."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.restoration.artifacts import (
    TEMPLATES,
    Artifact,
    fill_artifact,
    find_artifacts,
    footprint_of,
    has_colour,
)
from astro_sr_plugin.restoration.frame import Frame, open_frame
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.tasks import REMOVE_ARTIFACTS

__all__ = ["DIAMETERS", "METHODS", "remove_artifacts"]

METHODS = ("template",)
"""Methods that are offered."""
DIAMETERS = (9.0, 11.0, 14.0, 17.0, 21.0, 26.0, 33.0)
"""Sizes in pixels that are tried by default: each a quarter larger than the one before."""
_LEAST_DIAMETER, _MOST_DIAMETER = 5.0, 64.0
"""Sizes in pixels below which a template has too few pixels to be told from a star, and above which
filling takes minutes."""
_KEYWORD = "ASRARTIF"
"""Keyword of how many artefacts were filled."""

Template = str | os.PathLike[str] | NDArray
"""A name of `TEMPLATES`, an image file, or an image."""


@image_function
def remove_artifacts(
    image: Image,
    *,
    method: str = "template",
    templates: Template | Sequence[Template] = ("disc", "ring"),
    diameters: Sequence[float] = DIAMETERS,
    colour: Sequence[float] | None = None,
    tolerance: float = 0.2,
    false_alarms: float = 1.0,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    hdu: HDUChoice = None,
    force: bool = False,
) -> CCDData | NDArray:
    """Find artefacts by their shape, such as reflections, and fill them from their surroundings.

    Templates are correlated with the image in several sizes. What looks more like a star or a
    galaxy stays.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range; planes are
        searched together. Never changed.
    method : {"template"}
        How artefacts are found.
    templates : str, path, 2D array, or sequence of them
        ``"disc"``, ``"ring"``, an image file, or an image that the artefact fills, bright on 0.
    diameters : sequence of float
        Sizes to which the templates are brought, in pixels, 5 to 64.
    colour : sequence of float, optional
        Light of the artefacts in each plane, in any unit; others stay. For images of several
        planes.
    tolerance : float
        Largest difference of the shares of the light in the planes from those of ``colour``.
    false_alarms : float
        How many places of a million of empty sky may look like a template by chance.

    Returns
    -------
    CCDData or ndarray
        Same kind, shape, unit and WCS. Filled pixels are masked, as they are no data; all others
        come back as they were. The header has their number (``ASRARTIF``) and their places.

    Raises
    ------
    InputError
        If the image or a parameter cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:200, :200]
    >>> sky = np.random.default_rng(1).normal(100.0, 2.0, (200, 200))
    >>> reflection = 30.0 * (np.hypot(y - 90, x - 120) < 8)
    >>> clean = asr.remove_artifacts(sky + reflection, templates="disc")
    >>> inside = np.hypot(y - 90, x - 120) < 8
    >>> bool(abs(clean[inside].mean() - 100) < 2)
    True
    """
    if method not in METHODS:
        msg = f"method={method!r} is not known; allowed are {', '.join(METHODS)}"
        raise InputError(msg)
    shapes = _open_templates(templates)
    sizes = _check_sizes(diameters)
    frame = open_frame(
        image, REMOVE_ARTIFACTS, mask=mask, hdu=hdu, force=force, measured=measured
    ).with_typical_psf()
    wanted = _check_colour(colour, tolerance, frame)
    light = [plane.read(0, plane.shape[0], 0, plane.shape[1])[0] for plane in frame.usable]
    found = find_artifacts(
        np.sum(light, axis=0) / np.sqrt(len(light)),
        shapes,
        sizes,
        fwhm=frame.fwhm,
        false_alarms=false_alarms,
    )
    if wanted is not None:
        noise = [plane.image_sigma for plane in frame.usable]
        planes = np.stack([image * sigma for image, sigma in zip(light, noise, strict=True)])
        found = [a for a in found if has_colour(planes, a, shapes[a.template], wanted, tolerance)]
    filled = np.zeros(frame.parts.data.shape[-2:], bool)
    around = []
    for artifact in found:
        part, inside = _cut(artifact, shapes, filled.shape)
        filled[part] |= inside
        around.append(_widened(part, int(artifact.diameter)))
    header = frame.header(
        ModelSpec(method, REMOVE_ARTIFACTS, "finds shapes", "template matching"),
        parameters={"templates": tuple(shapes), "diameters": sizes, "false_alarms": false_alarms},
    )
    header[_KEYWORD] = (len(found), "artefacts that were filled")
    for a in found:
        header.add_history(
            f"artefact: {a.template} of {a.diameter:g} pixels at (x, y) = ({a.x}, {a.y})"
        )

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        del errors
        sink[...] = frame.parts.data
        for index, plane in frame.indexed():
            for part in around:
                hidden = filled[part] | plane.mask[part]
                if plane.usable and not hidden.all():
                    values = sink[index][part]
                    values[filled[part]] = fill_artifact(values, hidden)[filled[part]]

    return write_result(
        _with_mask(frame, filled), fill, header, scale=1, out=out, overwrite=overwrite
    )


def _open_templates(templates: Template | Sequence[Template]) -> dict[str, NDArray[np.float64]]:
    if isinstance(templates, str | os.PathLike | np.ndarray):
        templates = [templates]
    given: Sequence[Any] = templates
    opened = {}
    for number, template in enumerate(given, start=1):
        if isinstance(template, str) and template in TEMPLATES:
            opened[template] = TEMPLATES[template]
            continue
        named = isinstance(template, str | os.PathLike)
        name = Path(template).stem if named else f"template {number}"
        data = read_image(template).data if named else template
        pixels = np.asarray(data, dtype=np.float64)
        if pixels.ndim != 2 or min(pixels.shape) < 3 or not np.isfinite(pixels).all():  # noqa: PLR2004
            msg = (
                f"template {name!r} of shape {pixels.shape} cannot be used; allowed are "
                f"{', '.join(TEMPLATES)}, and images (ny, nx) of at least 3 pixels without NaN"
            )
            raise InputError(msg)
        opened[name] = pixels
    if not opened:
        msg = f"templates is empty; give at least one, such as {', '.join(TEMPLATES)}"
        raise InputError(msg)
    return opened


def _check_sizes(diameters: Sequence[float]) -> tuple[float, ...]:
    sizes = tuple(float(d) for d in np.atleast_1d(np.asarray(diameters, dtype=float)))
    if not sizes or not all(_LEAST_DIAMETER <= d <= _MOST_DIAMETER for d in sizes):
        msg = (
            f"diameters={sizes} are not allowed; take {_LEAST_DIAMETER:g} to "
            f"{_MOST_DIAMETER:g} pixels"
        )
        raise InputError(msg)
    return sizes


def _check_colour(
    colour: Sequence[float] | None, tolerance: float, frame: Frame
) -> NDArray[np.float64] | None:
    """Return the share of the light in each plane."""
    if colour is None:
        return None
    shares = np.asarray(colour, dtype=np.float64)
    planes = len(frame.usable)
    if shares.shape != (planes,) or planes == 1 or not (shares >= 0).all() or shares.sum() == 0:
        msg = (
            f"colour={tuple(colour)} does not suit an image of {planes} planes; give one number of "
            "0 or more for each of several planes"
        )
        raise InputError(msg)
    if not 0 < tolerance <= 1:
        msg = f"tolerance={tolerance} is not allowed; take a number above 0 up to 1"
        raise InputError(msg)
    return np.asarray(shares / shares.sum())


def _cut(
    artifact: Artifact,
    shapes: dict[str, NDArray[np.float64]],
    shape: tuple[int, ...],
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return the window around an artefact within the image, and its pixels in that."""
    inside = footprint_of(artifact, shapes[artifact.template])
    reach = inside.shape[0] // 2
    ends = [
        (max(0, place - reach), min(length, place + reach + 1))
        for place, length in zip((artifact.y, artifact.x), shape, strict=True)
    ]
    (top, bottom), (left, right) = ends
    first = (top - artifact.y + reach, left - artifact.x + reach)
    kept = inside[first[0] : first[0] + bottom - top, first[1] : first[1] + right - left]
    return (slice(top, bottom), slice(left, right)), kept


def _widened(part: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
    """Return a window with so many more pixels at each side, as far as the image reaches."""
    rows, columns = (slice(max(0, s.start - margin), s.stop + margin) for s in part)
    return rows, columns


def _with_mask(frame: Frame, filled: NDArray[np.bool_]) -> Frame:
    """Return the frame with filled pixels masked, beside those that were."""
    whole = np.broadcast_to(filled, frame.parts.data.shape)
    mask = whole.copy() if frame.parts.mask is None else frame.parts.mask | whole
    return replace(frame, parts=replace(frame.parts, mask=mask))
