"""The PSF of each plane that a verb works with: measured, given by the user, or another plane's."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import InputError, UnchangedWarning, warn
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.model import PlanePSF
from astro_sr_plugin.measurement.psf.moffat import DEFAULT_BETA, PSFMeasurement
from astro_sr_plugin.models.filters import FILTER_RADIUS
from astro_sr_plugin.restoration.plane import NormalisedPlane

if TYPE_CHECKING:
    from astropy.modeling import Model

__all__ = ["PSFLike", "join_names", "make_given_psf", "normalise_planes"]

PSFLike: TypeAlias = "float | Sequence[Any] | NDArray[Any] | Model | str | os.PathLike[str] | None"
"""``fwhm``, ``(fwhm, beta)``, ``(fwhm, beta, ellipticity, theta)``, an image of the PSF, a model of
photutils, a sequence of models for the planes of a colour image, or a file."""

_GIVEN_SHAPE = ("beta", DEFAULT_BETA), ("ellip", 0.0), ("theta", 0.0)
"""Moffat parameters in ``meta`` of a model, and what they are if they are not there."""
_LEAST_LIGHT = 0.1
"""Smallest fraction of the flux in the image of a PSF that can be right."""
_GIVEN_ERROR, _BORROWED_ERROR = 0.01, 0.05
"""Relative errors of a FWHM that the user gives, and of one that another plane shows."""


def normalise_planes(
    planes: Sequence[MeasuredPlane], psf: PSFLike = None
) -> tuple[NormalisedPlane, ...]:
    """Join the planes of an image with their PSFs.

    Planes without stars take the PSF of the one with most; a given PSF serves for all, and none is
    measured then. Planes without data are marked.

    Parameters
    ----------
    planes : sequence of MeasuredPlane
        The planes.
    psf : PSFLike, optional
        The user's PSF.

    Raises
    ------
    InputError
        If no plane holds anything to enhance, or the PSF is not what is allowed.
    """
    given = None if psf is None else _each_given(psf, len(planes))
    usable = [plane for plane in planes if plane.fault is None]
    if not usable:
        msg = f"{planes[0].fault}; there is nothing to enhance"
        raise InputError(msg)
    for plane in planes:
        if plane.fault is not None:
            warn(
                f"{plane.name} comes back as it is: {plane.fault}; there is nothing to enhance",
                UnchangedWarning,
            )
    if given is not None:
        return tuple(
            NormalisedPlane(plane, own, plane.fault is None)
            for plane, own in zip(planes, given, strict=True)
        )
    best = max(usable, key=lambda plane: (plane.psf.known, plane.psf.moffat.n_stars)).psf
    lacking = [k for k, plane in enumerate(planes) if plane.fault is None and not plane.psf.known]
    if lacking and best.known:
        warn(
            f"no star can be measured in {join_names(lacking, len(planes))}: the PSF of the best "
            f"plane (FWHM {best.moffat.fwhm:.2f} px from {best.moffat.n_stars} stars) serves there "
            "too"
        )
    borrowed = replace(best, relative_error=_BORROWED_ERROR)
    return tuple(
        NormalisedPlane(plane, borrowed, usable=False)
        if plane.fault is not None
        else NormalisedPlane(plane, plane.psf if plane.psf.known or not best.known else borrowed)
        for plane in planes
    )


def make_given_psf(psf: PSFLike) -> PlanePSF:
    """Make the PSF that a user gives.

    Parameters
    ----------
    psf : number, sequence of numbers, 2D array or Model
        Moffat parameters (FWHM in pixels before integration over the pixel, beta, ellipticity,
        angle in radians from +x), an image of the PSF on the pixels of the input, or a model of
        photutils, such as `measure_psf` gives.

    Returns
    -------
    PlanePSF
        The parameters of the PSF, and its image if one was given.

    Raises
    ------
    InputError
        If the PSF is not what is allowed.
    """
    if _is_model(psf):
        return _from_model(cast("Model", psf))
    array = np.asarray(psf, dtype=np.float64)
    if array.ndim == 2:
        image = _centred(array)
        given = _given(_half_maximum_width(image), DEFAULT_BETA, 0.0, 0.0)
        return replace(given, image=image.astype(np.float32))
    if array.ndim > 1 or array.size not in (1, 2, 4) or not np.isfinite(array).all():
        msg = (
            f"psf={psf!r} is not a PSF; allowed are fwhm, (fwhm, beta), "
            "(fwhm, beta, ellipticity, theta), a 2D image, a PSF model of photutils, or a file"
        )
        raise InputError(msg)
    numbers = array.ravel().tolist()
    fwhm, beta, ellipticity, theta = numbers + [0.0, DEFAULT_BETA, 0.0, 0.0][len(numbers) :]
    if not (0.5 <= fwhm <= 30 and beta > 1 and 0 <= ellipticity < 0.9):
        msg = (
            f"psf={tuple(numbers)} is out of range; allowed are fwhm 0.5 to 30 px, "
            "beta above 1, ellipticity 0 to 0.9"
        )
        raise InputError(msg)
    return _given(fwhm, beta, ellipticity, theta)


class _GivenModel:
    """A model of photutils, rendered at places of the plane."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def image(self, x: float, y: float, *, radius: int) -> NDArray[np.float64]:
        """Render the PSF at a place, in the middle of a stamp of ``2 * radius + 1`` pixels."""
        v, u = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        parameters = dict(zip(self._model.param_names, self._model.parameters, strict=True))
        parameters.update(flux=1.0, x_0=x, y_0=y)
        values = self._model.evaluate(u + x, v + y, *parameters.values())
        image = np.maximum(np.asarray(values, dtype=np.float64), 0.0)
        return image / max(1.0, float(image.sum()))


