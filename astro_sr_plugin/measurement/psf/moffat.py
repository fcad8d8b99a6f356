"""The point-spread function from the stars of the image: FWHM, Moffat beta, ellipticity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.measurement.psf.fitting import MoffatFit, fit_moffat
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile
from astro_sr_plugin.measurement.psf.selection import find_stars, sky_is_curved
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.noise import Noise, measure_noise
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, check_plane, spread_windows
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder, Candidates, cut_stamps

__all__ = [
    "DEFAULT_BETA",
    "DEFAULT_FWHM",
    "LARGE_WINDOW",
    "LARGE_WINDOW_COUNT",
    "LEAST_CONFIDENCE",
    "MOST_IN_WINDOW",
    "UNKNOWN",
    "PSFMeasurement",
    "detection_sigma",
    "fit_psf",
    "measure_moffat",
    "small_windows",
]

DEFAULT_FWHM, DEFAULT_BETA = 3.0, 3.5
"""FWHM in pixels and Moffat exponent of a typical star, where the PSF is not known; the atmosphere
makes beta 2.5 to 4.8 (Trujillo et al. 2001)."""
LEAST_CONFIDENCE = 0.02
"""Confidence of a measured PSF below which the typical star is as good a guess."""
_SMALL_WINDOW, _SMALL_WINDOW_COUNT = 512, 16
"""Side in pixels and largest number of the windows in which stars are looked for first."""
LARGE_WINDOW, LARGE_WINDOW_COUNT = 1024, 12
"""The same for fields where these hold too few stars."""
MOST_IN_WINDOW = 80
"""Largest number of candidates of a window, so that the stars come from the whole field."""
_ENOUGH_STARS = 160
"""Number of stars that are fitted together at most; more do not lower the error."""
_FEW_STARS = 10
"""Number of stars or candidates below which nebulosity may hide the stars."""
_LARGEST_FWHM = 25.0
"""FWHM in pixels above which the sources are no stars."""
_FIT_PIXELS = 60_000
"""Largest number of pixels of a joint fit: it limits its time and memory."""
_MANY_STARS = 40
"""Number of stars from which the jackknife and the prior of beta are not needed."""
_CLEAR, _BRIGHT = 10.0, 30.0
"""Amplitudes in noise sigma of a pixel from which a star shows how well the profile fits; the
second is preferred."""
_FEWEST_BRIGHT = 3
"""Smallest number of bright stars for that."""
_JACKKNIFE_GROUPS = 8
"""Groups of stars that the jackknife leaves out in turn."""
_FEWEST_GROUPS = 3
"""Smallest number of groups of which a scatter can be taken."""
_PRIOR, _PRIOR_ERROR = 0.3, 0.06
"""1/beta of stars through the atmosphere: beta is 2.5 to 4.8 (Trujillo et al. 2001)."""
_WIDEST_WINGS = 0.7
"""1/beta above which few stars are none, or stand on the light of a galaxy."""


@dataclass(frozen=True)
class PSFMeasurement(MoffatProfile):
    """Point-spread function of one plane as an elliptical Moffat profile.

    Attributes
    ----------
    fwhm : float
        Full width at half maximum in pixels of the profile before integration over the pixel,
        the geometric mean of both axes; NaN if it cannot be measured.
    beta : float
        Moffat exponent; above 10 the profile is as good as a Gaussian. NaN if unknown.
    ellipticity : float
        1 - b/a. NaN if unknown.
    theta : float
        Position angle of the major axis in radians, counter-clockwise from +x, -pi/2..pi/2.
    n_stars : int
        Number of stars used.
    fwhm_error : float
        1-sigma error of `fwhm` in pixels; NaN if unknown.
    confidence : str
        ``"high"``, ``"medium"``, ``"low"`` or ``"none"``.
    confidence_value : float
        0..1, the product of 1 - exp(-n_stars/8), 1/(1 + (relative error / 3 %)^2) and the
        agreement of the stars in size and shape; high from 0.6, medium from 0.25, none at 0.
    residual_fraction : float
        Root mean square of what the profile leaves of the brighter stars beyond the noise, over
        that of the profile. Stars have less than 0.18; from 0.22 on they are no Moffat profiles,
        but out of focus or badly guided. NaN if unknown.
    """

    n_stars: int
    fwhm_error: float
    confidence: str
    confidence_value: float
    residual_fraction: float = float("nan")


_NAN = float("nan")
UNKNOWN = PSFMeasurement(_NAN, _NAN, _NAN, _NAN, 0, _NAN, "none", 0.0)
"""The PSF of a plane without stars."""


def measure_moffat(
    plane: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    background: Background | None = None,
    noise: Noise | None = None,
    saturation: float | None = None,
) -> PSFMeasurement:
    """Measure the point-spread function from isolated, unsaturated stars.

    Sources are found by sep in at most 16 windows of 512 x 512 pixels, and where these hold few,
    in at most 12 of 1024 x 1024. Each is fitted by a Moffat profile integrated over the pixel;
    those of the common size of the stars (the size locus) are then fitted together, with one
    shape. Where the brighter half of the sources agrees far better in size than all of them, its
    locus counts: among the faint ones, galaxies outnumber the stars. Galaxies, cosmic rays, hot
    pixels, blends and saturated stars do not lie on the locus, or fit badly. Where stars stand on a
    nebula, each gets a quadratic sky. With fewer than 40 stars, the jackknife gives the errors, and
    a prior of the atmosphere is weighed with the measured beta.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units; not-finite pixels are left out.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    background : Background, optional
        Measured sky of the same plane; measured here if not given.
    noise : Noise, optional
        Measured noise of the same plane; measured here if not given.
    saturation : float, optional
        Pixels from this value up are saturated; looked for in the plane if not given.

    Returns
    -------
    PSFMeasurement
        The shape, with its error and a stated confidence.

    Raises
    ------
    InputError
        If the plane is unusable or has no usable pixel.

    References
    ----------
    Moffat (1969), A&A 3, 455; Trujillo et al. (2001), MNRAS 328, 977 (beta); Efron (1982), "The
    Jackknife, the Bootstrap and Other Resampling Plans", SIAM.
    """
    data, excluded = check_plane(plane, mask)
    if background is None:
        background = measure_background(data, mask=excluded)
    if noise is None:
        noise = measure_noise(data, mask=excluded, background=background)
    if saturation is None:
        saturation = find_saturation(
            data, mask=excluded, level=background.level, rms=background.rms, step=noise.step
        )
    sigma = detection_sigma(data, excluded, noise)
    return fit_psf(CandidateFinder(data, excluded, background, sigma, saturation), noise)[0]


def detection_sigma(data: NDArray[Any], unusable: UnusablePixels, noise: Noise) -> float:
    """Noise of a pixel against which sources are detected; above 0 for a plane without noise."""
    if noise.detection_sigma > 0:
        return noise.detection_sigma
    rows = range(0, data.shape[0], max(1, data.shape[0] // 500))
    usable = np.concatenate([data[y][~unusable[y : y + 1][0]] for y in rows])
    if not usable.size:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(usable, [1, 99.9])
        return 1e-3 * float(high - low)


def fit_psf(finder: CandidateFinder, noise: Noise) -> tuple[PSFMeasurement, Candidates | None]:
    """Fit the PSF to the sources of a finder, see `measure_moffat`; return it and its stars."""
    best, chosen = UNKNOWN, None
    # Windows are in float32, in which a tiny noise is 0.
    if not (np.isfinite(finder.sigma) and np.float32(finder.sigma) > 0) or min(finder.shape) < 9:
        return best, chosen
    for fine in (False, True):
        candidates = _collect(finder, fine)
        stars, agreement = find_stars(candidates, noise.correlated_sigma_ratio)
        if len(stars):
            result = _combine(stars, agreement, noise)
            if result.confidence_value > best.confidence_value:
                best, chosen = result, stars
        # A nebula that fills the frame hides the stars from the coarse sky mesh.
        if best.n_stars >= _FEW_STARS or len(candidates) < _FEW_STARS:
            break
    return best, chosen


def small_windows(shape: tuple[int, int]) -> list[Window]:
    """Give the windows in which stars are looked for first."""
    return spread_windows(shape, _SMALL_WINDOW, _SMALL_WINDOW_COUNT)


def _collect(finder: CandidateFinder, fine: bool) -> Candidates:
    shape = finder.shape
    enough = 2 * _ENOUGH_STARS
    windows = small_windows(shape)
    found = finder.find(windows, fine=fine, most=MOST_IN_WINDOW, enough=enough)
    if len(found) < enough and sum(w.shape[0] * w.shape[1] for w in windows) < shape[0] * shape[1]:
        windows = spread_windows(shape, LARGE_WINDOW, LARGE_WINDOW_COUNT)
        found = finder.find(windows, fine=fine, most=MOST_IN_WINDOW, enough=enough)
    return found


def _combine(stars: Candidates, agreement: float, noise: Noise) -> PSFMeasurement:
    fit, scatter, usable_stars = _fit_together(stars)
    fwhm = float(fit.fwhm[0])
    if fwhm > _LARGEST_FWHM:
        return UNKNOWN
    relative = float(fit.errors[0, 0]) * max(1.0, noise.correlated_sigma_ratio)
    relative = float(np.hypot(max(relative, scatter), 0.05 / np.sqrt(usable_stars)))
    value = float((1 - np.exp(-usable_stars / 8)) / (1 + (relative / 0.03) ** 2) * agreement)
    return PSFMeasurement(
        fwhm=fwhm,
        beta=float(fit.beta[0]),
        ellipticity=float(fit.ellipticity[0]),
        theta=float(fit.theta[0]),
        n_stars=usable_stars,
        fwhm_error=relative * fwhm,
        confidence=_name(value),
        confidence_value=value,
        residual_fraction=_residual_fraction(fit),
    )


def _residual_fraction(fit: MoffatFit) -> float:
    """Residual fraction of the brighter half of the stars that are clear of noise and nebula."""
    clear = fit.amplitude > _CLEAR
    if not clear.any():
        return float("nan")
    bright = fit.amplitude > _BRIGHT
    clear = bright if bright.sum() >= _FEWEST_BRIGHT else clear
    bright = clear & (fit.amplitude >= np.median(fit.amplitude[clear]))
    return float(np.sqrt(max(0.0, np.median(fit.residual_power[bright]))))


def _fit_together(stars: Candidates) -> tuple[MoffatFit, float, int]:
    """Fit one shape to all stars.

    Returns the fit, the relative error of the FWHM from the jackknife (0 of many stars), and the
    number of stars used.
    """
    fwhm = float(np.exp(np.median(np.log(np.clip(stars.size, 1, 15)))))
    inverse_beta = 0.3
    kept = stars
    curved_sky = sky_is_curved(stars, fwhm)
    for turn in range(2):
        half = int(np.clip(np.ceil(2.4 * fwhm), 5, 26))
        most = max(20, min(_ENOUGH_STARS, _FIT_PIXELS // (2 * half + 1) ** 2))
        chosen = kept
        if len(kept) > most:
            chosen = kept.select(np.argsort(-kept.snr)[:most])
        stamps, usable = cut_stamps(chosen, half)
        fit = fit_moffat(
            stamps,
            usable,
            sigma=1.0,
            fwhm=fwhm,
            inverse_beta=inverse_beta,
            curved_sky=curved_sky,
        )
        fwhm, inverse_beta = float(fit.fwhm[0]), float(fit.inverse_beta[0])
        good = (fit.chi2 < 2.5 * np.median(fit.chi2)) & (fit.amplitude > 3)
        if turn == 0 and good.any():
            kept = chosen.select(np.flatnonzero(good))
    if len(chosen) >= _MANY_STARS:
        return fit, 0.0, len(kept)
    fwhm_error, beta_error = _jackknife(stamps, usable, fit, curved_sky)
    if inverse_beta > _WIDEST_WINGS:
        # At the bound of the fit the groups agree, whatever the error.
        beta_error = np.inf
    trust = 1 / (1 + (beta_error / _PRIOR_ERROR) ** 2)
    fit = fit_moffat(
        stamps,
        usable,
        sigma=1.0,
        fwhm=fwhm,
        inverse_beta=trust * inverse_beta + (1 - trust) * _PRIOR,
        fit_beta=False,
        curved_sky=curved_sky,
    )
    return fit, fwhm_error, len(kept)


def _jackknife(
    stamps: NDArray[np.float64], usable: NDArray[np.bool_], fit: MoffatFit, curved_sky: bool
) -> tuple[float, float]:
    """Errors of ln FWHM and 1/beta from the jackknife: fits that each leave some stars out.

    They contain the errors from the nebula under each star, which the errors of a fit do not.
    """
    groups = min(_JACKKNIFE_GROUPS, len(stamps))
    if groups < _FEWEST_GROUPS:
        return 0.0, np.inf
    left_out = np.arange(len(stamps)) % groups
    shapes = []
    for group in range(groups):
        some = left_out != group
        again = fit_moffat(
            stamps[some],
            usable[some],
            sigma=1.0,
            fwhm=float(fit.fwhm[0]),
            inverse_beta=float(fit.inverse_beta[0]),
            curved_sky=curved_sky,
        )
        shapes.append((again.log_fwhm[0], again.inverse_beta[0]))
    fwhm_error, beta_error = np.sqrt(groups - 1) * np.std(shapes, axis=0)
    return float(fwhm_error), float(beta_error)


def _name(value: float) -> str:
    if value >= 0.6:
        return "high"
    if value >= 0.25:
        return "medium"
    return "low" if value > 0 else "none"
