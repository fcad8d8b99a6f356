"""Stars to register by: found with a matched filter, their places by windowed centroids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sep
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, Unpacked, unpack
from astro_sr_plugin.data.signatures import shared_parameters
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.gain import read_gain
from astro_sr_plugin.measurement.sky.pixels import PlanePixels, open_plane
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.windows import Window, cut_window
from astro_sr_plugin.measurement.sources.candidates import distortion_beside
from astro_sr_plugin.measurement.sources.extraction import extract_sources
from astro_sr_plugin.registration.detection_plane import (
    DetectionPlane,
    green_light,
    level_colours,
    make_detection_plane,
)
from astro_sr_plugin.registration.star_table import BLENDED, SATURATED, SHARP

__all__ = ["detect_stars", "list_stars"]

_FIRST_FWHM = (3.0, 6.0)
"""FWHM in pixels of the first matched filter, and of a second one where that finds few stars."""
_FEW = 10
"""Stars with which a first filter is content."""
_OTHER_WIDTH = 1.5
"""Ratio of the FWHM of stars and filter from which they are looked for anew."""
_BETA = 3.5
"""Moffat exponent of the filters; a typical one, to which detection is not sensitive."""
_MESH_FWHM, _MESHES = 12, (32, 128)
"""Box of the sky that follows nebulae, in FWHM; its least and largest side in pixels."""
_MANY_PIXELS = 1_000_000
"""Pixels beyond which a quarter of them gives that sky."""
_LEAST_NEIGHBOURS = 0.12
"""Mean of the four neighbours of a peak over it, below which it is a hot pixel (0); a star of FWHM
1.2 px has 0.2."""
_LARGEST_DROP = 0.93
"""Difference of neighbouring pixels of a source over its peak from which it is sharper than stars:
Gaussian ones of FWHM 1.4 px have 0.90 at most, blocks of hot pixels 1."""
_DROP_PEAK = 20.0
"""Peak in standard deviations of the noise from which that is looked at: it is known to 7 %."""
_LEAST_SPREAD = 1.5
"""Flux over peak of a source below which it is a hot pixel (1); a star of FWHM 1 px has 1.7."""
_BLOB_AREA = 1.133
"""Flux of a Gaussian over its peak and its squared FWHM: pi / (4 ln 2)."""
_NOISE_AREA = 2.266
"""Pixels, in squared FWHM, whose noise a star competes with at best: 4 pi sigma squared."""
_SIZES = (0.4, 2.5)
"""FWHM of stars over the typical one; beyond are hot pixels and galaxies."""
_BRIGHT = 20.0
"""Signal-to-noise ratio of stars that give the typical FWHM."""
_LARGEST_DISTORTION = 0.5
"""Distortion (a - b)/(a + b), beside what stars have in common, of a trail: axis ratio 1/3."""
_SATURATED_PIXELS = 3
"""Saturated pixels of the nine about the peak from which a star is saturated; fewer may be hot
pixels."""
_CROSS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_BLOCK = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
"""Offsets (dy, dx) of the four neighbours of a pixel, and of the nine about it."""
_LEAST_SAMPLED = 2.0
"""FWHM in super-pixels of a mosaic below which stars are looked for in its pixels."""
_WIDEST = 20.0
"""FWHM in pixels of the widest filter."""
_ASTRAY = 1.0
"""Distance in FWHM by which a windowed centroid may leave the isophotal one."""


@shared_parameters
def detect_stars(
    image: Image,
    *,
    nsigma: float = 5.0,
    max_stars: int = 2000,
    mask: MaskLike | None = None,
    measured: Quality | None = None,
    hdu: HDUChoice = None,
) -> Table:
    """List the stars of an image by which it can be registered.

    Parameters
    ----------
    image : CCDData, NDData, ndarray, str or Path, shape (ny, nx) or (n, ny, nx)
        Image in linear units. The planes of a colour image are averaged, raw frames of Bayer and
        X-Trans cameras are searched in super-pixels. Not changed.
    nsigma : float
        Detection threshold in standard deviations of the filtered noise, above 0.
    max_stars : int
        Largest number of stars, the brightest first.
    measured : Quality, optional
        What `measure` found on this image, to be used again: the sky and the usable pixels of a
        single plane. Stars of a colour image are found on the mean of its planes.

    Returns
    -------
    astropy.table.Table
        Brightest first: ``x y`` (pixels, 0-based, windowed centroids), ``flux peak`` (image units
        above the sky), ``snr``, ``fwhm`` (pixels), ``ellipticity``, and ``flags``: the sum of 1
        (blended), 2 (saturated) and 4 (an edge sharper than those of stars). ``meta`` holds the
        ``shape`` of the image, and the ``background``, its ``noise`` per pixel, the typical
        ``fwhm`` and the value of ``saturation`` (infinite without saturated stars); noise and
        saturation are those of a super-pixel in a mosaic.

    Raises
    ------
    InputError
        If the image is unusable, a number out of its range, or `measured` belongs to another image.

    Notes
    -----
    Sources are found and measured by sep, the code of SExtractor, not by photutils, for the time:
    image segmentation and ``SourceCatalog.centroid_win`` of photutils give the same stars, and
    places within 0.003 pixels of these, in 4 times the time (450 stars in 3 million pixels) to 10
    times (2500 stars). Windowed centroids (Bertin & Arnouts 1996, A&AS 117, 393) come within some
    40 % of the limit that photons set. Hot pixels, trails and galaxies are left out.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:64, :64]
    >>> sky = np.random.default_rng(1).normal(100, 5, (64, 64))
    >>> sky += 500 * np.exp(-((x - 40.3) ** 2 + (y - 20.8) ** 2) / 4.5)
    >>> stars = asr.detect_stars(sky)
    >>> print(f"{stars['x'][0]:.1f} {stars['y'][0]:.1f}")
    40.3 20.8
    """
    for name, value in (("nsigma", nsigma), ("max_stars", max_stars)):
        if not value > 0:
            msg = f"{name} is {value}, but it must be above 0"
            raise InputError(msg)
    parts = unpack(image, mask=mask if measured is None else None, hdu=hdu)
    planes = () if measured is None else measured.planes_of(parts, mask)
    return list_stars(parts, nsigma=nsigma, max_stars=max_stars, measured=planes)


@np.errstate(over="ignore", invalid="ignore")
def list_stars(
    parts: Unpacked,
    *,
    nsigma: float = 5.0,
    max_stars: int = 2000,
    plane: DetectionPlane | None = None,
    pixels: PlanePixels | None = None,
    background: Background | None = None,
    above: NDArray[np.float32] | None = None,
    measured: Sequence[MeasuredPlane] = (),
) -> Table:
    """Do the work of `detect_stars` on the parts of an image.

    A caller that has the plane on which stars are found, or has opened it, measured its sky or
    subtracted that (with 0 where there is no data), or has measured the planes of the image, hands
    them on.
    """
    if plane is None:
        plane = make_detection_plane(parts)
    if len(measured) == 1 and plane.data.shape == measured[0].shape:
        pixels, background = measured[0].pixels, measured[0].background
    elif pixels is None:
        pixels = open_plane(plane.data, plane.mask)
    if pixels.unusable.all():
        return _as_table(_nothing(), parts, plane.side, np.nan, np.nan, np.nan, np.inf)
    if background is None or (pixels.unit != 1 and not measured):
        background, above = measure_background(pixels.data, mask=pixels.unusable), None
    gain = read_gain(parts.meta)
    field = _Field(pixels, background, nsigma, gain, above)
    found, side = _find(field), plane.side
    level = background.level * pixels.unit
    if plane.filters is not None:
        if field.sharp > len(found["x"]) or not field.fwhm > _LEAST_SAMPLED:
            # Small stars merge in super-pixels, and look like hot pixels there.
            fine = open_plane(level_colours(parts, plane.filters))
            own = _Field(fine, measure_background(fine.data, mask=fine.unusable), nsigma, gain)
            others = _find(own)
            if len(others["x"]) > len(found["x"]):
                field, found, side, pixels = own, others, 1, fine
        found |= _recentred(found, green_light(parts, plane.filters), side, field.fwhm)
    order = np.argsort(-found["flux"], kind="stable")[:max_stars]
    chosen = {name: values[order] for name, values in found.items()}
    for name in ("flux", "peak"):
        chosen[name] = chosen[name] * pixels.unit
    return _as_table(
        chosen,
        parts,
        side,
        level,
        field.sigma * pixels.unit,
        field.fwhm,
        field.saturation * pixels.unit,
    )


class _Field:
    """A plane in units of its noise, without the sky.

    Attributes
    ----------
    fwhm : float
        Of its stars in pixels, as soon as they are found.
    sharp : int
        Number of sources that are too sharp for stars.
    """

    def __init__(
        self,
        pixels: PlanePixels,
        background: Background,
        nsigma: float,
        gain: float | None,
        above: NDArray[np.float32] | None = None,
    ) -> None:
        self.background = background
        ny, nx = pixels.data.shape
        raw, self.bad = cut_window(pixels.data, pixels.unusable, Window(0, ny, 0, nx))
        sigma = float(self.background.rms)
        self.sigma = sigma if sigma > 0 else max(1e-6 * abs(self.background.level), 1e-30)
        saturation = find_saturation(
            pixels.data, mask=pixels.unusable, level=self.background.level, rms=self.sigma
        )
        self.saturation = np.inf if saturation is None else saturation
        self.saturated = raw >= self.saturation
        if above is None:
            raw -= self.background.full()
        else:
            raw[:] = above
        raw /= np.float32(self.sigma)
        raw[self.bad] = 0
        self._raw, self.nsigma = raw, nsigma
        self.values = raw
        # Electrons per unit of `values`.
        self.electrons = None if gain is None else gain * self.sigma * pixels.unit
        self.fwhm = np.nan
        self.sharp = 0

    def extract(self, fwhm: float) -> NDArray[Any]:
        """Find sources with the filter of stars of a FWHM in pixels."""
        # Of many pixels, a quarter shows the sky, and where structure is left more is asked.
        step = 2 if self._raw.size > _MANY_PIXELS else 1
        mesh = int(np.clip(_MESH_FWHM * fwhm, *_MESHES)) // step
        part = np.s_[::step, ::step]
        seen, bad = self._raw[part].copy(), self.bad[part].copy()
        sky = _mesh(seen, bad, mesh).back()
        self.values = self._raw - _repeated(sky, step, self._raw.shape)
        self.values[self.bad] = 0
        seen -= sky
        seen[bad] = 0
        rms = _mesh(seen, bad, mesh).rms()
        kernel = _filter_of(fwhm)
        asked = np.maximum(rms, np.float32(1))
        asked *= np.float32(self.nsigma * np.sqrt((kernel**2).sum()))
        threshold = _repeated(asked, step, self._raw.shape)
        return extract_sources(self.values, self.bad, threshold, kernel=kernel, minimum_area=3)[0]


def _filter_of(fwhm: float) -> NDArray[np.float32]:
    """Return the profile of a star out to its FWHM: 99 % of the light, in half of the pixels."""
    kernel = StarProfile(fwhm, _BETA).kernel()
    middle, reach = len(kernel) // 2, min(len(kernel) // 2, int(np.ceil(fwhm)))
    part = slice(middle - reach, middle + reach + 1)
    return np.ascontiguousarray(kernel[part, part] / kernel[part, part].sum())


def _repeated(
    values: NDArray[np.float32], step: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Repeat pixels in both directions, to a shape."""
    if step == 1:
        return values
    repeated: NDArray[np.float32] = values.repeat(step, axis=0).repeat(step, axis=1)
    return repeated[: shape[0], : shape[1]]


