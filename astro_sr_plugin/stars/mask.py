"""A mask of the stars: as far as their light shows, with halos, spikes and saturated cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, unpack
from astro_sr_plugin.data.pixel_kind import check_linear
from astro_sr_plugin.data.signatures import shared_parameters
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.measurement.plane import DETECTION_NSIGMA, MeasuredPlane, open_planes
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.pixels import describe_fill
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, cut_window, iterate_strips
from astro_sr_plugin.stars.spikes import follow_halo, follow_spikes, sample_rays

__all__ = ["mask_planes", "star_mask"]

_BRIGHT = 100.0
"""Peak in noise sigma of a pixel from which halo and spikes of a star are followed."""
_FARTHEST = 400
"""Largest radius in pixels of a star."""
_BRIGHTER = 3.0
"""Peak of a source on a trail over the light of that from which it is a star."""
_MOST_BRIGHT = 2000
"""Largest number of stars that are followed: it limits the time."""


@shared_parameters
def star_mask(
    image: Image,
    *,
    mask: MaskLike | None = None,
    nsigma: float = 5.0,
    radius_factor: float = 1.0,
    halo: bool = True,
    spikes: bool = True,
    saturation: float | None = None,
    measured: Quality | None = None,
    force: bool = False,
    hdu: HDUChoice = None,
) -> NDArray[np.bool_]:
    """Mark the stars of an image.

    Each star is covered out to where its profile, the measured Moffat scaled to its flux, falls to
    the noise of one pixel. Around bright and saturated stars the mask follows the halo and the
    diffraction spikes in the image itself. Galaxies and nebulosity stay free, as far as their size
    differs from that of stars, and so do trails of satellites.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array or path, shape (ny, nx) or (n, ny, nx)
        Linear image; it is not changed.
    nsigma : float
        Signal-to-noise ratio, above 0, of the faintest stars to mask.
    radius_factor : float
        Factor, above 0, on the radius of all stars.
    halo, spikes : bool
        False leaves out the halos or the spikes of bright stars.
    saturation : float, optional
        Pixels from this value up are saturated; looked for if not given.

    Returns
    -------
    numpy.ndarray of bool, shape (ny, nx)
        True = star. For a colour image or a cube, the union over its planes.

    Raises
    ------
    InputError
        If the image cannot be used, or `nsigma` or `radius_factor` is not above 0.
    ImageReadError
        If a path cannot be read.

    Examples
    --------
    Stars and noise; the mask covers the star in the middle and leaves most of the sky free.

    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:128, :128]
    >>> image = rng.normal(100.0, 5.0, y.shape)
    >>> image += 9000 * np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / (2 * 1.5**2))
    >>> for x0, y0 in rng.uniform(8, 120, (20, 2)):
    ...     image += 2000 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 1.5**2))
    >>> mask = asr.star_mask(image)
    >>> bool(mask[64, 64]), bool(mask.mean() < 0.3)
    (True, True)
    """
    for name, value in (("nsigma", nsigma), ("radius_factor", radius_factor)):
        if not value > 0:
            msg = f"{name} is {value}, but it must be above 0"
            raise InputError(msg)
    if measured is None:
        parts = unpack(image, mask=mask, hdu=hdu)
        check_linear(parts, force=force)
        planes = open_planes(parts)
        fill = describe_fill([plane.pixels for plane in planes])
        if fill is not None:
            warn(fill)
    else:
        planes = measured.planes_of(unpack(image, hdu=hdu), mask)
    return mask_planes(planes, nsigma, radius_factor, saturation, halo=halo, spikes=spikes)


def mask_planes(
    planes: Sequence[MeasuredPlane],
    nsigma: float = DETECTION_NSIGMA,
    radius_factor: float = 1.0,
    saturation: float | None = None,
    *,
    halo: bool = True,
    spikes: bool = True,
) -> NDArray[np.bool_]:
    """Mask the stars of measured planes, all of one shape; parameters as for `star_mask`."""
    result = np.zeros(planes[0].shape, dtype=bool)
    for plane in planes:
        if plane.fault is None:
            level = plane.saturation if saturation is None else saturation / plane.unit
            _mask_plane(result, plane, nsigma, radius_factor, level, halo=halo, spikes=spikes)
    return result


def _mask_plane(
    result: NDArray[np.bool_],
    plane: MeasuredPlane,
    nsigma: float,
    radius_factor: float,
    saturation: float | None,
    *,
    halo: bool,
    spikes: bool,
) -> None:
    """Add the stars of one plane to `result`."""
    sigma, profile = plane.detection_sigma, plane.star_profile
    if nsigma == DETECTION_NSIGMA and saturation == plane.saturation:
        sources = plane.sources
    else:
        sources = plane.find_sources(nsigma, saturation)
    stars = sources[~(sources["extended"] | _on_trails(plane, sources))]
    radii = _radii(stars, profile, sigma) * radius_factor
    amplitude = profile.amplitude(stars["flux"]) / sigma
    bright = (amplitude > _BRIGHT) | stars["saturated"]
    for i in np.flatnonzero(bright)[:_MOST_BRIGHT]:
        if halo or spikes:
            radii[i] = _mask_bright(
                result, plane, stars[i], radii[i], profile, halo=halo, spikes=spikes
            )
    for star, radius in zip(stars, radii, strict=True):
        _fill_disc(result, star["x"], star["y"], radius)
    if saturation is not None:
        _add_saturated(result, plane.data, plane.unusable, saturation, profile)


def _on_trails(plane: MeasuredPlane, sources: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which sources are pieces of trails."""
    pieces = np.zeros(len(sources), dtype=bool)
    for trail in plane.trails:
        near = trail.distance(sources["x"], sources["y"]) < plane.star_profile.observed
        pieces |= near & (sources["peak"] < _BRIGHTER * trail.peak)
    return pieces


