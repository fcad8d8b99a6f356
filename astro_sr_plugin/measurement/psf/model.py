"""The point-spread function of a plane: a Moffat profile, its image, its change over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement

__all__ = ["PlanePSF"]


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
    relative_error : float
        1-sigma error of the FWHM over the FWHM; NaN if unknown.
    """

    moffat: PSFMeasurement
    image: NDArray[np.float32] | None = None
    field: PSFField | None = None
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
