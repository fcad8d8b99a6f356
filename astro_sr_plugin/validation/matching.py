"""Planes of a result matched to those of its input: one PSF, one pixel grid, one unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement, measure_moffat
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, StarProfile, moffat_stamp
from astro_sr_plugin.measurement.psf.reconvolution import (
    Reconvolution,
    lacking_width,
    smooth_stamp,
)
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.measurement.sky.windows import Window
from astro_sr_plugin.measurement.sources.hot_pixels import mark_hot_pixels
from astro_sr_plugin.validation.pair import ImagePair

__all__ = ["Cut", "MatchedPlane", "enlarge", "match_planes"]

_SAME_PSF = 0.95
"""FWHM of the result over that of the input from which both count as the same: the error of a
measured FWHM is some 1 to 3 %."""
_KEPT = 1e-3
"""Relative difference of the FWHM before and after in the header of a result that keeps its PSF."""


class Cut(NamedTuple):
    """The same part of the sky in both images, in noise sigma of the input, sky at 0.

    Attributes
    ----------
    observed : ndarray of float64, shape (ny, nx)
        The input, smoothed to the PSF of the result where that is wider; unusable pixels are 0.
    result : ndarray of float64, shape (scale * ny, scale * nx)
        The result; pixels that are unusable in either image are 0.
    bad : ndarray of bool, shape (ny, nx)
        Pixels that say nothing about the sky: unusable, saturated, or hot.
    """

    observed: NDArray[np.float64]
    result: NDArray[np.float64]
    bad: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MatchedPlane:
    """A plane of the input, the same plane of the result, and how one becomes the other.

    Attributes
    ----------
    number : int
        Number of the plane, from 0.
    plane : MeasuredPlane
        Measurement of the input.
    moffat : PSFMeasurement
        Moffat profile of the input.
    psf : ndarray of float64
        PSF of the input on its pixels, odd sides; its sum is at most 1.
    result : ndarray, shape (scale * ny, scale * nx)
        The result.
    mask : ndarray of bool or None
        Masked pixels of the result.
    target_fwhm : float
        FWHM of the stars of the result in its pixels; that of the input where it is not known.
    scale, flux_scale : int
        As in `ImagePair`.
    gaussian : bool
        Whether the stars of the result are Gaussians of `target_fwhm`, else those of the input.
    fault : str or None
        Why the PSF of the result is not known; None if it is.
    """

    number: int
    plane: MeasuredPlane
    moffat: PSFMeasurement
    psf: NDArray[np.float64]
    result: NDArray[Any]
    mask: NDArray[np.bool_] | None
    target_fwhm: float
    scale: int
    flux_scale: int
    gaussian: bool
    fault: str | None

    @property
    def psf_matched(self) -> bool:
        """Whether both images come to the same PSF: the wider one, unless that is not known."""
        return self.fault is None

    @property
    def widest_fwhm(self) -> float:
        """FWHM of a star on the pixels of the input, on the image where it is wider."""
        return max(self._observed_fwhm, self.target_fwhm / self.scale)

    @property
    def smoothing(self) -> float:
        """Gaussian width in pixels by which the input is smoothed to the PSF of a wider result.

        0 where the result is not wider. It is where the stars of the input are undersampled.
        """
        wanted = self.target_fwhm / self.scale
        least = wanted if self.gaussian else wanted * _SAME_PSF
        if self.fault is not None or least <= self._observed_fwhm:
            return 0.0
        return lacking_width(self.moffat, wanted)

    @cached_property
    def profile(self) -> MoffatProfile:
        """Moffat profile of a star on both images once they are matched."""
        m = self.moffat
        fwhm = float(np.hypot(m.fwhm, self.smoothing / gaussian_fwhm_to_sigma))
        return MoffatProfile(fwhm, m.beta, m.ellipticity, m.theta)

    @cached_property
    def matched_psf(self) -> NDArray[np.float64]:
        """PSF of both images once they are matched, on the pixels of the input."""
        return self.smooth(self.psf)

    def smooth(self, stamp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smooth what falls to 0 within an array, as the input is smoothed."""
        return np.asarray(smooth_stamp(stamp, self.smoothing))

    @property
    def _observed_fwhm(self) -> float:
        return StarProfile(self.moffat.fwhm, self.moffat.beta).observed

    @cached_property
    def reconvolution(self) -> Reconvolution:
        """Brings a result to the PSF that both images have in common, and to the input's pixels."""
        target = self.target_fwhm if self.gaussian else None
        return Reconvolution(self.matched_psf, target, self.scale)

    def cut(self, window: Window) -> Cut:
        """Cut a window, in pixels of the input, out of both images; edges mirror them."""
        plane, s, sigma = self.plane, self.scale, self.plane.sigma
        raw = _cut(plane.data, window)
        missing = _cut(plane.unusable, window) != 0
        level = _cut_level(plane, window)
        observed = np.where(missing, 0.0, (raw - level) / sigma)
        bad = missing.copy()
        if plane.saturation is not None:
            bad |= raw >= plane.saturation
        # They did not come through the optics.
        bad |= mark_hot_pixels(observed, self.psf, bad)
        fine = Window(*(s * side for side in window))
        shown = _cut(self.result, fine) * (self.flux_scale / plane.unit)
        unusable = ~np.isfinite(shown)
        if self.mask is not None:
            unusable |= _cut(self.mask, fine) != 0
        if self.smoothing:
            observed = gaussian_filter(observed, self.smoothing, mode="mirror")
        bad |= unusable.reshape(raw.shape[0], s, raw.shape[1], s).any(axis=(1, 3))
        unusable |= enlarge(missing, s)
        shown = np.where(unusable, 0.0, (shown - enlarge(level, s)) / sigma)
        return Cut(observed, shown, bad)


