"""One measurement of a plane for all who need it: each part is measured at first use, and once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from astropy.nddata import (
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from numpy.typing import NDArray

from astro_sr_plugin.data.keywords import read_number
from astro_sr_plugin.data.nddata import Unpacked, iter_planes
from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.empirical_estimate import estimate_psf
from astro_sr_plugin.measurement.psf.extended import measure_extended_part
from astro_sr_plugin.measurement.psf.field import PSFField, fit_psf_field
from astro_sr_plugin.measurement.psf.grid import PSFGrid, measure_psf_grid
from astro_sr_plugin.measurement.psf.model import PlanePSF, is_usable, make_plane_psf
from astro_sr_plugin.measurement.psf.moffat import (
    DEFAULT_BETA,
    DEFAULT_FWHM,
    LEAST_CONFIDENCE,
    PSFMeasurement,
    detection_sigma,
    fit_psf,
)
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.measurement.sky.background import (
    Background,
    lower_background,
    measure_background,
    measure_noise_map,
)
from astro_sr_plugin.measurement.sky.gain import estimate_gain, read_gain
from astro_sr_plugin.measurement.sky.noise import Noise, known_correlation, measure_noise
from astro_sr_plugin.measurement.sky.pixels import PlanePixels, open_plane, plane_name
from astro_sr_plugin.measurement.sky.saturation import find_highest, find_saturation
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import iterate_strips
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder, Candidates
from astro_sr_plugin.measurement.sources.detection import detect_sources
from astro_sr_plugin.measurement.sources.trails import Trail, find_trails

__all__ = ["DETECTION_NSIGMA", "MeasuredPlane", "open_planes"]

_log = logging.getLogger(__name__)

DETECTION_NSIGMA = 5.0
"""Detection threshold of `MeasuredPlane.sources`, in standard deviations of the filtered noise."""
_BETA_RANGE = (1.5, 20.0)
"""Moffat exponents with which stars are detected: beyond them the profile hardly changes."""
_CORRELATED = 1.5
"""Factor by which correlated noise raises the error of a flux from which the detection threshold
rises with it; below, the matched filter copes with it."""
_FAINTEST_TONE = 1e-4
"""Noise of a picture that has none, as a part of its range."""
_LEAST_SIGMA = 1e-25
"""Noise in units of the scatter of the values: float32 ends at 1e38 times the noise."""
_FLAT = 0.02
"""Variation of a map of errors, relative to its level, below which the noise counts as uniform."""
_ABOVE = 1.02
"""Factor by which a pixel may exceed the saturation of the header before that is out of date."""


_Part = TypeVar("_Part")


def _measured(measure: Callable[[Any], _Part]) -> cached_property[_Part]:
    """Make a property that is measured at first use, and once.

    Differences and sums of values near the end of the range of their type overflow; what comes of
    them is left out, and NumPy does not warn of it.
    """
    return cached_property(np.errstate(over="ignore", invalid="ignore")(measure))


class MeasuredPlane:
    """A plane of an image and what is measured on it, each part at first use and once.

    Levels are in the unit of `pixels`, lengths in pixels.

    Parameters
    ----------
    pixels : PlanePixels
        The pixels, those that hold no data among them, and their unit.
    name : str
        What messages call the plane.
    error : ndarray, shape (ny, nx), optional
        Standard deviation of each pixel in image units. Only its variation over the
        plane, without the stars, is used; the level of the noise is measured on the plane itself.
    saturation : float, optional
        Level of saturation in the header, in image units.
    gain : float, optional
        Gain in the header, in electrons per image unit.

    Examples
    --------
    `measure` makes them; here the parts of the only plane of an image without stars:

    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> sky = np.random.default_rng(1).normal(100.0, 5.0, (64, 64))
    >>> (plane,) = asr.measure(sky).planes
    >>> print(f"sky {plane.background.level:.0f}, noise {plane.sigma:.0f}")
    sky 100, noise 5
    >>> plane.psf.known, len(plane.sources)
    (False, 0)
    """

    def __init__(
        self,
        pixels: PlanePixels,
        *,
        name: str = "the image",
        error: NDArray[Any] | None = None,
        saturation: float | None = None,
        gain: float | None = None,
        correlation: tuple[float, float] | None = None,
    ) -> None:
        self.pixels, self.name = pixels, name
        self._error, self._saturation, self._gain = error, saturation, gain
        self._correlation = correlation

    @property
    def data(self) -> Any:
        """Pixels in the unit of the plane, shape (ny, nx)."""
        return self.pixels.data

    @property
    def unusable(self) -> UnusablePixels:
        """Pixels without data: masked, not finite, absurdly large, or fill."""
        return self.pixels.unusable

    @property
    def unit(self) -> float:
        """Unit of the plane in image units."""
        return self.pixels.unit

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx)."""
        return self.unusable.shape

    @_measured
    def fault(self) -> str | None:
        """Why there is nothing to measure; None if there is."""
        if self.unusable.all():
            return "no pixel is usable (all are masked, NaN or infinite)"
        if not self.sigma > 0:
            return f"every usable pixel is {self.background.level * self.unit:g}"
        if self.sigma < _LEAST_SIGMA * self.background.rms:
            return (
                f"the noise of {self.sigma * self.unit:.3g} is nothing beside values that scatter "
                f"by {self.background.rms * self.unit:.3g}"
            )
        return None

    @_measured
    def background(self) -> Background:
        """Smooth level of the sky."""
        return measure_background(self.data, mask=self.unusable)

    @_measured
    def lowered_background(self) -> Background:
        """Background, lowered where dark clouds lie below it."""
        return lower_background(self.background, self.data, self.sigma, mask=self.unusable)

    @_measured
    def noise(self) -> Noise:
        """Noise of a pixel, as measured; its sigma may be 0 or NaN."""
        found = measure_noise(self.data, mask=self.unusable, background=self.background)
        _log.debug("%s: noise %.4g", self.name, found.sigma * self.unit)
        return found if self._correlation is None else known_correlation(found, *self._correlation)

    @_measured
    def sigma(self) -> float:
        """Noise of a pixel to work with.

        Of a picture without noise, its faintest tones: the scatter about the background, or 1e-4
        of its range; 0 for a constant plane.
        """
        sigma = self.noise.sigma
        if np.isfinite(sigma) and sigma > 0:
            return float(sigma)
        if self.background.rms > 0:
            return float(self.background.rms)
        return _FAINTEST_TONE * self._range()

    @property
    def detection_sigma(self) -> float:
        """Noise against which sources are looked for."""
        sigma = float(self.noise.detection_sigma)
        return sigma if sigma > 0 else self.sigma

    @_measured
    def noise_map(self) -> Background | None:
        """How the noise varies over the plane, in any unit; None if it is uniform or not known."""
        if self._error is None:
            return None
        error = np.asarray(self._error)
        if self.unit != 1:
            error = error.astype(np.float64) / self.unit
        found = measure_noise_map(error, mask=self.unusable)
        return found if np.ptp(found.mesh) > _FLAT * found.level else None

    @_measured
    def saturation(self) -> float | None:
        """Level from which pixels are saturated; None if none are.

        A pile-up at the maximum, or the level in the header unless pixels lie above it.
        """
        highest = find_highest(self.data, self.unusable)
        found = find_saturation(
            self.data,
            mask=self.unusable,
            level=self.background.level,
            rms=self.background.rms,
            step=self.noise.step,
            highest=highest,
        )
        if self._saturation is None:
            return found
        stated = self._saturation / self.unit
        if highest > _ABOVE * stated or (found is not None and found < stated):
            return found
        return stated

    @_measured
    def gain(self) -> float | None:
        """Electrons per image unit, of the header or estimated; None if neither is possible."""
        if self._gain is not None:
            return self._gain
        gain = estimate_gain(
            self.data,
            mask=self.unusable,
            sigma=self.noise.sigma,
            correlation=self.noise.correlation,
        )
        return None if gain is None else gain / self.unit

    @_measured
    def candidates(self) -> CandidateFinder:
        """Possible stars, found window by window as they are asked for."""
        level = detection_sigma(self.data, self.unusable, self.noise)
        return CandidateFinder(self.data, self.unusable, self.background, level, self.saturation)

    @_measured
    def psf(self) -> PlanePSF:
        """Point-spread function of the stars, as the verbs use it."""
        psf = self.empirical_psf
        return make_plane_psf(psf if is_usable(psf) else self._profile_psf)

    @_measured
    def star_profile(self) -> StarProfile:
        """Round profile with which stars are detected: the measured one, or a typical one."""
        psf = self._profile_psf.moffat
        if np.isfinite(psf.fwhm) and psf.confidence_value > LEAST_CONFIDENCE:
            return StarProfile(psf.fwhm, float(np.clip(psf.beta, *_BETA_RANGE)))
        return StarProfile(DEFAULT_FWHM, DEFAULT_BETA)

    @_measured
    def sources(self) -> NDArray[Any]:
        """Catalogue of the sources above 5 sigma, stars and galaxies, brightest first.

        The columns are those of `~astro_sr_plugin.measurement.sources.detection.STAR_DTYPE`; the
        column ``extended`` is True for galaxies and nebulosity.
        """
        return self.find_sources(DETECTION_NSIGMA, self.saturation)

    @_measured
    def trails(self) -> tuple[Trail, ...]:
        """Long straight lines of light, as those of satellites."""
        return find_trails(self.data, self.unusable, self.background, self.star_profile.fwhm)

    @np.errstate(over="ignore", invalid="ignore")
    def find_sources(
        self, nsigma: float, saturation: float | None, profile: StarProfile | None = None
    ) -> NDArray[Any]:
        """Detect sources otherwise than `sources` does.

        Parameters
        ----------
        nsigma : float
            Detection threshold, as `DETECTION_NSIGMA`.
        saturation : float or None
            Level of saturation in the unit of the plane; None if no pixel is saturated.
        profile : StarProfile, optional
            Profile of the stars; `star_profile` by default.
        """
        profile = self.star_profile if profile is None else profile
        factor = max(1.0, self.noise.correlated_sigma_ratio / _CORRELATED)
        return detect_sources(
            self.data,
            fwhm=profile.fwhm,
            beta=profile.beta,
            sigma=self.detection_sigma * factor,
            nsigma=nsigma,
            mask=self.unusable,
            saturation=np.inf if saturation is None else saturation,
            background=self.background,
            galaxies=True,
        )

    @np.errstate(over="ignore", invalid="ignore")
    def psf_grid(self, grid: tuple[int, int]) -> PSFGrid:
        """Measure the shape of the stars on a grid (gy, gx) over the field."""
        return measure_psf_grid(self.candidates, self.noise, self._moffat, grid)

    @_measured
    def empirical_psf(self) -> EmpiricalPSF:
        """Point-spread function measured pixel by pixel, cross-validated."""
        return estimate_psf(self.psf_stars, self._profile_psf)

    @property
    def psf_stars(self) -> Candidates | None:
        """Stars that the PSF is measured on; None without any.

        Where it changes over the field, those at its edge are not of the common size.
        """
        return self._fitted[1] if self._changing is None else self._changing[1]

    @_measured
    def _profile_psf(self) -> EmpiricalPSF:
        """Moffat profile with halo and spikes, without what else the stars have in common."""
        moffat = self._moffat if self._field is None else self._field.mean()
        core = EmpiricalPSF(moffat, self._field, self.shape)
        extended = measure_extended_part(self.candidates, core, self.sigma, self.psf_stars)
        return replace(core, extended=extended)

    @_measured
    def _fitted(self) -> tuple[PSFMeasurement, Candidates | None]:
        return fit_psf(self.candidates, self.noise)

    @property
    def _moffat(self) -> PSFMeasurement:
        return self._fitted[0]

    @property
    def _field(self) -> PSFField | None:
        return None if self._changing is None else self._changing[0]

    @_measured
    def _changing(self) -> tuple[PSFField, Candidates] | None:
        return fit_psf_field(self.candidates, self._moffat)

    def _range(self) -> float:
        low, high = np.inf, -np.inf
        for y0, y1, _, _ in iterate_strips(self.shape):
            rows = np.asarray(self.data[y0:y1], dtype=np.float64)
            good = ~self.unusable[y0:y1]
            if good.any():
                low, high = min(low, rows[good].min()), max(high, rows[good].max())
        return float(high - low)


