"""What a Moffat profile leaves out of the point-spread function: diffraction spikes and halos."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, gaussian_filter1d, map_coordinates, shift

from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS, moffat_stamp
from astro_sr_plugin.measurement.psf.seeing import kolmogorov_stamp
from astro_sr_plugin.measurement.psf.star_fit import fit_star
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.windows import check_plane, cut_window, spread_windows
from astro_sr_plugin.measurement.sources.extraction import extract_sources

__all__ = ["measure_extended_psf"]

_Y, _X = np.mgrid[-STAMP_RADIUS : STAMP_RADIUS + 1, -STAMP_RADIUS : STAMP_RADIUS + 1]
_DISTANCE, _ANGLE = np.hypot(_X, _Y), np.arctan2(_Y, _X)
"""Of the pixels of a stamp from its middle."""
_WINDOW, _WINDOW_COUNT = 1024, 4
_THRESHOLD = 15.0
_MOST_STARS = 60
_FEWEST_STARS = 4
_FEWEST_RINGS = 3
_FAINTEST = 150.0
_LEAST_FLUX = 500.0
_BRIGHT = 15000.0
_LEAST_LIGHT = 0.008
_COMPANY = 0.02
_SKY_ERROR = 0.2
_EVIDENCE = 25.0
_FEWEST_FOR_HALO = 8
_FEWEST_FOR_SPIKES = 3
_FADING = 2.0
_OUTER_RINGS = 2
_BEYOND_SQUARE = 4 * math.sqrt(2)
"""Integral of ``r**-3`` over all that lies outside a square of half side 1."""
_STRUCTURED = 6.0  # FWHM, within which the PSF has structure in all directions
_RAYS = 256
_ALONG = 2.0
_SEEING_WIDTH = 1.01
"""FWHM of a Kolmogorov profile over that of the Moffat profile that is fitted to it."""
_SEEING_CORE = (0.0, 0.09, 0.175, 0.205, 0.235), (0.0, 0.0, 1.0, 1.0, 0.0)
"""1/beta of a core, and the part of the halo of turbulence that goes with it.

A Moffat profile fitted to the core of a Kolmogorov profile has 0.175; less, and the optics have
their part in the width; more, and the Moffat profile has wings of its own.
"""
_SEEING_ERROR = 0.35
_FEWEST_FOR_CORE = 15
_RINGS = (0.8, 1.2, 1.6, 2.1, 2.7, 3.5, 4.5, 6.0, 8.0, 10.5)


def measure_extended_psf(
    plane: ArrayLike,
    psf: PSFMeasurement | PSFField,
    *,
    background: Background,
    sigma: float,
    mask: ArrayLike | None = None,
    saturation: float | None = None,
) -> NDArray[np.float32] | None:
    """Measure the point-spread function pixel by pixel, out to 32 pixels.

    The measured Moffat profile is fitted to the stars, outside saturated cores. What is left in
    rings about them and grows in proportion to their flux is their halo; what does not is the sky
    and its faint stars. Where that cannot be told ring by ring, the halo that the atmosphere makes
    is scaled to what is left at all stars. Of what is left at the brightest stars, per unit of
    flux, the weighted median stands for the diffraction spikes where it stands out of its noise, or
    its mean along a ray does.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units.
    psf : PSFMeasurement or PSFField
        The profile, from `measure_psf`; or over the field, from `measure_psf_field`: then the image
        is that of its mean.
    background : Background
        Measured sky of the plane.
    sigma : float
        Noise of a pixel in image units.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    saturation : float, optional
        Pixels from this value up are saturated.

    Returns
    -------
    numpy.ndarray of float32, shape (65, 65), or None
        Centred, not negative. Its sum is the part of a star's light that falls within it; what lies
        beyond is what the halo leads to expect. None if fewer than 4 stars are bright enough or the
        Moffat profile describes them well.
    """
    data, excluded = check_plane(plane, mask)
    field, psf = (psf, psf.mean()) if isinstance(psf, PSFField) else (None, psf)
    if not (np.isfinite(psf.fwhm) and sigma > 0) or psf.fwhm > 12:
        return None
    stars: list[_Residual] = []
    for window in spread_windows(data.shape, _WINDOW, _WINDOW_COUNT):
        values, bad = cut_window(data, excluded, window)
        saturated = np.zeros_like(bad) if saturation is None else values >= 0.9 * saturation
        values = (values - background.level_at(*window)) / np.float32(sigma)
        here = (lambda x, y, w=window: field.psf_at(x + w.x0, y + w.y0)) if field else None
        stars += _fit_stars(values, bad, saturated, psf, here)
    if len(stars) < _FEWEST_STARS:
        return None
    bright = [star for star in stars if star.flux > _LEAST_FLUX]
    halo, beyond = _measure_halo(bright, psf)
    if not halo.any():
        halo, beyond = _scale_seeing(stars, psf)
    excess = halo + _measure_spikes([s for s in bright if s.flux > _BRIGHT], halo, psf)
    if np.abs(excess).sum() < _LEAST_LIGHT:
        return None
    moffat = moffat_stamp(psf, 0.0, 0.0)
    image = np.maximum(moffat + excess, 0.0)
    beyond = max(0.0, float(beyond + 1 - moffat.sum()))
    return (image / (image.sum() + beyond)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fitted star: flux, offset from the middle of its stamp, profile, and the stamp's place."""

    flux: float
    x: float
    y: float
    profile: NDArray[np.float64]
    area: tuple[slice, ...] = ()


