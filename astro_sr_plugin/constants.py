"""Numbers of statistics that all parts of the package use."""

from __future__ import annotations

import math

__all__ = ["FWHM_PER_SIGMA", "MAD_TO_SIGMA", "MEDIAN_VARIANCE"]

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
"""FWHM of a Gaussian over its standard deviation. It is `astropy.stats.gaussian_sigma_to_fwhm`, for
the folders that do without astropy."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation of normally distributed values over their median absolute deviation."""
MEDIAN_VARIANCE = math.pi / 2
"""Variance of the median of many normally distributed values over that of their mean."""