def open_planes(parts: Unpacked) -> tuple[MeasuredPlane, ...]:
    """Open the planes of an image for measuring; of the pixels, only the unusable ones are found.

    Parameters
    ----------
    parts : Unpacked
        The image.

    Returns
    -------
    tuple of MeasuredPlane
        One per plane.
    """
    planes = list(iter_planes(parts.data))
    return tuple(
        MeasuredPlane(
            open_plane(plane, None if parts.mask is None else parts.mask[index]),
            name=plane_name(number, len(planes)),
            error=_error_of(parts.uncertainty, parts.data.shape, index),
            saturation=_header_saturation(parts.meta),
            gain=read_gain(parts.meta),
            correlation=_header_correlation(parts.meta),
        )
        for number, (index, plane) in enumerate(planes)
    )


def _header_saturation(meta: Mapping[str, Any]) -> float | None:
    return read_number(meta, "SATURATE") or read_number(meta, "DATAMAX") or None


def _header_correlation(meta: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the correlation of the noise that a stack states."""
    ratio, neighbours = read_number(meta, "NOISCORR"), read_number(meta, "NOISLAG1")
    return None if ratio is None or neighbours is None else (ratio, neighbours)


def _error_of(
    uncertainty: NDUncertainty | None, shape: tuple[int, ...], index: tuple[int, ...]
) -> NDArray[Any] | None:
    """Return the standard deviation of a plane; NaN or infinite where its weight is 0."""
    if uncertainty is None or uncertainty.array is None:
        return None
    values: NDArray[Any] = np.broadcast_to(uncertainty.array, shape)[index]
    if isinstance(uncertainty, StdDevUncertainty):
        return values
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if isinstance(uncertainty, VarianceUncertainty):
            return np.sqrt(values, dtype=np.float32)
        if isinstance(uncertainty, InverseVariance):
            return (1 / np.sqrt(values)).astype(np.float32)
    return None