@dataclass(frozen=True, eq=False)
class _Residual:
    """What is left at a star, per unit of its flux, moved to the middle of its stamp."""

    flux: float
    values: NDArray[np.float64]
    weight: NDArray[np.float64]


def _fit_stars(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
    psf: PSFMeasurement,
    psf_at: Callable[[float, float], PSFMeasurement] | None,
) -> list[_Residual]:
    # A frame of unusable pixels lets stars near the edge tell what they can.
    r = STAMP_RADIUS + 1
    values, bad, saturated = (
        np.pad(values, r),
        np.pad(bad, r, constant_values=True),
        np.pad(saturated, r),
    )
    clean = np.ascontiguousarray(np.where(bad, 0, values), dtype=np.float32)
    objects, segments = extract_sources(
        clean, None, _THRESHOLD, kernel=None, minimum_area=4, levels=32
    )
    order = np.argsort(-objects["flux"])[:_MOST_STARS]
    order = order[objects["flux"][order] > 0.5 * _FAINTEST]
    usable = ~(bad | binary_dilation(saturated, iterations=1))
    places = sep.winpos(clean, objects["x"][order], objects["y"][order], psf.fwhm / 2.3548)
    fits: list[tuple[_Fit, int]] = []
    rest = clean.astype(np.float64)
    for k, xk, yk in zip(order, *places[:2], strict=True):
        x, y = round(float(xk)), round(float(yk))
        if r <= y < clean.shape[0] - r and r <= x < clean.shape[1] - r:
            area = np.s_[y - r : y + r + 1, x - r : x + r + 1]
            own = (segments[area] == k + 1) | (segments[area] == 0)
            stamp = clean[area].astype(float)
            own_psf = psf if psf_at is None else psf_at(x - r, y - r)
            fit = _fit_star(stamp, usable[area] & own, float(xk) - x, float(yk) - y, own_psf)
            if fit is not None:
                fits.append((replace(fit, area=area), k + 1))
                rest[area] -= fit.flux * fit.profile
    residuals = []
    for fit, label in fits:
        if fit.flux < _FAINTEST:
            continue
        others = (segments[fit.area] > 0) & (segments[fit.area] != label)
        trusted = usable[fit.area] & ~binary_dilation(others, iterations=2)
        residuals.append(_centre(rest[fit.area], trusted, fit))
    return residuals


def _fit_star(
    stamp: NDArray[np.float64], usable: NDArray[np.bool_], x: float, y: float, psf: PSFMeasurement
) -> _Fit | None:
    r = stamp.shape[0] // 2
    v, u = np.mgrid[-r : r + 1, -r : r + 1]
    radius = np.hypot(u, v)
    near = usable & (radius <= 1.5 * psf.fwhm + 2)
    ring = usable & (radius > psf.fwhm) & (radius < 2 * psf.fwhm)
    if near.sum() < 12 or ring.sum() < 8:
        return None
    profile = moffat_stamp(psf, x, y, r)
    weight = 1 / (1 + np.maximum(stamp[near], 0))
    found = fit_star(stamp[near], weight, profile[near], sky_error=0.0)
    if found is None:
        return None
    flux = float(found[0][0])
    # A galaxy is not a star: its light does not fall off as the profile does.
    if not flux > 0 or np.median(stamp[ring]) > 2 * flux * np.median(profile[ring]) + 3:
        return None
    return _Fit(flux, x, y, profile)


