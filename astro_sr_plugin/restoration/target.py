"""Choice of the FWHM of the stars of a result, and warnings about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from astro_sr_plugin.exceptions import AstroSRWarning, InputError, UnchangedWarning, warn
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.restoration.plane import NormalisedPlane
from astro_sr_plugin.restoration.psf import join_names
from astro_sr_plugin.tasks import TASKS

__all__ = ["TargetFWHM", "choose_target", "is_too_narrow", "warn_of_width"]

TargetFWHM: TypeAlias = 'float | Literal["input"] | None'
"""FWHM of the stars of a result in its pixels; ``"input"`` is that of the image, None the usual."""

_FINEST = 2.0
"""FWHM in pixels of the narrowest stars that a grid of pixels samples."""
_SAME = 0.95
"""Ratio of widths from which stars count as equally wide: their error is 1 to 3 %."""
_SHARPEST = 2.3
"""Factor by which the networks can make stars narrower: they were trained for 2."""
_IMPOSSIBLE = 6.0
"""Factor beyond which noise is all that would be left."""
_FEW_STARS = 3
"""Number of sources up to which very wide ones may be no stars at all."""
_ILL_SHAPED = (0.22, 0.3)
"""Residual fraction of the Moffat profile from which stars are out of focus or badly guided;
the second where they agree well, because then the image of the PSF describes them."""


def choose_target(
    planes: Sequence[NormalisedPlane], target_fwhm: TargetFWHM, spec: ModelSpec
) -> float | None:
    """Choose the FWHM of the result in output pixels: one for all planes, so that colours agree.

    A model that does not use the PSF keeps it, and has no target: the return value is None.

    Parameters
    ----------
    planes : sequence of NormalisedPlane
        The planes of the image.
    target_fwhm : float, "input" or None
        What the user wants; ``"input"`` is the mean width of the field. By default half of the
        widest plane, at least 2 pixels and what the model can reach, and not so narrow that the
        widest stars of a field would be made more than 2.3 times narrower.
    spec : ModelSpec
        The model.

    Raises
    ------
    InputError
        If no PSF is known, or the wanted one cannot be.
    """
    if not spec.needs_psf:
        if target_fwhm is not None:
            msg = (
                f"target_fwhm={target_fwhm} cannot be reached: model {spec.name!r} keeps the PSF; "
                "leave it out, or take another model"
            )
            raise InputError(msg)
        return None
    if not all(plane.psf.known for plane in planes):
        stars = min(plane.psf.moffat.n_stars for plane in planes)
        msg = (
            f"the width of the stars cannot be measured ({stars} usable stars); "
            "give it by psf=(fwhm, beta)"
        )
        raise InputError(msg)
    widest = max(plane.psf.fwhm_range[1] for plane in planes) * spec.scale
    mean = max(plane.psf.moffat.fwhm for plane in planes) * spec.scale
    measured = [plane.psf.moffat for plane in planes]
    _warn_of_stars(measured, spec)
    if is_too_narrow(planes, target_fwhm, spec):
        _warn_of_narrow_stars(measured, spec)
        return _FINEST
    warn_of_width(measured, spec)
    if target_fwhm is None:
        target = max(_FINEST, mean / 2, widest / _SHARPEST, spec.finest_target)
        _warn_of_wider_stars(planes, target, spec)
        return target
    if target_fwhm == "input":
        return max(mean, spec.finest_target)
    try:
        target_fwhm = float(target_fwhm)
    except (TypeError, ValueError) as error:
        msg = f"target_fwhm={target_fwhm!r} is no width; allowed are a number of pixels and 'input'"
        raise InputError(msg) from error
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
    return target_fwhm


def is_too_narrow(
    planes: Sequence[NormalisedPlane], target_fwhm: TargetFWHM, spec: ModelSpec
) -> bool:
    """Return whether stars are too narrow to be sharpened on their own pixels.

    Below the range of the model they are narrower than the narrowest of a result, which would only
    be a blurred image. One plane is enough, as all planes come to one PSF. A width that the user
    wants is made in any case.
    """
    narrowest = min(plane.psf.moffat.fwhm for plane in planes)
    return target_fwhm is None and spec.scale == 1 and narrowest < spec.fwhm_range[0]


def _warn_of_narrow_stars(measured: Sequence[PSFMeasurement], spec: ModelSpec) -> None:
    low, _ = spec.fwhm_range
    _warn_once(
        measured,
        lambda m: m.fwhm < low,
        _width,
        f"the image comes back as it is: its stars ({{}}) are narrower than {low:g} px, the "
        f"narrowest that {spec.name!r} sharpens; denoise it, or double it instead "
        "(super_resolve), or drizzle the frames",
        UnchangedWarning,
    )


def _warn_of_wider_stars(planes: Sequence[NormalisedPlane], target: float, spec: ModelSpec) -> None:
    """Warn where the stars of an image are narrower than the narrowest of a result."""
    observed = max(
        StarProfile(plane.psf.moffat.fwhm, plane.psf.moffat.beta).observed for plane in planes
    )
    if target * _SAME > observed * spec.scale:
        warn(
            f"the stars, with a FWHM of {observed:.2f} px on the pixels, are so narrow that those "
            f"of the result ({target / spec.scale:.2f} px) are wider: double the image instead"
        )


def _warn_of_stars(measured: Sequence[PSFMeasurement], spec: ModelSpec) -> None:
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
        # Where the stars agree well, the measured image of the PSF describes them.
        lambda m: m.residual_fraction > _ILL_SHAPED[m.confidence == "high"],
        lambda m: f"{100 * m.residual_fraction:.0f} % of their light is not described",
        "the stars are no Moffat profiles ({}): out of focus or badly guided? Expect rings and "
        "false pairs; give their profile by psf=file",
    )


def warn_of_width(measured: Sequence[PSFMeasurement], spec: ModelSpec) -> None:
    """Warn where the stars are wider or narrower than those that the model was trained for.

    To a denoiser an uncertain width says nothing.
    """
    low, high = spec.fwhm_range
    keeps_psf = TASKS[spec.task].keeps_psf

    def sure(m: PSFMeasurement) -> bool:
        return spec.task != "denoise" or m.confidence != "low"

    wide = "bin the image" if keeps_psf else "reduce the image by auto_scale=True"
    text = f"the stars ({{}}) are outside the range of model {spec.name!r}, {low:g} to {high:g} px"
    _warn_once(measured, lambda m: sure(m) and m.fwhm > high, _width, f"{text}; {wide}")
    _warn_once(measured, lambda m: sure(m) and m.fwhm < low, _width, f"{text}; use drizzled data")


def _width(measured: PSFMeasurement) -> str:
    return f"FWHM {measured.fwhm:.2f} px"


def _warn_once(
    measured: Sequence[PSFMeasurement],
    concerned: Callable[[PSFMeasurement], bool],
    figures: Callable[[PSFMeasurement], str],
    text: str,
    category: type[AstroSRWarning] = AstroSRWarning,
) -> None:
    """Warn of all planes that something concerns in one sentence, ``{}`` in it for the figures."""
    found = [k for k, m in enumerate(measured) if concerned(m)]
    if not found:
        return
    names = [join_names([k], len(measured)) for k in found]
    texts = [figures(measured[k]) for k in found]
    parts = (
        texts if len(measured) == 1 else [f"{n}: {s}" for n, s in zip(names, texts, strict=True)]
    )
    warn(text.format("; ".join(parts)), category)
