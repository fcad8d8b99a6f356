"""Stars that stand alone in white noise, of one signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.camera import Camera
from benchmarks.truth.kinds import FWHM
from benchmarks.truth.observation import Plan, observe_plan
from benchmarks.truth.rendering import Content, moffat
from benchmarks.truth.scene import Scene
from benchmarks.truth.stars import SLOPE, flux_of_snr

__all__ = ["FIELDS", "SNRS", "STAR_FIELD", "Field", "make_stars"]

Array = NDArray[np.float64]
SKY = 50_000.0  # ADU; so bright that photon noise of the stars does not count

_SIDE, _SPACING = 480, 40  # of the frame, and of the stars at the least (pixels)
_REFERENCE_SNR = 300.0  # of the first row
_STAMP = 3.1  # FWHM on each side of a star

SNRS = (4.0, 5.0, 7.0, 10.0, 15.0, 25.0, 100.0)
"""Signal-to-noise ratios at which errors are measured."""


@dataclass(frozen=True)
class Field:
    """The stars of a kind of scene.

    Attributes
    ----------
    fwhm, beta : float
        Their profile, of Moffat (pixels).
    per_512 : float
        Their number in 512 x 512 pixels.
    snr : (float, float)
        Least and greatest signal-to-noise ratio.
    """

    fwhm: float
    beta: float
    per_512: float
    snr: tuple[float, float] = (3.0, 2000.0)

    @property
    def density(self) -> float:
        """Stars per pixel."""
        return self.per_512 / 512**2

    @property
    def steps(self) -> int:
        """Places per pixel that are summed over; fine enough up to an SNR of 25."""
        return 32 if self.fwhm < 2 else 16 if self.fwhm < 4 else 8

    @property
    def stamp(self) -> int:
        """Pixels of the input on each side of a star that are looked at."""
        return int(np.ceil(_STAMP * self.fwhm))

    def flux(self, snr: Any) -> Any:
        """Return the fluxes of signal-to-noise ratios, in sky sigma."""
        return flux_of_snr(snr, 1.0, self.fwhm)

    def share(self, snr: Array) -> Array:
        """Return how many of the stars there are per unit of ``snr``."""
        least, most = (limit**-SLOPE for limit in self.snr)
        return np.asarray(SLOPE * snr ** (-SLOPE - 1) / (least - most))


FIELDS = {
    "star-field": Field(FWHM["star-field"], 3.0, 500),
    "undersampled": Field(FWHM["undersampled"], 4.0, 450),
    "oversampled": Field(FWHM["oversampled"], 4.765, 110, (8.0, 2000.0)),
    "integer-gradient": Field(FWHM["integer-gradient"], 3.4, 420),
}
"""The scenes of `benchmarks.truth.kinds` that are made of single stars, galaxies left out."""
STAR_FIELD = FIELDS["star-field"]


def make_stars(snr: float, *, field: Field = STAR_FIELD, side: int = _SIDE, seed: int = 1) -> Scene:
    """Simulate isolated stars in white noise: a row of bright ones, then of the ratio wanted."""
    rng = np.random.default_rng([round(10 * snr), seed])
    camera = Camera(1.0, 1.0)
    spacing = max(_SPACING, 2 * field.stamp + 4)
    grid = np.arange(spacing / 2, side, spacing)
    y, x = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) for axis in np.meshgrid(grid, grid))
    levels = np.where(np.arange(x.size) < grid.size, _REFERENCE_SNR, snr)
    flux = camera.sigma(SKY) * field.flux(levels)
    plan = Plan([Content(x, y, flux)], [moffat(field.fwhm, field.beta)], camera, (SKY,))
    return observe_plan(plan, field.fwhm, f"stars-{snr:g}", seed, side, rng)