def _radii(stars: NDArray[Any], profile: StarProfile, sigma: float) -> NDArray[np.float64]:
    """Radius in pixels at which each star's profile falls to the noise of one pixel."""
    amplitude = profile.amplitude(stars["flux"]) / sigma
    # The flux of a saturated star is clipped; its area gives a lower limit of its brightness.
    lower = profile.contrast(stars["radius"])
    amplitude = np.where(stars["saturated"], np.maximum(amplitude, lower), amplitude)
    radii = np.maximum(profile.radius(amplitude), 0.75 * profile.observed)
    limited: NDArray[np.float64] = np.minimum(radii, _FARTHEST)
    return limited


def _mask_bright(
    result: NDArray[np.bool_],
    plane: MeasuredPlane,
    star: NDArray[Any],
    radius: float,
    profile: StarProfile,
    *,
    halo: bool,
    spikes: bool,
) -> float:
    """Draw the spikes of a bright star; return its radius with the halo."""
    reach = int(min(_FARTHEST, max(6 * radius, 40)))
    x, y = float(star["x"]), float(star["y"])
    window = Window(
        max(int(y) - reach, 0),
        min(int(y) + reach + 1, plane.shape[0]),
        max(int(x) - reach, 0),
        min(int(x) + reach + 1, plane.shape[1]),
    )
    sigma = plane.detection_sigma
    values, bad = cut_window(plane.data, plane.unusable, window)
    row, column = int(np.clip(y, 0, plane.shape[0] - 1)), int(np.clip(x, 0, plane.shape[1] - 1))
    values -= plane.background.level_at(row, row + 1, column, column + 1)
    values[bad] = np.nan
    rays = sample_rays(values, x - window.x0, y - window.y0, reach)
    if halo:
        radius = follow_halo(rays, radius, sigma, float(profile.amplitude(star["flux"])))
    if spikes:
        half_width = max(0.8 * profile.observed, 1.5)
        for angle, end in follow_spikes(rays, radius, sigma, profile.observed):
            _fill_bar(result, x, y, angle, end, half_width)
    return radius


def _fill_disc(result: NDArray[np.bool_], x: float, y: float, radius: float) -> None:
    ny, nx = result.shape
    y0, y1 = max(int(np.ceil(y - radius)), 0), min(int(y + radius) + 1, ny)
    x0, x1 = max(int(np.ceil(x - radius)), 0), min(int(x + radius) + 1, nx)
    rows, columns = np.ogrid[y0:y1, x0:x1]
    result[y0:y1, x0:x1] |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _fill_bar(
    result: NDArray[np.bool_], x: float, y: float, angle: float, length: float, half_width: float
) -> None:
    ny, nx = result.shape
    end_x, end_y = x + length * np.cos(angle), y + length * np.sin(angle)
    y0 = max(int(min(y, end_y) - half_width), 0)
    y1 = min(int(max(y, end_y) + half_width) + 2, ny)
    x0 = max(int(min(x, end_x) - half_width), 0)
    x1 = min(int(max(x, end_x) + half_width) + 2, nx)
    rows, columns = np.ogrid[y0:y1, x0:x1]
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    result[y0:y1, x0:x1] |= (along >= 0) & (along <= length) & (np.abs(across) <= half_width)


def _add_saturated(
    result: NDArray[np.bool_],
    plane: NDArray[Any],
    excluded: UnusablePixels,
    saturation: float,
    profile: StarProfile,
) -> None:
    """Add the saturated pixels, columns of bloom too, with a rim of one FWHM."""
    rim = max(1, round(profile.observed))
    for strip in iterate_strips(plane.shape):
        wider = Window(
            max(strip.y0 - rim, 0), min(strip.y1 + rim, plane.shape[0]), strip.x0, strip.x1
        )
        values, bad = cut_window(plane, excluded, wider)
        full = (values >= saturation) & ~bad
        if full.any():
            grown = binary_dilation(full, iterations=rim)
            result[strip.y0 : strip.y1] |= grown[strip.y0 - wider.y0 : strip.y1 - wider.y0]
