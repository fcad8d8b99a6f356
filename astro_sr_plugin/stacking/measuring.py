"""What is measured on each calibrated frame: sky, noise, stars, and pixels not to be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import sep
from astropy.nddata import CCDData
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.data.frames import Frame
from astro_sr_plugin.data.nddata import unpack
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import AstroSRError, InputError
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.noise import measure_noise
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import check_plane
from astro_sr_plugin.measurement.sources.hot_pixels import mark_hot_pixels
from astro_sr_plugin.measurement.sources.trails import find_trails
from astro_sr_plugin.registration.detection import list_stars
from astro_sr_plugin.registration.detection_plane import make_detection_plane
from astro_sr_plugin.stacking.masters import Masters

__all__ = [
    "APERTURES",
    "FRAME_BYTES",
    "FrameMeasurement",
    "Sky",
    "measure_frame",
    "read_calibrated",
    "try_frame",
]

FRAME_BYTES = 40
"""Bytes for each pixel and colour of a frame while it is measured."""

APERTURES = (3.0, 4.0, 5.5, 7.5, 10.0, 14.0, 20.0, 28.0)
"""Radii in pixels of the apertures of the photometry. Two frames are compared in the same one,
which is large enough for the wider stars."""
_NOISE_WINDOWS, _NOISE_WINDOW = 4, 120
"""Number, and side in pixels, of the windows in which the noise is measured: to 0.4 %."""
_MANY_PIXELS = 1_000_000
"""Pixels beyond which the sky is measured in every fourth row: a box of 128 pixels gives it to 0.02
sigma then."""
_PHOTOMETRY = 200
"""Number of stars, the brightest, that are measured in the apertures."""
_TRAIL_REACH = 2.0
"""Distance in FWHM from the middle of a trail out to which pixels are not used."""
_ROWS = 256
"""Rows that are looked at at a time."""
_UNKNOWN_FWHM = 3.0
"""FWHM in pixels where no star was measured."""
_LEAST_FWHM = 1.1
"""FWHM in pixels below which nothing tells a star from a hot pixel."""
_COSMIC_NSIGMA = 6.0
"""Threshold in noise sigma of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420)."""
_COSMIC_CONTRAST = 5.0
"""Its contrast between fine structure and the light that the optics let pass."""
_MOST_EXCLUDED = 0.02
"""Fraction of pixels above which what was found are no cosmic rays: stars are undersampled."""


@dataclass(frozen=True, eq=False)
class Sky:
    """The sky of one colour of a frame.

    Attributes
    ----------
    background : Background
        Of the pixels of that colour.
    step, x, y : int
        Pixels of the frame per pixel of it along each axis, and its first pixel in the frame.
    """

    background: Background
    step: int = 1
    x: int = 0
    y: int = 0

    @property
    def nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel coordinates y and x of the frame at which the sky was measured."""
        found = self.background
        return found.y_nodes * self.step + self.y, found.x_nodes * self.step + self.x


@dataclass(frozen=True, eq=False)
class FrameMeasurement:
    """What was measured on a calibrated frame.

    Attributes
    ----------
    sky : tuple of Sky
        For each colour.
    noise : ndarray, shape (n,)
        Standard deviation of the noise of one pixel of each colour.
    stars : astropy.table.Table
        As of `detect_stars`, with the columns ``aperture_flux`` and ``aperture_error`` of shape
        (stars, apertures).
    fwhm : float
        FWHM of the stars in pixels; NaN where there are none.
    ellipticity : float
        1 - b/a, the median of the stars.
    excluded : ndarray of int64
        Flat indices of pixels that are not to be used: hot ones, cosmic rays, trails.
    saturation : float
        Value from which pixels are saturated; infinite where none is.
    """

    sky: tuple[Sky, ...]
    noise: NDArray[np.float64]
    stars: Table
    fwhm: float
    ellipticity: float
    excluded: NDArray[np.int64]
    saturation: float


def read_calibrated(
    frame: Frame, masters: Masters, first: int = 0, last: int | None = None
) -> NDArray[np.float32]:
    """Read rows of a frame, with its pedestal added, and calibrate them.

    Parameters
    ----------
    frame : Frame
        The light.
    masters : Masters
        What it is corrected by; only frames of one plane can be.
    first, last : int
        First row, and the one after the last.

    Returns
    -------
    ndarray of float32, shape (..., rows, nx)
        NaN where there is no value.
    """
    values = frame.counts(first, last)
    return masters.apply(values, first) if values.ndim == 2 else values


