"""The PSF that a verb works with: measured or given, and the target it goes to."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import InputError, UnchangedWarning
from astro_sr_plugin.measurement.pixels import describe_fill, plane_name
from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.models.filters import FILTER_RADIUS, gaussian_kernel, make_moffat_psf
from astro_sr_plugin.models.spec import Conditions, ModelSpec, PSFNodes
from astro_sr_plugin.restoration.frame import Frame
from astro_sr_plugin.restoration.plane import PlaneMeasurement, measure_plane, warn

__all__ = [
    "PSFLike",
    "apply_given_psf",
    "choose_target",
    "describe_field",
    "make_conditions",
    "measure_planes",
    "target_image",
]

PSFLike = float | Sequence[float] | NDArray | str | os.PathLike[str] | None
"""``fwhm``, ``(fwhm, beta)``, ``(fwhm, beta, ellipticity, theta)``, an image of the PSF, or its
file."""

_DEFAULT_BETA = 3.5
_LEAST_BETA = 1.6
_MOST_BETA = 20.0
"""What a network is told of profiles without wings, such as Gaussians. Trained up to 10, it goes on
from there as it should; the image of the PSF has any beta."""
_SHARPEST = 2.3
_IMPOSSIBLE = 6.0
_FEW_STARS = 3
_ILL_SHAPED = (0.22, 0.3)
_LEAST_ERROR, _GIVEN_ERROR, _BORROWED_ERROR, _UNKNOWN_ERROR = 0.01, 0.01, 0.05, 0.12
"""Relative errors of a FWHM: at best (stars differ from a Moffat profile), and if not measured."""
_NODES = 7


def apply_given_psf(measured: PlaneMeasurement, psf: PSFLike) -> PlaneMeasurement:
    """Put the user's PSF in the place of the measured one.

    Parameters
    ----------
    measured : PlaneMeasurement
        What was measured.
    psf : number, sequence of numbers, 2D array, str, Path or None
        Moffat parameters (FWHM in pixels before integration over the pixel, beta, ellipticity,
        angle in radians from +x), an image of the PSF on the pixels of the input, or a file of it.

    Returns
    -------
    PlaneMeasurement
        With the parameters of the PSF, and its image if one was given.

    Raises
    ------
    InputError
        If the PSF is not what is allowed.
    """
    if psf is None:
        return measured
    if isinstance(psf, str | os.PathLike):
        psf = np.asarray(read_image(psf).data)
    array = np.asarray(psf, dtype=np.float64)
    if array.ndim == 2:
        image = _centred(array)
        fwhm = _half_maximum_width(image)
        told = _told(measured, fwhm, _DEFAULT_BETA, 0.0, 0.0)
        return replace(told, psf_image=image.astype(np.float32))
    if array.ndim > 1 or array.size not in (1, 2, 4) or not np.isfinite(array).all():
        msg = (
            f"psf={psf!r} is not a PSF; allowed are fwhm, (fwhm, beta), "
            "(fwhm, beta, ellipticity, theta), a 2D image or its file"
        )
        raise InputError(msg)
    given = array.ravel().tolist()
    fwhm, beta, ellipticity, theta = given + [0.0, _DEFAULT_BETA, 0.0, 0.0][len(given) :]
    if not (0.5 <= fwhm <= 30 and beta > 1 and 0 <= ellipticity < 0.9):
        msg = (
            f"psf={tuple(given)} is out of range; allowed are fwhm 0.5 to 30 px, "
            "beta above 1, ellipticity 0 to 0.9"
        )
        raise InputError(msg)
    return _told(measured, fwhm, beta, ellipticity, theta)


def measure_planes(frame: Frame, psf: PSFLike = None) -> list[PlaneMeasurement]:
    """Measure every plane of an image; planes without stars take the PSF of the one with most.

    Parameters
    ----------
    frame : Frame
        The image.
    psf : PSFLike, optional
        The user's PSF for all planes, instead of the measured ones.

    Returns
    -------
    list of PlaneMeasurement
        One per plane.
    """
    fill = describe_fill(frame.pixels)
    if fill is not None:
        warn(fill)
    found = _measure_usable(frame, psf)
    best = max(found, key=lambda m: (math.isfinite(m.fwhm), m.n_stars))
    lacking = [k for k, m in enumerate(found) if not math.isfinite(m.fwhm)]
    if not lacking or not math.isfinite(best.fwhm):
        return found
    warn(
        f"no star can be measured in {_planes(lacking, len(found))}: the PSF of the best plane "
        f"(FWHM {best.fwhm:.2f} px from {best.n_stars} stars) serves there too"
    )
    return [
        m
        if math.isfinite(m.fwhm)
        else replace(
            m,
            fwhm=best.fwhm,
            beta=best.beta,
            ellipticity=best.ellipticity,
            theta=best.theta,
            confidence=best.confidence,
            psf_image=best.psf_image,
            fwhm_error=_BORROWED_ERROR,
            psf_field=best.psf_field,
        )
        for m in found
    ]


def _measure_usable(frame: Frame, psf: PSFLike) -> list[PlaneMeasurement]:
    """Measure the planes that can be; the others take the figures of the first one, marked."""
    found: list[PlaneMeasurement | None] = []
    reasons = []
    for number, (index, pixels) in enumerate(frame.planes()):
        error = frame.error_of(index)
        if error is not None and pixels.unit != 1:
            error = np.asarray(error, np.float64) / pixels.unit
        try:
            measured = measure_plane(pixels.data, pixels.unusable, error, pixels.unit)
        except InputError as problem:
            found.append(None)
            reasons.append((number, problem))
        else:
            found.append(apply_given_psf(measured, psf))
    first = next((m for m in found if m is not None), None)
    if first is None:
        raise reasons[0][1]
    for number, reason in reasons:
        warn(f"{plane_name(number, len(found))} comes back as it is: {reason}", UnchangedWarning)
    return [replace(first, usable=False) if m is None else m for m in found]


def _told(
    measured: PlaneMeasurement, fwhm: float, beta: float, ellipticity: float, theta: float
) -> PlaneMeasurement:
    return replace(
        measured,
        fwhm=fwhm,
        beta=beta,
        ellipticity=ellipticity,
        theta=theta,
        confidence="given",
        psf_image=None,
        fwhm_error=_GIVEN_ERROR,
        psf_field=None,
        misfit=math.nan,
    )


def _centred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a PSF image to odd sides about its peak, at most twice the filter radius, sum 1."""
    if not np.isfinite(image).all() or image.sum() <= 0 or min(image.shape) < 3:
        msg = (
            f"psf: the image of shape {image.shape} is not a PSF; it needs at least 3 x 3 pixels, "
            "all finite, with a positive sum"
        )
        raise InputError(msg)
    y, x = np.unravel_index(np.argmax(image), image.shape)
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


