"""The point-spread function of a plane: a Moffat profile, its image, its change over the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement

__all__ = ["PlanePSF", "VaryingPSF"]


class VaryingPSF(Protocol):
    """A PSF that can be rendered at any place of the plane."""

    def image(self, x: float, y: float, *, radius: int) -> NDArray[np.float64]:
        """Render the PSF at a place, in the middle of a stamp of ``2 * radius + 1`` pixels."""


@dataclass(frozen=True, eq=False)
class PlanePSF:
    """Point-spread function of a plane.

    Attributes
    ----------
    moffat : PSFMeasurement
        Moffat profile; where `field` is known, the mean of it. Its FWHM is NaN if it is not known.
    image : ndarray of float32 or None
        The PSF pixel by pixel, odd sides, centred; None where the Moffat profile describes all. Its
        sum is the fraction of a star's flux within it.
    field : PSFField or None
        The profile over the field, where it changes.
    varying : VaryingPSF or None
        The PSF pixel by pixel at any place, where it changes over the field.
    relative_error : float
        1-sigma error of the FWHM over the FWHM; NaN if unknown.
    """

    moffat: PSFMeasurement
    image: NDArray[np.float32] | None = None
    field: PSFField | None = None
    varying: VaryingPSF | None = None
    relative_error: float = float("nan")

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(np.isfinite(self.moffat.fwhm))

    @property
    def fwhm_range(self) -> tuple[float, float]:
        """Smallest and largest FWHM over the field in pixels; both the same if the PSF is one."""
        if self.field is None:
            return self.moffat.fwhm, self.moffat.fwhm
        return self.field.fwhm_range()