def _centre(rest: NDArray[np.float64], trusted: NDArray[np.bool_], fit: _Fit) -> _Residual:
    moved = [
        shift(image, (-fit.y, -fit.x), order=1, cval=0.0)[1:-1, 1:-1]
        for image in (np.where(trusted, rest, 0.0), trusted.astype(float), fit.flux * fit.profile)
    ]
    # Noise of the sky, of the light, and of the fit in the core.
    variance = (1 + np.maximum(moved[2], 0) * 0.1 + (0.01 * moved[2]) ** 2) / fit.flux**2
    return _Residual(fit.flux, moved[0] / fit.flux, (moved[1] > 0.99) / variance)


def _measure_halo(stars: list[_Residual], psf: PSFMeasurement) -> tuple[NDArray[np.float64], float]:
    """Return the light of a halo about a star of flux 1, from rings about all stars.

    And how much of it lies beyond the stamp.
    """
    radius = _DISTANCE
    if len(stars) < _FEWEST_FOR_HALO:
        return np.zeros_like(radius), 0.0
    flux = np.array([star.flux for star in stars])
    places, levels, evidence, doubts = [0.0], [0.0], [], []
    slopes: list[tuple[float, float]] = []
    for low, ring in _rings(radius, psf):
        light, noise = np.array([_light_in(ring, star) for star in stars]).T
        slope, error, spread = _proportional_part(flux, light, noise)
        places.append(float(radius[ring].mean()))
        evidence.append((slope / error) ** 2)
        doubts.append(1 - spread**-2)
        slopes.append((slope, error))
        level = slope * max(0.0, 1 - (error / slope) ** 2) if slope else 0.0
        # A halo fades outwards; what grows is the sky of a nebula.
        levels.append(min(level, levels[-1]) if low >= _FADING else level)
    # What scatters more than the noise is the nebula under a star, and alike in all its rings: they
    # are then not as many witnesses.
    alike = 1 + float(np.mean(doubts)) * (len(doubts) - 1) if doubts else 1.0
    if sum(evidence) < _EVIDENCE * alike:
        return np.zeros_like(radius), 0.0
    outside, beyond = _outer_halo(places[1:], slopes, radius)
    return np.where(radius > places[-1], outside, np.interp(radius, places, levels)), beyond