def match_planes(pair: ImagePair, target_fwhm: float | None = None) -> tuple[MatchedPlane, ...]:
    """Match each plane that has noise to the same plane of the result.

    A plane that shows no star takes the PSF of the plane with most stars.

    Parameters
    ----------
    pair : ImagePair
        The images.
    target_fwhm : float, optional
        FWHM of the stars of the result in its pixels; by default that in its header
        (``ASRFWHMO``), or else that measured on it.

    Returns
    -------
    tuple of MatchedPlane
        Without the planes that hold no data or no noise; empty if no plane shows a star.
    """
    planes = {k: plane for k, plane in enumerate(pair.planes) if plane.fault is None}
    known = [plane for plane in planes.values() if plane.psf.known]
    if not known:
        return ()
    best = max(known, key=lambda plane: plane.psf.moffat.n_stars)
    results = list(pair.results())
    matched = []
    for number, plane in planes.items():
        psf = plane.psf if plane.psf.known else best.psf
        stamp = moffat_stamp(psf.moffat, 0.0, 0.0) if psf.image is None else psf.image
        result, mask = results[number]
        target, gaussian, fault = _target(pair, psf.moffat.fwhm, target_fwhm, result, mask)
        matched.append(
            MatchedPlane(
                number,
                plane,
                psf.moffat,
                np.asarray(stamp, dtype=np.float64),
                result,
                mask,
                target,
                pair.scale,
                pair.flux_scale,
                gaussian,
                fault,
            )
        )
    return tuple(matched)


def _target(
    pair: ImagePair,
    fwhm: float,
    wanted: float | None,
    result: NDArray[Any],
    mask: NDArray[np.bool_] | None,
) -> tuple[float, bool, str | None]:
    """Return the FWHM of a result, whether it is a Gaussian's, and why it is not known.

    The FWHM is that of the input where it is not known.
    """
    same = pair.scale * fwhm
    if wanted is not None and not wanted > 0:
        msg = f"target_fwhm is {wanted}; it must be above 0"
        raise InputError(msg)
    target = wanted or _header_number(pair, "ASRFWHMO")
    if target is None:
        pixels = open_plane(result, mask)
        target = float(measure_moffat(pixels.data, mask=pixels.unusable).fwhm)
    if not target > 0:
        return same, False, "the result shows no star to measure; give target_fwhm, in its pixels"
    before = _header_number(pair, "ASRFWHMI") if wanted is None else None
    gaussian = target < _SAME_PSF * same
    if before is not None:
        gaussian |= abs(target / (pair.scale * before) - 1) > _KEPT
    strength = pair.after.meta.get("ASRSTREN", 1.0)
    if gaussian and strength != 1.0:
        return (
            same,
            False,
            (
                f"the result has strength {strength}: it is mixed with its input and has no single "
                "PSF; allowed is a result of strength 1"
            ),
        )
    return target, gaussian, None


def _header_number(pair: ImagePair, keyword: str) -> float | None:
    value = pair.after.meta.get(keyword)
    return float(value) if isinstance(value, int | float) and value > 0 else None


def enlarge(values: NDArray[Any], scale: int) -> NDArray[Any]:
    """Repeat each pixel ``scale`` times along both axes."""
    return values.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else values


def _cut(array: Any, window: Sequence[int]) -> NDArray[np.float64]:
    """Cut a window out, in float64; beyond the edges the image is mirrored."""
    (y0, y1, x0, x1), outside = _inside(window, array.shape)
    return np.pad(array[y0:y1, x0:x1].astype(np.float64), outside, mode="symmetric")


def _cut_level(plane: MeasuredPlane, window: Window) -> NDArray[np.float64]:
    inner, outside = _inside(window, plane.shape)
    level = plane.background.level_at(*inner).astype(np.float64)
    return np.pad(level, outside, mode="symmetric")


def _inside(
    window: Sequence[int], shape: tuple[int, int]
) -> tuple[Window, tuple[tuple[int, int], tuple[int, int]]]:
    """Return the part of a window in an image, and how far it reaches beyond each edge."""
    (ny, nx), (top, bottom, left, right) = shape, window
    inner = Window(max(0, top), min(bottom, ny), max(0, left), min(right, nx))
    return inner, ((inner.y0 - top, bottom - inner.y1), (inner.x0 - left, right - inner.x1))
