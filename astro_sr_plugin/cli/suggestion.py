"""What to run on an image, by what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astro_sr_plugin.measurement.quality import Quality

__all__ = ["suggest"]

_NARROW, _FINE, _WIDE = 1.5, 3.0, 6.0
"""FWHM in pixels: the least that the networks were trained for; below the second, doubled pixels
show more detail; above the third, ``--auto-scale`` reduces the image first."""
_ILL_SHAPED = 0.22
"""Part of the stars' light that a Moffat profile misses, from which they are out of focus."""


def suggest(quality: Quality, meta: Mapping[str, Any], path: Path) -> str:
    """Return one line: a command, and the figures that speak for it.

    Parameters
    ----------
    quality : Quality
        Of the image.
    meta : mapping
        Its header.
    path : Path
        Its file.
    """
    from astro_sr_plugin.data.earlier_work import find_earlier_work

    done = [work.task for work in find_earlier_work(meta)]
    if done:
        return f"nothing more: {', then '.join(done)} was done already, by the header"
    if not max(quality.sigma) > 0:
        return "nothing: no noise was measured, so that there is none to remove"
    widths = [width for width in quality.fwhm if np.isfinite(width)]
    denoise = f"astro-sr denoise {path} -o clean.fits"
    if not widths or not {"high", "medium"} & set(quality.psf_confidence):
        return f"{denoise} (too few stars, {max(quality.n_stars)}, to sharpen without --psf)"
    width, residual = float(np.median(widths)), float(np.nanmax(quality.residual_fraction))
    stars = f"stars of {width:.1f} px from {max(quality.n_stars)}"
    if residual > _ILL_SHAPED:
        return f"{denoise} (stars out of focus or trailed: {residual:.0%} is no Moffat profile)"
    if width < _NARROW:
        return f"{denoise} ({stars}: too narrow to sharpen; drizzle dithered frames)"
    if width < _FINE:
        return f"astro-sr super-resolve {path} -o big.fits ({stars}: finer pixels show more)"
    reduce = " --auto-scale" if width > _WIDE else ""
    return f"astro-sr deconvolve {path} -o sharp.fits{reduce} ({stars}, noise included)"
