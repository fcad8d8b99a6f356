"""Figures of merit that astropy, photutils and scikit-image do not have.

Everything here takes plain arrays; positions are (x, y), 0-based, pixel centres whole numbers.
"""

from __future__ import annotations

from astro_sr_plugin.metrics.detection import (
    DetectionScore,
    invented_and_completeness,
    star_peak_threshold,
)
from astro_sr_plugin.metrics.photometry import (
    Photometry,
    PhotometryScore,
    aperture_photometry,
    half_flux_radius,
    photometric_bias_scatter,
)
from astro_sr_plugin.metrics.pixels import asinh_psnr_db
from astro_sr_plugin.metrics.spectra import cross_coherence, power_spectrum

__all__ = [
    "DetectionScore",
    "Photometry",
    "PhotometryScore",
    "aperture_photometry",
    "asinh_psnr_db",
    "cross_coherence",
    "half_flux_radius",
    "invented_and_completeness",
    "photometric_bias_scatter",
    "power_spectrum",
    "star_peak_threshold",
]
