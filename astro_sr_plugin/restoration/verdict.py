"""What is said of a result that was held against its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.io.fits import Header
from astropy.stats import mad_std

from astro_sr_plugin.exceptions import UnchangedWarning, warn
from astro_sr_plugin.measurement.psf.consistency import (
    FEWEST_STARS,
    HOPELESS_MAGNITUDE,
    HOPELESS_RESIDUAL,
    LARGEST_MAGNITUDE,
    LARGEST_RESIDUAL,
    MEDIAN_ERROR,
)
from astro_sr_plugin.restoration.agreement import Agreement

__all__ = ["AGREES_KEYWORD", "GUARD_KEYWORD", "Verdict", "note_verdicts"]

GUARD_KEYWORD = "ASRGUARD"
"""Keyword of the number of places where a safer estimate stands for the result."""
AGREES_KEYWORD = "ASRAGREE"
"""Keyword that is T where the result as a whole agrees with its input, else F."""

_MANY_PLACES, _MANY_PART = 10, 0.25
"""Number of places, also as a part of the bright sources, above which a result must not stand for
its input, if stars as recorded would stand among stars that are sharper."""
_LEAST_FLUX = 0.01
"""Least part of the light of a source that is left in a result, for a finite magnitude."""


class Verdict(NamedTuple):
    """How a result agrees with its input.

    Attributes
    ----------
    places : int
        Number of places where a safer estimate stands.
    residual : float
        Residual of the sky through the matched filter over noise alone; NaN if there is no sky.
    magnitude : float
        Median difference of the magnitudes of bright sources, result less input, in mag, beyond its
        own error; 0 if there are too few.
    mended : int
        Number of these where it is the result itself, with light added or removed.
    bright : int
        Number of the bright sources of the input.
    as_recorded : bool
        Whether the safer estimate is the input as recorded, with its noise.
    uncertain : bool
        Whether the PSF comes from so few stars that it may be that of galaxies.
    """

    places: int
    residual: float
    magnitude: float
    mended: int = 0
    bright: int = 0
    as_recorded: bool = False
    uncertain: bool = False

    @classmethod
    def of(
        cls,
        places: int,
        mended: int,
        parts: Sequence[Agreement],
        *,
        as_recorded: bool,
        uncertain: bool,
    ) -> Verdict:
        """Sum up the pieces of a plane."""
        total, count = (sum(float(part.sky[..., k].sum()) for part in parts) for k in (0, 1))
        stars = np.concatenate([part.stars[:, 2] for part in parts])
        magnitude = 0.0
        if len(stars) >= FEWEST_STARS:
            differences = -2.5 * np.log10(np.clip(1.0 - stars, _LEAST_FLUX, None))
            error = MEDIAN_ERROR * mad_std(differences) / math.sqrt(len(stars))
            median = float(np.median(differences))
            magnitude = math.copysign(max(abs(median) - error, 0.0), median)
        residual = math.sqrt(total / count) if count else math.nan
        return cls(places, residual, magnitude, mended, len(stars), as_recorded, uncertain)

    @property
    def fault(self) -> str:
        """What is wrong with the result as a whole; empty if nothing is."""
        if abs(self.magnitude) > LARGEST_MAGNITUDE:
            return f"its stars differ from the input by {self.magnitude:+.2f} mag"
        if self.residual > LARGEST_RESIDUAL:
            return f"the residual of its sky is {self.residual:.2f} times that of noise"
        if self._everywhere:
            return f"it contradicts it at {self.places} places, with {self.bright} bright sources"
        return ""

    @property
    def hopeless(self) -> bool:
        """Whether the result is so far from the input that it must not stand for it."""
        return (
            abs(self.magnitude) > HOPELESS_MAGNITUDE
            or self.residual > HOPELESS_RESIDUAL
            or self._everywhere
        )

    @property
    def _everywhere(self) -> bool:
        many = self.places > max(_MANY_PLACES, _MANY_PART * self.bright)
        return many and (self.as_recorded or self.uncertain)


_ADVICE = (
    "the PSF is not the one that was measured: give a better one (psf), or denoise the image "
    "instead"
)
"""What to do about a result of a house network that does not agree with its input."""


_PUT_BACK = ", and the input stands in its place"
"""What was done with a result that must not stand for its input."""


def note_verdicts(
    header: Header, verdicts: Sequence[Verdict], advice: str = _ADVICE, *, replaced: bool = False
) -> None:
    """Write to the header how a result agrees with its input, and warn if it does not.

    Parameters
    ----------
    header : fits.Header
        Of the result; changed in place.
    verdicts : sequence of Verdict
        One per plane.
    advice : str
        What the user can do if it does not agree.
    replaced : bool
        Whether the input stands in place of the result.
    """
    count = sum(verdict.places for verdict in verdicts)
    fault = next((verdict.fault for verdict in verdicts if verdict.fault), "")
    header[GUARD_KEYWORD], header[AGREES_KEYWORD] = count, not fault
    mended = sum(verdict.mended for verdict in verdicts)
    texts = []
    if not replaced:
        recorded = all(v.as_recorded for v in verdicts if v.places > v.mended)
        safer = "the input as recorded, with its noise," if recorded else "a safer estimate"
        for number, done in (
            (mended, "light was added or removed until it did"),
            (count - mended, f"{safer} stands there"),
        ):
            if number:
                places = "one place" if number == 1 else f"{number} places"
                texts.append(
                    f"at {places} the result did not agree with the input once it was blurred "
                    f"again, and {done}"
                )
    if fault:
        done = _PUT_BACK if replaced else ""
        texts.append(f"the result does not agree with the input: {fault}{done}; {advice}")
    for text in texts:
        warn(text, UnchangedWarning)
