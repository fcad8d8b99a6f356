"""What a Moffat profile leaves out of the point-spread function: diffraction spikes and halos."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, shift
from scipy.optimize import least_squares

from astro_sr_plugin.measurement.background import Background
from astro_sr_plugin.measurement.psf import PSFMeasurement
from astro_sr_plugin.measurement.windows import check_plane, cut_window, spread_windows

__all__ = ["measure_wings", "moffat_stamp"]

_RADIUS = 32
_WINDOW, _WINDOW_COUNT = 1024, 4
_THRESHOLD = 40.0
_MOST_STARS = 40
_FEWEST_STARS = 4
_LEAST_FLUX = 15000.0
_LEAST_LIGHT = 0.02
_COMPANY = 0.02
_AGREEMENT = 0.5
_SKY_ERROR = 0.2
_NODES = np.array([-0.3873, 0.0, 0.3873])
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18


def moffat_stamp(
    psf: PSFMeasurement, x: float, y: float, radius: int = _RADIUS
) -> NDArray[np.float64]:
    """Render a Moffat profile integrated over the pixel.

    Parameters
    ----------
    psf : PSFMeasurement
        The shape.
    x, y : float
        Offset of the star from the middle of the stamp in pixels.
    radius : int
        The stamp has ``2 * radius + 1`` pixels a side.

    Returns
    -------
    numpy.ndarray
        Surface brightness of a star whose light out to infinity is 1.
    """
    alpha = psf.fwhm / (2 * np.sqrt(2 ** (1 / psf.beta) - 1))
    cos, sin = np.cos(psf.theta), np.sin(psf.theta)
    q = np.sqrt(1 - psf.ellipticity)
    grid = np.arange(-radius, radius + 1.0)
    total = np.zeros((grid.size, grid.size))
    for dy, wy in zip(_NODES, _WEIGHTS, strict=True):
        for dx, wx in zip(_NODES, _WEIGHTS, strict=True):
            u, v = grid[None, :] + dx - x, grid[:, None] + dy - y
            square = ((u * cos + v * sin) * q) ** 2 + ((v * cos - u * sin) / q) ** 2
            total += wx * wy * (1 + square / alpha**2) ** -psf.beta
    return total * (psf.beta - 1) / (np.pi * alpha**2)


def measure_wings(
    plane: ArrayLike,
    psf: PSFMeasurement,
    *,
    background: Background,
    sigma: float,
    mask: ArrayLike | None = None,
    saturation: float | None = None,
) -> NDArray[np.float32] | None:
    """Measure the point-spread function pixel by pixel, out to 32 pixels, from the bright stars.

    The measured Moffat profile is fitted to each of the brightest stars, outside its saturated
    core; the weighted median of what is left, per unit of flux, is added to the profile where it
    stands out of its noise. Spikes thus come from the bright stars, the core from all.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units.
    psf : PSFMeasurement
        The profile, from `measure_psf`.
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
        Centred, not negative, sum 1; None if fewer than 4 stars are bright enough or a Moffat
        profile describes them well.
    """
    data, excluded = check_plane(plane, mask)
    if not (np.isfinite(psf.fwhm) and sigma > 0) or psf.fwhm > 12:
        return None
    stars: list[_Residual] = []
    for window in spread_windows(data.shape, _WINDOW, _WINDOW_COUNT):
        values, bad = cut_window(data, excluded, window)
        saturated = np.zeros_like(bad) if saturation is None else values >= 0.9 * saturation
        values = (values - background.level_at(*window)) / np.float32(sigma)
        stars += _fit_stars(values, bad, saturated, psf)
    stars = sorted(stars, key=lambda star: -star.flux)[:_MOST_STARS]
    alone = _without_company(stars, psf)
    if len(alone) < max(_FEWEST_STARS, _AGREEMENT * len(stars)):
        return None
    stars = alone
    excess = _combine(stars, psf)
    if np.abs(excess).sum() < _LEAST_LIGHT:
        return None
    image = np.maximum(moffat_stamp(psf, 0.0, 0.0) + excess, 0.0)
    return (image / image.sum()).astype(np.float32)


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
) -> list[_Residual]:
    clean = np.ascontiguousarray(np.where(bad, 0, values), dtype=np.float32)
    sep.set_extract_pixstack(max(300_000, 2 * clean.size))
    objects, segments = sep.extract(
        clean, _THRESHOLD, minarea=4, filter_kernel=None, clean=False, segmentation_map=True
    )
    order = np.argsort(-objects["flux"])[: 2 * _MOST_STARS]
    order = order[objects["flux"][order] > 0.1 * _LEAST_FLUX]
    usable = ~(bad | binary_dilation(saturated, iterations=1))
    fits: list[tuple[_Fit, int]] = []
    rest = clean.astype(np.float64)
    r = _RADIUS + 1
    for k in order:
        x, y = round(float(objects["x"][k])), round(float(objects["y"][k]))
        if r <= y < clean.shape[0] - r and r <= x < clean.shape[1] - r:
            area = np.s_[y - r : y + r + 1, x - r : x + r + 1]
            own = (segments[area] == k + 1) | (segments[area] == 0)
            fit = _fit_star(clean[area].astype(float), usable[area] & own, psf)
            if fit is not None:
                fits.append((replace(fit, area=area), k + 1))
                rest[area] -= fit.flux * fit.profile
    residuals = []
    for fit, label in fits:
        if fit.flux < _LEAST_FLUX:
            continue
        others = (segments[fit.area] > 0) & (segments[fit.area] != label)
        trusted = usable[fit.area] & ~binary_dilation(others, iterations=2)
        residuals.append(_centre(rest[fit.area], trusted, fit))
    return residuals


def _fit_star(
    stamp: NDArray[np.float64], usable: NDArray[np.bool_], psf: PSFMeasurement
) -> _Fit | None:
    r = stamp.shape[0] // 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    core = int(np.clip(np.ceil(2.5 * psf.fwhm), 5, r))
    inner = np.s_[r - core : r + core + 1, r - core : r + core + 1]
    near = usable[inner] & (np.hypot(x, y)[inner] <= core)
    if near.sum() < 30:
        return None
    pixels = stamp[inner][near]

    def model(place: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        profile = moffat_stamp(psf, place[0], place[1], core)[near]
        weight = 1 / (1 + np.maximum(pixels, 0))
        flux = float((weight * profile * pixels).sum() / (weight * profile**2).sum())
        return (pixels - flux * profile) * np.sqrt(weight), flux

    fit = least_squares(
        lambda place: model(place)[0], [0.0, 0.0], bounds=(-2, 2), loss="soft_l1", max_nfev=20
    )
    flux = model(fit.x)[1]
    if not flux > 0:
        return None
    profile = moffat_stamp(psf, fit.x[0], fit.x[1], r)
    # A galaxy is not a star: its light does not fall off as the profile does.
    ring = usable & (np.hypot(x, y) > psf.fwhm) & (np.hypot(x, y) < 2 * psf.fwhm)
    if ring.sum() < 8 or np.median(stamp[ring]) > 2 * flux * np.median(profile[ring]) + 3:
        return None
    return _Fit(flux, float(fit.x[0]), float(fit.x[1]), profile)


def _centre(rest: NDArray[np.float64], trusted: NDArray[np.bool_], fit: _Fit) -> _Residual:
    moved = [
        shift(image, (-fit.y, -fit.x), order=1, cval=0.0)[1:-1, 1:-1]
        for image in (np.where(trusted, rest, 0.0), trusted.astype(float), fit.flux * fit.profile)
    ]
    # Noise of the sky, of the light, and of the fit in the core.
    variance = (1 + np.maximum(moved[2], 0) * 0.1 + (0.01 * moved[2]) ** 2) / fit.flux**2
    return _Residual(fit.flux, moved[0] / fit.flux, (moved[1] > 0.99) / variance)


def _without_company(stars: list[_Residual], psf: PSFMeasurement) -> list[_Residual]:
    """Leave out stars with more light around them than the others: neighbours, a galaxy."""
    y, x = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    radius = np.hypot(x, y) / psf.fwhm
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
        usual = np.nanpercentile(light, 25)
        with np.errstate(invalid="ignore"):
            kept &= light - usual < 3 * noise + _COMPANY
    return [star for star, good in zip(stars, kept, strict=True) if good]


def _combine(stars: list[_Residual], psf: PSFMeasurement) -> NDArray[np.float64]:
    """Return the weighted median residual where it is significant, 0 elsewhere."""
    values = np.stack([star.values for star in stars])
    weights = np.stack([star.weight for star in stars])
    enough = (weights > 0).sum(axis=0) >= _FEWEST_STARS
    median, error = _weighted_median(values, weights)
    median[~enough], error[~enough] = 0.0, np.inf
    y, x = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    radius = np.hypot(x, y)
    # Faint neighbours leave a fraction of a sigma under every star, however many there are.
    flux = np.array([star.flux for star in stars])[:, None, None]
    with np.errstate(invalid="ignore"):
        company = _SKY_ERROR / ((weights * flux).sum(axis=0) / weights.sum(axis=0))
    company[~enough] = np.inf
    halo = np.zeros_like(median)
    rings = np.round(radius).astype(int)
    for ring in range(1, _RADIUS + 1):
        here = (rings == ring) & enough
        if here.sum() >= 6:
            level = np.median(median[here])
            noise = 1.25 * np.median(error[here]) / np.sqrt(here.sum())
            limit = 3 * np.hypot(noise, np.median(company[here]))
            halo[rings == ring] = level if abs(level) > limit else 0.0
    rest = median - halo
    strength = np.abs(rest) / np.hypot(error, company)
    rest *= np.clip((strength - 2.0) / 2.0, 0.0, 1.0)
    fade = 0.5 + 0.5 * np.cos(np.pi * np.clip((radius / _RADIUS - 0.8) / 0.2, 0, 1))
    return (halo + rest) * fade


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