def choose_target(
    measured: Sequence[PlaneMeasurement], target_fwhm: float | None, spec: ModelSpec
) -> float:
    """Choose the FWHM of the result in output pixels: one for all planes, so that colours agree.

    Parameters
    ----------
    measured : sequence of PlaneMeasurement
        One per plane.
    target_fwhm : float or None
        What the user wants; by default half of the widest plane, at least 2 pixels and what the
        model can reach, and not so narrow that the widest stars of a field would be made more than
        2.3 times narrower.
    spec : ModelSpec
        The model.

    Raises
    ------
    InputError
        If no PSF is known, or the wanted one cannot be.
    """
    if not all(math.isfinite(m.fwhm) for m in measured):
        stars = min(m.n_stars for m in measured)
        msg = (
            f"the width of the stars cannot be measured ({stars} usable stars); "
            "give it by psf=(fwhm, beta)"
        )
        raise InputError(msg)
    widest = max(_fwhm_range(m)[1] for m in measured) * spec.scale
    _warn_of_stars(measured, spec)
    if target_fwhm is None:
        half = max(m.fwhm for m in measured) * spec.scale / 2
        return max(2.0, half, widest / _SHARPEST, spec.finest_target)
    if not (math.isfinite(target_fwhm) and target_fwhm >= spec.finest_target):
        msg = (
            f"target_fwhm={target_fwhm} cannot be sampled by model {spec.name!r}; "
            f"allowed is {spec.finest_target:g} px or more"
        )
        raise InputError(msg)
    if widest / target_fwhm > _IMPOSSIBLE:
        msg = (
            f"target_fwhm={target_fwhm:g} px is {widest / target_fwhm:.1f} times narrower than the "
            f"stars ({widest:.2f} output px); allowed is {widest / _IMPOSSIBLE:.1f} px or more"
        )
        raise InputError(msg)
    if widest / target_fwhm > _SHARPEST:
        warn(
            f"target_fwhm={target_fwhm:g} px is {widest / target_fwhm:.1f} times narrower than the "
            f"stars ({widest:.2f} output px); the models were made for 2 times: expect artefacts"
        )
    return float(target_fwhm)


def describe_field(measured: Sequence[PlaneMeasurement]) -> dict[str, Any]:
    """Tell the header the range of the FWHM over the field, per plane, where the PSF changes."""
    if all(m.psf_field is None for m in measured):
        return {}
    ranges = [_fwhm_range(m) for m in measured]
    return {"psf_fwhm_range": tuple((round(low, 4), round(high, 4)) for low, high in ranges)}


def _fwhm_range(measured: PlaneMeasurement) -> tuple[float, float]:
    """Smallest and largest FWHM of a plane's stars; both the same if the PSF is one."""
    if measured.psf_field is None:
        return measured.fwhm, measured.fwhm
    return measured.psf_field.fwhm_range()


