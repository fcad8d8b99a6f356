"""When a result that was blurred again is consistent with its input."""

from __future__ import annotations

__all__ = [
    "FAINTEST_LIGHT",
    "FEWEST_STARS",
    "HOPELESS_MAGNITUDE",
    "HOPELESS_RESIDUAL",
    "LARGEST_MAGNITUDE",
    "LARGEST_RESIDUAL",
    "MEDIAN_ERROR",
    "PSF_ERROR",
]

LARGEST_MAGNITUDE = 0.02
"""Largest median difference of magnitudes in mag, beside its own error."""
MEDIAN_ERROR = 2.5
"""Error of a median that is allowed, in standard deviations over the root of the number of stars:
2 sigma, as a median has an error of 1.25 of these."""
FEWEST_STARS = 5
"""Number of stars from which their magnitudes are checked: the scatter of fewer says little."""
LARGEST_RESIDUAL = 1.2
"""Largest residual of the sky through the matched filter, over that of noise; consistent results
of simulated scenes reach 1.1."""
HOPELESS_MAGNITUDE, HOPELESS_RESIDUAL = 0.1, 1.5
"""The same of results that are not written: stars of the wrong light, or a sky full of structures.
On simulated telescopes with a measured PSF, results reach 0.07 mag and 1.3; on real frames, those
with more have defects of the detector all over them."""
PSF_ERROR = 0.03
"""Error of the measured PSF, as a fraction of the light of a pixel: some per cent in the cores."""
FAINTEST_LIGHT = 1.0
"""Light in noise sigma below which a pixel of the result counts as sky."""
