"""What to run on an image, by what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astro_sr_plugin.measurement.plane import MeasuredPlane
    from astro_sr_plugin.measurement.quality import Quality

__all__ = ["Suggestion", "suggest"]

_OUTPUTS = {"denoise": "clean.fits", "deconvolve": "sharp.fits", "super-resolve": "big.fits"}
"""File that a suggested command writes."""

_NARROW, _FINE, _WIDE = 1.5, 3.0, 6.0
"""FWHM in pixels: the least that the networks were trained for; below the second, doubled pixels
show more detail; above the third, ``--auto-scale`` reduces the image first."""
_ILL_SHAPED = 0.22
"""Part of the stars' light that their PSF misses, from which they are out of focus."""


@dataclass(frozen=True)
class Suggestion:
    """What to run on an image.

    Attributes
    ----------
    verb : str or None
        Command; None if nothing is to be done.
    reason : str
        Why, with the figures that speak for it.
    options : tuple of str
        Options of the command.
    """

    verb: str | None
    reason: str
    options: tuple[str, ...] = ()

    def to_text(self, path: Path) -> str:
        """Return one line: the command for a file, and why."""
        if self.verb is None:
            return self.reason
        words = ["astro-sr", self.verb, str(path), "-o", _OUTPUTS[self.verb], *self.options]
        return f"{' '.join(words)} ({self.reason})"


def suggest(quality: Quality, meta: Mapping[str, Any]) -> Suggestion:
    """Choose a command by what was measured.

    Parameters
    ----------
    quality : Quality
        Of the image.
    meta : mapping
        Its header.
    """
    from astro_sr_plugin.data.earlier_work import find_earlier_work

    done = [work.task for work in find_earlier_work(meta)]
    if done:
        text = f"nothing more: {', then '.join(done)} was done already, by the header"
        return Suggestion(None, text)
    if not max(quality.sigma) > 0:
        return Suggestion(None, "nothing: no noise was measured, so that there is none to remove")
    widths = [width for width in quality.fwhm if np.isfinite(width)]
    if not widths or not {"high", "medium"} & set(quality.psf_confidence):
        reason = f"too few stars, {max(quality.n_stars)}, to sharpen without --psf"
        return Suggestion("denoise", reason)
    width = float(np.median(widths))
    residual = max(_left_of_stars(plane) for plane in quality.planes if plane.fault is None)
    stars = f"stars of {width:.1f} px from {max(quality.n_stars)}"
    if residual > _ILL_SHAPED:
        reason = f"stars out of focus or trailed: {residual:.0%} of their light is not described"
        return Suggestion("denoise", reason)
    if width < _NARROW:
        reason = f"{stars}: too narrow to sharpen; drizzle dithered frames"
        return Suggestion("denoise", reason)
    if width < _FINE:
        return Suggestion("super-resolve", f"{stars}: finer pixels show more")
    reduce = ("--auto-scale",) if width > _WIDE else ()
    return Suggestion("deconvolve", f"{stars}, noise included", reduce)


def _left_of_stars(plane: MeasuredPlane) -> float:
    """Part of the light of stars that the PSF, as the verbs use it, does not describe."""
    profile = plane.psf.moffat.residual_fraction
    if not np.isfinite(profile):
        return 0.0
    if plane.psf.core is None:
        return profile
    return min(profile, plane.empirical_psf.residual_fraction)