def _mesh(values: NDArray[np.float32], bad: NDArray[np.bool_], side: int) -> sep.Background:
    return sep.Background(values, mask=bad, bw=side, bh=side, fw=3, fh=3)


def _find(field: _Field) -> dict[str, NDArray[Any]]:
    """Find stars with a filter of about their width."""
    best: dict[str, NDArray[Any]] = _nothing()
    fwhm, best_fwhm = np.nan, np.nan
    for width in _FIRST_FWHM:
        found, fwhm = _measure(field, width)
        if len(found["x"]) >= max(1, len(best["x"])):
            best, best_fwhm = found, fwhm
        if len(best["x"]) >= _FEW:
            break
    if np.isfinite(best_fwhm) and best_fwhm > _OTHER_WIDTH * _FIRST_FWHM[0]:
        found, fwhm = _measure(field, min(best_fwhm, _WIDEST))
        if len(found["x"]) >= len(best["x"]) // 2:
            best, best_fwhm = found, fwhm
    field.fwhm = best_fwhm
    return best


def _measure(field: _Field, width: float) -> tuple[dict[str, NDArray[Any]], float]:
    """Find sources with one filter, and keep those that are stars."""
    objects = field.extract(width)
    objects = objects[objects["flag"] & sep.OBJ_TRUNC == 0]
    if not objects.size:
        return _nothing(), np.nan
    full = _around(field.saturated, objects, _BLOCK) >= _SATURATED_PIXELS
    peak = objects["peak"].astype(np.float64)
    flux = _aperture(field, objects["x"], objects["y"], 1.5 * width)
    sharp = ~full & ((flux <= _LEAST_SPREAD * peak) | _is_sharp(field.values, objects))
    field.sharp = max(field.sharp, int(sharp.sum()))
    good = (flux > 0) & ~sharp
    size = np.sqrt(np.maximum(flux, 0) / np.maximum(peak, 1e-30) / _BLOB_AREA)
    ratio = (objects["a"] - objects["b"]) / np.maximum(objects["a"] + objects["b"], 1e-30)
    bent = distortion_beside(ratio * np.exp(2j * objects["theta"]), good)
    good &= (bent < _LARGEST_DISTORTION) | full
    if not good.any():
        return _nothing(), np.nan
    snr = flux / np.sqrt(_NOISE_AREA * size**2 + 1e-30)
    bright = good & ~full & (snr > min(_BRIGHT, float(np.median(snr[good]))))
    fwhm = float(np.median(size[bright] if bright.any() else size[good]))
    good &= ((size > _SIZES[0] * fwhm) & (size < _SIZES[1] * fwhm)) | full
    objects, full, size = objects[good], full[good], size[good]
    if not objects.size:
        return _nothing(), np.nan
    x, y = _centroids(field.values, field.bad, objects["x"], objects["y"], fwhm)
    flux = _aperture(field, x, y, 1.5 * fwhm)
    variance = np.full(flux.size, _NOISE_AREA * fwhm**2)
    if field.electrons is not None:
        variance += np.maximum(flux, 0) / field.electrons
    found = {
        "x": x,
        "y": y,
        "flux": flux * field.sigma,
        "peak": objects["peak"] * field.sigma,
        "snr": flux / np.sqrt(variance),
        "fwhm": size,
        "ellipticity": 1 - objects["b"] / np.maximum(objects["a"], 1e-30),
        "flags": (objects["flag"] & sep.OBJ_MERGED > 0) * BLENDED
        + full * SATURATED
        + _has_edge(field.values, objects) * SHARP,
    }
    kept = (flux > 0) & (found["snr"] > 0)
    return {name: values[kept] for name, values in found.items()}, fwhm


