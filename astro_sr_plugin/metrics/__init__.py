"""Figures of merit of an enhanced image against the truth, or against what was observed.

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
from astro_sr_plugin.metrics.pixels import (
    Consistency,
    asinh_psnr_db,
    consistency_chi2,
    coverage,
    flux_error,
    psnr,
    ssim,
)
from astro_sr_plugin.metrics.spectra import cross_coherence, power_spectrum, power_spectrum_ratio

__all__ = [
    "Consistency",
    "DetectionScore",
    "Photometry",
    "PhotometryScore",
    "aperture_photometry",
    "asinh_psnr_db",
    "consistency_chi2",
    "coverage",
    "cross_coherence",
    "flux_error",
    "half_flux_radius",
    "invented_and_completeness",
    "photometric_bias_scatter",
    "power_spectrum",
    "power_spectrum_ratio",
    "psnr",
    "ssim",
    "star_peak_threshold",
]