def measure_frame(
    frame: Frame, masters: Masters, cfa: ColorFilterArray | None, *, cosmic_rays: bool = False
) -> FrameMeasurement:
    """Measure a frame after its calibration.

    Parameters
    ----------
    frame : Frame
        The light.
    masters : Masters
        What it is corrected by.
    cfa : ColorFilterArray or None
        Filters of the pixels of a mosaic.
    cosmic_rays : bool
        Look for cosmic rays by L.A.Cosmic, which a stack of few frames needs.

    Returns
    -------
    FrameMeasurement
        The figures.

    Raises
    ------
    InputError
        If the frame cannot be used; the message says why.
    """
    values = read_calibrated(frame, masters)
    usable = np.isfinite(values)
    if not usable.any():
        msg = "no pixel has a value"
        raise InputError(msg)
    lowest, highest = np.nanmin(values), np.nanmax(values)
    if lowest == highest:
        msg = f"every pixel is {lowest:g}"
        raise InputError(msg)
    parts = unpack(CCDData(values, unit="adu", mask=~usable, meta=frame.meta))
    seen = make_detection_plane(parts, cfa)
    light, side = seen.data, seen.side
    pixels = open_plane(light, seen.mask)
    single = values.ndim == 2 and cfa is None
    skies, noises = [], []
    for plane, step, y, x in _split(values, cfa):
        background, sigma = _measure_sky(plane, pixels.unusable if single else None)
        skies.append(Sky(background, step, x, y))
        noises.append(sigma)
    noise = np.array(noises)
    if not np.all(noise > 0):
        msg = "it has no noise that can be measured"
        raise InputError(msg)
    if cfa is not None:
        background = measure_background(light, mask=pixels.unusable)
        shares = np.array([np.mean(cfa.filters == colour) for colour in "RGB"])
        sigma = float(np.sqrt(np.sum(shares * noise**2))) / side
    elif not single:
        background, sigma = _measure_sky(light, pixels.unusable)
    bad = ~np.isfinite(light)
    above = background.full()
    np.subtract(light, above, out=above, dtype=np.float32, casting="same_kind")
    above[bad] = 0
    stars = list_stars(parts, plane=seen, pixels=pixels, background=background, above=above)
    fwhm = float(stars.meta.get("fwhm", np.nan)) if len(stars) else np.nan
    # What a saturated pixel lacks differs between frames: apertures with one say nothing.
    _add_photometry(stars, above, bad | (light >= stars.meta["saturation"]), side, sigma)
    excluded = _find_trails(above, pixels.unusable, side, fwhm, usable.shape[-2:])
    if single and fwhm >= _LEAST_FWHM:
        above /= np.float32(sigma)
        excluded |= _find_sharp(above, bad, fwhm, cosmic_rays)
    ellipticity = float(np.median(stars["ellipticity"])) if len(stars) else np.nan
    indices = np.flatnonzero(excluded)
    saturation = float(stars.meta["saturation"]) if single else _saturation(values, skies)
    return FrameMeasurement(tuple(skies), noise, stars, fwhm, ellipticity, indices, saturation)


def try_frame(
    frames: Mapping[int, Frame],
    masters: Mapping[int, Masters],
    cfa: ColorFilterArray | None,
    cosmic_rays: bool,
    number: int,
) -> FrameMeasurement | str:
    """Measure one of the frames, or say why it cannot be used."""
    try:
        return measure_frame(frames[number], masters[number], cfa, cosmic_rays=cosmic_rays)
    except AstroSRError as error:
        return str(error)


def _measure_sky(
    plane: NDArray[np.float32], unusable: UnusablePixels | None
) -> tuple[Background, float]:
    """Measure the sky of a plane, and the noise of one pixel."""
    data, unusable = check_plane(plane, unusable)
    every = 4 if data.size > _MANY_PIXELS else 1
    background = measure_background(data, mask=unusable, every=every)
    noise = measure_noise(
        data,
        mask=unusable,
        background=background,
        window=_NOISE_WINDOW,
        most_windows=_NOISE_WINDOWS,
    )
    return background, noise.sigma