def _is_sharp(values: NDArray[np.float32], objects: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether single pixels stand out of their neighbours as no star does."""
    peak = values[objects["ypeak"], objects["xpeak"]]
    sharp: NDArray[np.bool_] = _around(values, objects, _CROSS) < 4 * _LEAST_NEIGHBOURS * peak
    return sharp


def _has_edge(values: NDArray[np.float32], objects: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether light falls outwards from the peak, from a pixel to the next, as no star's does."""
    padded = np.pad(values, 2, mode="edge")
    row, column = objects["ypeak"] + 2, objects["xpeak"] + 2
    peak = padded[row, column]
    lines = [[padded[row + k * dy, column + k * dx] for k in range(3)] for dy, dx in _CROSS]
    drop = np.max([-np.diff(line, axis=0) for line in lines], axis=(0, 1))
    edge: NDArray[np.bool_] = (drop > _LARGEST_DROP * peak) & (peak > _DROP_PEAK)
    return edge


def _around(
    values: NDArray[Any], objects: NDArray[Any], places: tuple[tuple[int, int], ...]
) -> NDArray[Any]:
    """Sum of the pixels at these places (dy, dx) about the peaks."""
    padded = np.pad(values, 1, mode="edge")
    row, column = objects["ypeak"] + 1, objects["xpeak"] + 1
    return np.asarray(sum(padded[row + dy, column + dx].astype(float) for dy, dx in places))


def _centroids(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    fwhm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Windowed centroids; the places given where those go astray."""
    width = fwhm / FWHM_PER_SIGMA
    wx, wy, _ = sep.winpos(values, x, y, np.full(len(x), width), mask=bad)
    astray = ~(np.hypot(wx - x, wy - y) < _ASTRAY * fwhm)
    return np.where(astray, x, wx), np.where(astray, y, wy)


def _recentred(
    found: dict[str, NDArray[Any]], green: NDArray[np.float32], side: int, fwhm: float
) -> dict[str, NDArray[Any]]:
    """Places of the stars in green light alone, and the signal-to-noise ratio there.

    Parameters
    ----------
    found : dict of str to ndarray
        The stars.
    green : ndarray, shape (ny, nx)
        Green light in each pixel of the mosaic.
    side : int
        Pixels of the mosaic along a side of those in which the stars were found.
    fwhm : float
        FWHM of the stars in the latter.
    """
    bad = ~np.isfinite(green)
    if bad.all() or not len(found["x"]):
        return {}
    background = measure_background(green, mask=bad)
    sigma = float(background.rms)
    if not sigma > 0:
        return {}
    values = (green - background.full()) / np.float32(sigma)
    values[bad] = 0
    middle = (side - 1) / 2
    width = fwhm * side
    first = side * found["x"] + middle, side * found["y"] + middle
    x, y = _centroids(values, bad, *first, width)
    flux, _, _ = sep.sum_circle(values, x, y, 1.5 * width, mask=bad, subpix=5)
    # Light of half of the pixels, interpolated between them: its noise is larger on large areas.
    snr = np.maximum(flux, 0) / np.sqrt(2 * _NOISE_AREA * width**2)
    # A star that shows no green light stays where all light put it.
    seen = snr > 3
    return {
        "x": np.where(seen, (x - middle) / side, found["x"]),
        "y": np.where(seen, (y - middle) / side, found["y"]),
        "snr": np.where(seen, np.minimum(snr, found["snr"]), 1.0),
    }


def _aperture(
    field: _Field, x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    flux, _, _ = sep.sum_circle(field.values, x, y, radius, mask=field.bad, subpix=5)
    return np.asarray(flux, dtype=np.float64)


_COLUMNS = ("x", "y", "flux", "peak", "snr", "fwhm", "ellipticity", "flags")


def _nothing() -> dict[str, NDArray[Any]]:
    return {name: np.empty(0, int if name == "flags" else float) for name in _COLUMNS}


def _as_table(
    found: dict[str, NDArray[Any]],
    parts: Unpacked,
    side: int,
    background: float,
    noise: float,
    fwhm: float,
    saturation: float,
) -> Table:
    """Make the table, in pixels of the image itself."""
    ny, nx = parts.data.shape[-2:]
    meta = {
        "shape": (ny, nx),
        "background": background,
        "noise": noise,
        "fwhm": fwhm * side,
        "saturation": saturation,
    }
    table = Table({name: found[name] for name in _COLUMNS}, meta=meta)
    for axis in ("x", "y"):
        table[axis] = side * table[axis] + (side - 1) / 2
    table["fwhm"] = side * table["fwhm"]
    for name in ("x", "y", "fwhm"):
        table[name].unit = u.pix
    return table