def _warn_of_stars(measured: Sequence[PlaneMeasurement], spec: ModelSpec) -> None:
    low, high = spec.fwhm_range
    for m in measured:
        if m.confidence == "low" and m.n_stars <= _FEW_STARS and m.fwhm > high:
            msg = (
                f"the width of the stars cannot be measured ({m.n_stars} sources of FWHM "
                f"{m.fwhm:.1f} px, which may be none); give it by psf=(fwhm, beta)"
            )
            raise InputError(msg)
    _warn_once(
        measured,
        lambda m: m.confidence == "low",
        lambda m: f"FWHM {m.fwhm:.2f} px from {m.n_stars} stars",
        "the PSF is uncertain ({}); give a better one by psf=(fwhm, beta)",
    )
    _warn_once(
        measured,
        # Stars that agree well are what the measured image of the profile says.
        lambda m: m.misfit > _ILL_SHAPED[m.confidence == "high"],
        lambda m: f"{100 * m.misfit:.0f} % of their light is missed",
        "the stars are no Moffat profiles ({}): out of focus or badly guided? Expect rings and "
        "false pairs; give their profile by psf=file",
    )
    for outside, advice in (
        (lambda m: m.fwhm > high, "reduce the image by auto_scale=True"),
        (lambda m: m.fwhm < low, "use drizzled data"),
    ):
        _warn_once(
            measured,
            outside,
            lambda m: f"FWHM {m.fwhm:.2f} px",
            f"the stars ({{}}) are outside the range of model {spec.name!r}, {low:g} to {high:g} "
            f"px; {advice}",
        )


def _warn_once(
    measured: Sequence[PlaneMeasurement],
    concerned: Callable[[PlaneMeasurement], bool],
    figures: Callable[[PlaneMeasurement], str],
    text: str,
) -> None:
    """Warn of all planes that something concerns in one sentence, ``{}`` in it for the figures."""
    found = [k for k, m in enumerate(measured) if concerned(m)]
    if not found:
        return
    names = [_planes([k], len(measured)) for k in found]
    said = [figures(measured[k]) for k in found]
    parts = said if len(measured) == 1 else [f"{n}: {s}" for n, s in zip(names, said, strict=True)]
    warn(text.format("; ".join(parts)))


def _planes(numbers: Sequence[int], count: int) -> str:
    """Name planes of an image of ``count``: by their colours if there are three."""
    names = ["RGB"[k] if count == 3 else f"plane {k}" for k in numbers]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def make_conditions(measured: PlaneMeasurement, target_fwhm: float | None) -> Conditions:
    """Gather what the model is told of one plane; ``target_fwhm`` None keeps the PSF."""
    beta = measured.beta if math.isfinite(measured.beta) else _DEFAULT_BETA
    beta = max(beta, _LEAST_BETA)
    ellipticity = measured.ellipticity if math.isfinite(measured.ellipticity) else 0.0
    theta = measured.theta if math.isfinite(measured.theta) else 0.0
    image, error = measured.psf_image, measured.fwhm_error
    if image is None:
        numbers = torch.tensor([measured.fwhm, beta, ellipticity, theta], dtype=torch.float32)
        image = make_moffat_psf(*numbers[:, None])[0].numpy()
        image *= _enclosed(measured.fwhm, beta)
    return Conditions(
        psf=image,
        fwhm=measured.fwhm,
        beta=min(beta, _MOST_BETA),
        ellipticity=ellipticity,
        target_fwhm=measured.fwhm if target_fwhm is None else target_fwhm,
        noise_correlation=measured.noise_correlation,
        fwhm_error=max(error, _LEAST_ERROR) if math.isfinite(error) else _UNKNOWN_ERROR,
        nodes=None
        if measured.psf_field is None
        else _nodes(measured.psf_field, measured.psf_image),
    )


def _enclosed(fwhm: float, beta: float) -> float:
    """Return the part of the light of a Moffat profile within the radius of the filters."""
    alpha = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    return 1 - (1 + (FILTER_RADIUS / alpha) ** 2) ** (1 - beta)


def _nodes(field: PSFField, image: NDArray[np.float32] | None) -> PSFNodes:
    """Render the PSF at nodes over the frame; what ``image`` has beside its Moffat is the same."""
    rows, columns = (np.linspace(0, n - 1, _NODES) for n in field.shape)
    x, y = (place.ravel() for place in np.meshgrid(columns, rows))
    mean = field.mean()
    shapes = zip((mean.fwhm, mean.ellipticity, mean.theta), field.at(x, y), strict=True)
    fwhm, ellipticity, theta = (
        torch.tensor([first, *others], dtype=torch.float32) for first, others in shapes
    )
    moffats = make_moffat_psf(fwhm, torch.full_like(fwhm, field.beta), ellipticity, theta).numpy()
    images, part = moffats[1:], _enclosed(mean.fwhm, field.beta)
    if image is not None:
        part = float(image.sum())
        images = np.maximum(images + (image / part - moffats[0]), 0.0)
        images /= images.sum(axis=(1, 2), keepdims=True)
    images *= np.float32(part)
    grid = (_NODES, _NODES)
    return PSFNodes(
        images=images.reshape(*grid, *images.shape[1:]),
        rows=rows,
        columns=columns,
        fwhm=fwhm[1:].double().numpy().reshape(grid),
        ellipticity=ellipticity[1:].double().numpy().reshape(grid),
    )


def target_image(target_fwhm: float, scale: int) -> NDArray[np.float32]:
    """Image of the Gaussian target on input pixels."""
    return gaussian_kernel(target_fwhm / scale, FILTER_RADIUS).numpy()