def _saturation(values: NDArray[np.float32], skies: list[Sky]) -> float:
    """Value from which pixels are saturated, of the colour in which it is lowest."""
    planes = values if values.ndim == 3 else values[None]
    found = [
        find_saturation(plane, level=sky.background.level, rms=sky.background.rms)
        for plane, sky in zip(planes, skies, strict=False)
    ]
    return min((level for level in found if level is not None), default=np.inf)


def _split(
    values: NDArray[np.float32], cfa: ColorFilterArray | None
) -> Iterator[tuple[NDArray[np.float32], int, int, int]]:
    """Yield each colour, the step of its pixels, and its first row and column.

    A colour of a mosaic is represented by the first of its pixels in the repeated block.
    """
    if values.ndim == 3:
        for plane in values:
            yield plane, 1, 0, 0
    elif cfa is None:
        yield values, 1, 0, 0
    else:
        side = len(cfa.filters)
        for colour in "RGB":
            y, x = np.argwhere(cfa.filters == colour)[0]
            yield np.ascontiguousarray(values[y::side, x::side]), side, int(y), int(x)


def _add_photometry(
    stars: Table,
    above: NDArray[np.float32],
    bad: NDArray[np.bool_],
    side: int,
    sigma: float,
) -> None:
    """Measure the stars in apertures above the sky, and store fluxes and errors with them."""
    if not len(stars):
        stars["aperture_flux"], stars["aperture_error"] = np.zeros((2, 0, len(APERTURES)))
        return
    middle = (side - 1) / 2
    # The brightest stars come first; the others have no say in the scale of a frame.
    x = (np.asarray(stars["x"][:_PHOTOMETRY], float) - middle) / side
    y = (np.asarray(stars["y"][:_PHOTOMETRY], float) - middle) / side
    options = {"err": sigma, "mask": bad, "subpix": 0}
    found = [sep.sum_circle(above, x, y, radius / side, **options) for radius in APERTURES]
    flux, error, flag = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    flux[(flag & (sep.APER_TRUNC | sep.APER_HASMASKED)) != 0] = np.nan
    for name, values in (("aperture_flux", flux), ("aperture_error", error)):
        column = np.full((len(stars), len(APERTURES)), np.nan)
        column[: len(values)] = values
        stars[name] = column


def _find_trails(
    plane: NDArray[np.float32],
    unusable: UnusablePixels,
    side: int,
    fwhm: float,
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Mark the pixels of a frame under trails, which are looked for in its light above the sky."""
    found = np.zeros(shape, bool)
    width = (fwhm if np.isfinite(fwhm) else _UNKNOWN_FWHM) / side
    for trail in find_trails(plane, unusable, None, width):
        for first, last in iter_rows(shape[0], _ROWS):
            y, x = np.mgrid[first:last, : shape[1]] - (side - 1) / 2
            found[first:last] |= trail.distance(x / side, y / side) <= _TRAIL_REACH * width
    return found


def _find_sharp(
    scaled: NDArray[np.float32], bad: NDArray[np.bool_], fwhm: float, cosmic_rays: bool
) -> NDArray[np.bool_]:
    """Mark hot pixels and cosmic rays; none where so many are marked that they are stars.

    The pixels are in units of the noise, above the sky.
    """
    found = _hot_pixels(scaled, bad, fwhm)
    if cosmic_rays:
        found |= _cosmic_rays(scaled, bad)
    return found if found.mean() <= _MOST_EXCLUDED else np.zeros_like(found)


def _hot_pixels(
    scaled: NDArray[np.float32], bad: NDArray[np.bool_], fwhm: float
) -> NDArray[np.bool_]:
    """Find single pixels that are sharper than a star can be."""
    offsets = np.arange(-1, 2)
    profile = np.exp(-0.5 * (offsets * FWHM_PER_SIGMA / fwhm) ** 2)
    psf = np.outer(profile, profile).astype(np.float32)
    return mark_hot_pixels(scaled, psf / psf.sum(), bad)


def _cosmic_rays(scaled: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import astroscrappy

    # The photon noise of the level that they are above is their unit.
    mask, _ = astroscrappy.detect_cosmics(
        scaled,
        inmask=bad,
        invar=np.ones_like(scaled),
        sigclip=_COSMIC_NSIGMA,
        objlim=_COSMIC_CONTRAST,
        satlevel=np.inf,
        cleantype="medmask",
    )
    found: NDArray[np.bool_] = mask & ~bad
    return found