def _outer_halo(
    places: list[float], slopes: list[tuple[float, float]], radius: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return how a halo goes on beyond the last ring, and its light beyond the stamp.

    As diffraction does, with the third power of the distance; the last rings tell its level.
    """
    rise = np.array(places[-_OUTER_RINGS:]) ** 3
    strengths, errors = np.array(slopes[-_OUTER_RINGS:]).T * rise
    weight = float((errors**-2).sum())
    if not weight > 0:
        return np.zeros_like(radius), 0.0
    strength = float((errors**-2 * strengths).sum()) / weight
    # A disc, which ends somewhere, is not taken to go on.
    strength = min(strength, float((strengths + errors).min()))
    if strength <= 0:
        return np.zeros_like(radius), 0.0
    strength *= max(0.0, 1 - 1 / (weight * strength**2))
    outside = strength * np.maximum(radius, places[-1]) ** -3.0
    return outside, strength * _BEYOND_SQUARE / STAMP_RADIUS


def _rings(
    radius: NDArray[np.float64], psf: PSFMeasurement
) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Yield the inner radius in FWHM, and the pixels, of the rings that the stamp holds."""
    for low, high in itertools.pairwise(_RINGS):
        if high * psf.fwhm <= STAMP_RADIUS + 1:
            yield low, (radius >= low * psf.fwhm) & (radius < high * psf.fwhm)


def _light_in(ring: NDArray[np.bool_], star: _Residual) -> tuple[float, float]:
    """Return what a star leaves in a pixel of a ring, in noise of the sky, and its error."""
    here = ring & (star.weight > 0)
    if here.sum() <= 0.3 * ring.sum():
        return 0.0, np.inf
    light = float(np.median(star.values[here])) * star.flux
    return light, 1.25 * star.flux / float(np.sqrt(star.weight[here].sum()))


def _scale_seeing(stars: list[_Residual], psf: PSFMeasurement) -> tuple[NDArray[np.float64], float]:
    """Return the halo of Kolmogorov turbulence as far as the stars show it, and what lies beyond.

    One number for all stars can be told where a ring of its own is lost in the noise. Where the
    stars are too faint even for that, a core as turbulence makes it has its halo.
    """
    radius = _DISTANCE
    near = radius <= 1.5 * psf.fwhm + 2
    moffat = moffat_stamp(replace(psf, ellipticity=0.0), 0.0, 0.0)
    halo = kolmogorov_stamp(_SEEING_WIDTH * psf.fwhm, STAMP_RADIUS)
    share = (halo * moffat)[near].sum() / (moffat**2)[near].sum()
    beyond = float(1 - halo.sum() - share * (1 - moffat.sum()))
    halo -= share * moffat
    rings = list(_rings(radius, psf))
    wanted = np.array([halo[ring].mean() for _, ring in rings])
    scales, errors = [], []
    for star in stars:
        light, noise = np.array([_light_in(ring, star) for _, ring in rings]).T
        good = np.isfinite(noise)
        if good.sum() < _FEWEST_RINGS:
            continue
        model = wanted[good] * star.flux
        # The sky under a star is one unknown of all its rings.
        inverse = np.linalg.inv(np.diag(noise[good] ** 2) + _SKY_ERROR**2)
        weight = model @ inverse @ model
        scales.append(model @ inverse @ light[good] / weight)
        errors.append(weight**-0.5)
    enough = psf.n_stars >= _FEWEST_FOR_CORE
    expected = float(np.interp(1 / psf.beta, *_SEEING_CORE)) if enough else 0.0
    scale, error = 0.0, np.inf
    if len(scales) >= _FEWEST_STARS:
        scale, error = _robust_mean(np.array(scales), np.array(errors))
    if expected > 0:
        trust = 1 / (1 + (error / _SEEING_ERROR) ** 2)
        scale = max(0.0, trust * scale + (1 - trust) * expected)
    else:
        scale = 0.0 if scale < 2 * error else scale * (1 - (error / scale) ** 2)
    return halo * scale, beyond * scale


def _robust_mean(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Return the weighted mean with outliers of little weight, and its error."""
    weight = robust = errors**-2
    for _ in range(8):
        mean = (robust * values).sum() / robust.sum()
        pull = (values - mean) / errors
        spread = max(1.0, 1.4826 * float(np.median(np.abs(pull))))
        robust = weight / (1 + (pull / (2 * spread)) ** 2)
    return float(mean), float(spread / np.sqrt(robust.sum()))


def _proportional_part(
    flux: NDArray[np.float64], light: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fit ``light = slope * flux + sky`` robustly; return slope, error, scatter over noise."""
    variance = noise**2 + _SKY_ERROR**2
    weight = np.where(np.isfinite(variance), 1 / variance, 0.0)
    if (weight > 0).sum() < _FEWEST_STARS:
        return 0.0, np.inf, 1.0
    basis = np.stack([flux, np.ones_like(flux)])
    robust = weight
    for _ in range(8):
        normal = (basis * robust) @ basis.T
        normal[1, 1] += 1.0  # the sky is known to about one sigma
        slope, sky = np.linalg.solve(normal, basis @ (robust * light))
        pull = (light - slope * flux - sky) * np.sqrt(weight)
        spread = max(1.0, 1.4826 * float(np.median(np.abs(pull[weight > 0]))))
        robust = weight / (1 + (pull / (2 * spread)) ** 2)
    error = spread * np.sqrt(np.linalg.inv((basis * robust) @ basis.T + np.diag([0, 1.0]))[0, 0])
    return float(slope), float(error), spread


def _measure_spikes(
    stars: list[_Residual], halo: NDArray[np.float64], psf: PSFMeasurement
) -> NDArray[np.float64]:
    """Return what the brightest stars have beside profile and halo, per unit of flux."""
    stars = _without_company(stars, psf)
    if len(stars) < _FEWEST_FOR_SPIKES:
        return np.zeros_like(halo)
    # What the rim shows is a nebula under the star as likely as its light.
    rim = np.abs(_DISTANCE - STAMP_RADIUS + 2) <= 2
    values = np.stack([star.values - halo for star in stars])
    weights = np.stack([star.weight for star in stars])
    for own, weight in zip(values, weights, strict=True):
        clear = rim & (weight > 0)
        own -= np.median(own[clear]) if clear.any() else 0.0
    median, error = _weighted_median(values, weights)
    # Faint neighbours leave a fraction of a sigma under every star, however many there are.
    flux = np.array([star.flux for star in stars])[:, None, None]
    with np.errstate(invalid="ignore"):
        company = _SKY_ERROR / ((weights * flux).sum(axis=0) / weights.sum(axis=0))
        scatter = _scatter_in_rings(median, beyond=_STRUCTURED * psf.fwhm)
        strength = np.abs(median) / np.hypot(np.maximum(error, scatter), company)
    strength[(weights > 0).sum(axis=0) < _FEWEST_FOR_SPIKES] = 0.0
    fade = np.clip((_DISTANCE / STAMP_RADIUS - 0.9) / 0.1, 0, 1)
    share = np.clip((strength - 2) / 2, 0, 1)
    rays = _measure_rays(median, error)
    return (share * median + (1 - share) * rays) * (0.5 + 0.5 * np.cos(np.pi * fade))


def _scatter_in_rings(image: NDArray[np.float64], *, beyond: float) -> NDArray[np.float64]:
    """Return the scatter of the pixels of each ring: above the noise, that of a nebula."""
    ring = np.round(_DISTANCE).astype(int)
    scatter = np.zeros(ring.max() + 1)
    for number in range(math.ceil(beyond), len(scatter)):
        values = image[ring == number]
        scatter[number] = 1.4826 * np.median(np.abs(values - np.median(values)))
    return np.asarray(scatter[ring])


def _measure_rays(image: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what stands out of its ring along a ray, where a single pixel does not tell it.

    A mean along the ray knows fainter light than a pixel, and the light of faint neighbours, which
    is alike in all directions, is in the median of the ring.
    """
    radii = np.arange(0, STAMP_RADIUS + 1)
    angles = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)
    polar = STAMP_RADIUS + np.stack(
        [np.outer(radii, np.sin(angles)), np.outer(radii, np.cos(angles))]
    )
    known = np.isfinite(error)
    light, variance, weight = (
        map_coordinates(part, polar, order=1, mode="nearest")
        for part in (
            np.where(known, image, 0.0),
            np.where(known, error, 0.0) ** 2,
            known.astype(float),
        )
    )
    clear = weight > 0.99
    ring = np.array(
        [np.median(row[c]) if c.any() else 0.0 for row, c in zip(light, clear, strict=True)]
    )
    weight = np.where(clear, 1.0, 0.0)
    total = np.maximum(gaussian_filter1d(weight, _ALONG, axis=0), 1e-6)
    ray = gaussian_filter1d((light - ring[:, None]) * weight, _ALONG, axis=0) / total
    doubt = gaussian_filter1d(variance * weight, _ALONG, axis=0) / total
    doubt = np.sqrt(doubt / (2 * np.sqrt(np.pi) * _ALONG))
    # A nebula scatters more than noise does.
    scatter = 1.4826 * np.median(np.abs(ray), axis=1, keepdims=True)
    ray *= np.clip((ray / np.maximum(np.maximum(doubt, scatter), 1e-30) - 3) / 2, 0, 1)
    places = np.stack([_DISTANCE, _ANGLE % (2 * np.pi) * _RAYS / (2 * np.pi)])
    found: NDArray[np.float64] = map_coordinates(
        np.hstack([ray, ray[:, :1]]), places, order=1, mode="nearest"
    )
    return np.where(_DISTANCE > _ALONG, found, 0.0)


def _without_company(stars: list[_Residual], psf: PSFMeasurement) -> list[_Residual]:
    """Leave out stars with more light around them than the others: neighbours, a galaxy."""
    radius = _DISTANCE / psf.fwhm
    kept = np.ones(len(stars), dtype=bool)
    for low, high in ((1.2, 2.5), (2.5, 5.0)):
        ring = (radius >= low) & (radius < high)
        light, noise = np.full(len(stars), np.nan), np.zeros(len(stars))
        for k, star in enumerate(stars):
            here = ring & (star.weight > 0)
            if here.sum() > 0.4 * ring.sum():
                light[k] = star.values[here].mean() * ring.sum()
                noise[k] = ring.sum() / star.flux / np.sqrt(here.sum())
        if not np.isfinite(light).any():
            return []
        with np.errstate(invalid="ignore"):
            kept &= light - np.nanpercentile(light, 25) < 3 * noise + _COMPANY
    alone = [star for star, good in zip(stars, kept, strict=True) if good]
    return alone if len(alone) * 2 >= len(stars) else []


def _weighted_median(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted median along the first axis, and its error."""
    median = _middle(values, weights)
    spread = 1.4826 * _middle(np.abs(values - median), weights)
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = total**2 / (weights**2).sum(axis=0)
        error = 1.25 * np.maximum(spread / np.sqrt(effective), 1 / np.sqrt(total))
    return median, np.where(np.isfinite(error), error, np.inf)


def _middle(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(np.take_along_axis(weights, order, 0), axis=0)
    place = (cumulative >= 0.5 * cumulative[-1]).argmax(axis=0)
    chosen = np.take_along_axis(order, place[None], 0)
    result: NDArray[np.float64] = np.take_along_axis(values, chosen, 0)[0]
    return result