def _each_given(psf: PSFLike, count: int) -> list[PlanePSF]:
    """Make the given PSF of each plane."""
    if isinstance(psf, str | os.PathLike):
        psf = _read(psf)
    models = list(psf) if isinstance(psf, Sequence) else []
    if models and all(map(_is_model, models)):
        if len(models) != count:
            msg = f"psf holds {len(models)} models, but the image has {count} planes"
            raise InputError(msg)
        return [make_given_psf(model) for model in models]
    return [make_given_psf(psf)] * count


def _is_model(psf: object) -> bool:
    """Whether a PSF is a model of astropy, without loading those."""
    return hasattr(psf, "param_names") and hasattr(psf, "evaluate")


def _read(path: str | os.PathLike[str]) -> PSFLike:
    """Read a PSF file: models where the oversampling is stated, else an image."""
    image = read_image(path)
    if "OVERSAMP" not in image.meta:
        return np.asarray(image.data)
    from astro_sr_plugin.measurement.psf.exchange import read_psf

    return read_psf(path)


def _from_model(model: Model) -> PlanePSF:
    """Make the PSF of a plane from a model of photutils, such as `measure_psf` gives."""
    if not {"flux", "x_0", "y_0"} <= set(model.param_names):
        msg = f"psf={model.__class__.__name__} is no PSF model: it needs flux, x_0 and y_0"
        raise InputError(msg)
    rendered = _GivenModel(model)
    places = np.asarray(getattr(model, "grid_xypos", [(0.0, 0.0)]), dtype=np.float64)
    image = rendered.image(*places.mean(axis=0).round().tolist(), radius=FILTER_RADIUS)
    if not image.sum() > _LEAST_LIGHT:
        msg = f"psf={model.__class__.__name__} holds no light: normalise it to a sum of 1"
        raise InputError(msg)
    fwhm = float(model.meta.get("fwhm", _half_maximum_width(image)))
    numbers = (float(model.meta.get(*known)) for known in _GIVEN_SHAPE)
    given = _given(fwhm, *numbers)
    varying = rendered if len(places) > 1 else None
    return replace(given, image=image.astype(np.float32), varying=varying)


def join_names(numbers: Sequence[int], count: int) -> str:
    """Name planes of an image of ``count``: by their colours if there are three."""
    names = ["RGB"[k] if count == 3 else f"plane {k}" for k in numbers]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _given(fwhm: float, beta: float, ellipticity: float, theta: float) -> PlanePSF:
    moffat = PSFMeasurement(
        fwhm,
        beta,
        ellipticity,
        theta,
        0,
        _GIVEN_ERROR * fwhm,
        confidence="given",
        confidence_value=1.0,
    )
    return PlanePSF(moffat, relative_error=_GIVEN_ERROR)


def _centred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a PSF image to odd sides about its core, at most twice the filter radius, sum 1.

    The core is where the brighter half of its levels is: the rings and lobes of aberrated optics
    have their peaks beside it.
    """
    if not np.isfinite(image).all() or image.sum() <= 0 or min(image.shape) < 3:
        msg = (
            f"psf: the image of shape {image.shape} is not a PSF; it needs at least 3 x 3 pixels, "
            "all finite, with a positive sum"
        )
        raise InputError(msg)
    core = np.where(image > 0.5 * image.max(), image, 0.0)
    y, x = (round(place) for place in center_of_mass(core))
    r = min(y, x, image.shape[0] - 1 - y, image.shape[1] - 1 - x, FILTER_RADIUS)
    if r < 1:
        msg = f"psf: the peak of the image lies on its edge, at (x, y) = ({x}, {y}); centre it"
        raise InputError(msg)
    cut = image[y - r : y + r + 1, x - r : x + r + 1]
    return cut / cut.sum()


def _half_maximum_width(image: NDArray[np.float64]) -> float:
    """FWHM of the optical profile from the area above half of the maximum, less the pixel."""
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], scale_factor=8, mode="bicubic", align_corners=False
    )
    area = float((fine > fine.max() / 2).sum()) / 64
    width = 2 * math.sqrt(area / math.pi)
    return math.sqrt(max(0.25, width**2 - 8 * math.log(2) / 12))
