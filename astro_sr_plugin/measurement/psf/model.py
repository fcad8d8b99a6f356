"""The point-spread function of a plane: a Moffat profile, its image, its change over the field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS

__all__ = ["PlanePSF", "VaryingPSF", "is_usable", "make_plane_psf"]


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
    core : ndarray of float32 or None
        The same without halo and spikes; None where the Moffat profile describes the core.
    field : PSFField or None
        The profile over the field, where it changes.
    varying : VaryingPSF or None
        The PSF pixel by pixel at any place, where it changes over the field.
    relative_error : float
        1-sigma error of the FWHM over the FWHM; NaN if unknown.
    """

    moffat: PSFMeasurement
    image: NDArray[np.float32] | None = None
    core: NDArray[np.float32] | None = None
    field: PSFField | None = None
    varying: VaryingPSF | None = None
    relative_error: float = float("nan")

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(np.isfinite(self.moffat.fwhm))

    def without_extended(self) -> PlanePSF:
        """Return the PSF without halo and spikes."""
        varying = self.varying
        if isinstance(varying, EmpiricalPSF):
            varying = replace(varying, extended=None)
        return replace(self, image=self.core, varying=varying)

    @property
    def fwhm_range(self) -> tuple[float, float]:
        """Smallest and largest FWHM over the field in pixels; both the same if the PSF is one."""
        if self.field is None:
            return self.moffat.fwhm, self.moffat.fwhm
        return self.field.fwhm_range()


_LEAST_SAMPLED = 2.5
"""FWHM in pixels from which the verbs use the residual from the Moffat profile."""
_LEAST_STARS, _MOST_LEFT = 12, 0.02
"""Stars, and what the PSF leaves of those that were left out, with which they use that of narrower
stars too: simulated ones come out up to 3.5 dB better. On real frames 5 % and more are left, where
stars change from place to place; around the bright ones it leaves dark specks (Abell 671), for
which the profile has none."""


def is_usable(psf: EmpiricalPSF) -> bool:
    """Whether the verbs use the residual from the Moffat profile."""
    if psf.moffat.fwhm >= _LEAST_SAMPLED:
        return True
    return psf.n_stars >= _LEAST_STARS and psf.residual_fraction <= _MOST_LEFT


def make_plane_psf(psf: EmpiricalPSF) -> PlanePSF:
    """Make the PSF that the verbs use."""
    moffat, image, core = psf.moffat, None, None
    # Of a profile that changes over the field, the image is that of its mean.
    mean = replace(psf, field=None)
    if psf.residual is not None:
        core = _central(replace(mean, extended=None))
    if psf.residual is not None or psf.extended is not None:
        image = core if psf.extended is None else _central(mean)
    varying = psf if psf.residual is not None and psf.varies else None
    error = moffat.fwhm_error / moffat.fwhm
    return PlanePSF(moffat, image, core, psf.field, varying, error)


def _central(psf: EmpiricalPSF) -> NDArray[np.float32]:
    return psf.image(*psf.centre, radius=STAMP_RADIUS).astype(np.float32)
