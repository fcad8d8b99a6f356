"""Star fields as telescopes record them: verbs on each frame, and what the audit says of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sep
from astropy.nddata import CCDData
from astropy.stats import mad_std
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.measurement.sources.hot_pixels import mark_hot_pixels
from astro_sr_plugin.metrics import aperture_photometry
from benchmarks.truth.scene import planes_of

__all__ = [
    "VERBS",
    "Field",
    "Outcome",
    "brightest",
    "find_frames",
    "open_field",
    "run_verb",
    "starless_promises",
]

VERBS: Mapping[str, Callable[..., Any]] = {
    "denoise": asr.denoise,
    "deconvolve": asr.deconvolve,
    "super-resolve": asr.super_resolve,
    "remove-stars": asr.remove_stars,
}
"""The verbs by their name on the command line."""

_ENDINGS = (".fits", ".fit", ".fits.gz", ".fits.fz", ".fit.fz", ".fits.bz2")
_NOT_SKY = ("calib", "dark", "bias", "flat", "donut")
"""Words in the path of frames that show no sky in focus."""

_WIDEST = 0.7
"""Radius of half of the light in FWHM above which a source is no star: 0.5 of a Gaussian profile,
0.6 of a Moffat profile with wide wings."""
_MOST_LEFT = 0.02
"""Part of the flux of a star that may be left, or missing, beyond the noise."""


@dataclass(frozen=True)
class Field:
    """A frame that shows stars.

    Attributes
    ----------
    name : str
        Path below the folder of the frames.
    image : CCDData
        Its middle.
    measured : Quality
        What `measure` finds on it.
    """

    name: str
    image: CCDData
    measured: asr.Quality


@dataclass
class Outcome:
    """What a verb made of a frame.

    Attributes
    ----------
    name, verb : str
        Frame and verb.
    refused : str
        Why there is no result; empty where there is one.
    said : list of str
        Warnings of the verb.
    failed : list of str
        Promises that the audit finds broken.
    worst : tuple of float or None
        Column and row of a source that fails, in pixels of the input.
    """

    name: str
    verb: str
    refused: str = ""
    said: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    worst: tuple[float, float] | None = None


def find_frames(folder: Path, each: int) -> Iterator[Path]:
    """Yield the first ``each`` FITS files of every folder below one, frames of the sky only.

    Files of the folder ``linear_fits`` are of different telescopes: all of them are taken.
    """
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        names = sorted(p for p in place.iterdir() if p.name.lower().endswith(_ENDINGS))
        sky = [p for p in names if not any(word in str(p).lower() for word in _NOT_SKY)]
        yield from sky if place.name == "linear_fits" else sky[:each]


def open_field(path: Path, name: str, side: int) -> Field:
    """Read the middle of a frame, a mosaic as the superpixels of it, and measure it.

    Raises
    ------
    InputError
        If it cannot be read or measured, or shows no star.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = asr.read_image(path)
            measured = asr.measure(_middle(image, side))
        except asr.InputError:
            image = asr.debayer(asr.read_image(path), method="superpixel")
            measured = asr.measure(_middle(image, side))
    if not all(np.isfinite(measured.fwhm)):
        msg = "no star is found"
        raise asr.InputError(msg)
    return Field(name, _middle(image, side), measured)


def _middle(image: CCDData, side: int) -> CCDData:
    starts = [max(0, (n - side) // 2) for n in image.shape[-2:]]
    cut = tuple(slice(start, start + side) for start in starts)
    found: CCDData = image[cut] if image.ndim == 2 else image[(slice(None), *cut)]
    return found


def run_verb(frame: Field, verb: str, **options: Any) -> tuple[Outcome, CCDData | None]:
    """Run a verb on a frame and check its result, by the audit or by `starless_promises`."""
    outcome = Outcome(frame.name, verb)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = VERBS[verb](frame.image, measured=frame.measured, **options)
        except asr.AstroSRError as error:
            outcome.refused = str(error)
            return outcome, None
    outcome.said = [str(warning.message) for warning in caught]
    if verb == "remove-stars":
        starless, stars = result
        outcome.failed, outcome.worst = starless_promises(frame, starless.data, stars.data)
        return outcome, starless
    try:
        found = asr.audit(frame.image, result, measured=frame.measured)
    except asr.InputError as error:
        outcome.refused = f"audit: {error}"
        return outcome, result
    outcome.failed = list(found.failed)
    worst = sorted(found.sources, key=lambda source: -abs(source.shown))
    outcome.worst = (worst[0].x, worst[0].y) if worst else None
    return outcome, result


def starless_promises(
    frame: Field, starless: NDArray[np.floating], stars: NDArray[np.floating]
) -> tuple[list[str], tuple[float, float] | None]:
    """Check what is left in a starless image where stars of SNR > 50 were.

    Returns
    -------
    failed : list of str
        How many stars leave more than 2 % of their flux, or less than none by as much, beyond
        3 sigma of the noise; empty for none.
    worst : tuple of float or None
        Place (x, y) of the one that leaves most.

    Notes
    -----
    Apertures are 1.5 FWHM in radius, with the sky of a ring of 3 to 5 FWHM; the noise is that of
    apertures at places drawn at random. Stars with a hot pixel in their aperture, which stays as
    recorded, are left out.
    """
    rng = np.random.default_rng(1)
    beyond, places = [np.empty(0)], [np.empty((0, 2))]
    measured = frame.measured
    planes = zip(
        planes_of(starless),
        planes_of(stars),
        measured.fwhm,
        measured.background,
        measured.sigma,
        strict=True,
    )
    for plane, light, fwhm, level, sigma in planes:
        removed = np.nan_to_num(light)
        margin = 6 * fwhm
        high = np.array(plane.shape[::-1]) - margin
        empty = rng.uniform(margin, np.maximum(high, margin + 1), (400, 2))
        noise = mad_std(_light_at(plane, empty, fwhm), ignore_nan=True)
        found = sep.extract(removed, 3 * sigma, minarea=3)
        at = np.stack([found["x"], found["y"]], axis=1)
        at = at[((at > margin) & (at < high)).all(axis=1)]
        recorded = np.nan_to_num(plane) + removed - level
        at = at[~_near_hot_pixels(recorded / sigma, fwhm, at)]
        flux = aperture_photometry(removed, at, radius=1.5 * fwhm, annulus=(0, 0)).flux
        radius = sep.flux_radius(recorded, *at.T, np.full(len(at), 2.5 * fwhm), 0.5)[0]
        bright = (flux > 50 * noise) & (radius < _WIDEST * fwhm)
        left = np.abs(_light_at(plane, at[bright], fwhm))
        beyond.append((left - 3 * noise) / flux[bright])
        places.append(at[bright])
    parts, where = np.nan_to_num(np.concatenate(beyond)), np.concatenate(places)
    missed = int((parts > _MOST_LEFT).sum())
    if not missed:
        return [], None
    x, y = where[int(np.argmax(parts))].tolist()
    most = f"at most {parts.max():.1%} of the flux"
    return [f"stars left: {missed} of {parts.size}, {most}"], (x, y)


def _light_at(
    image: NDArray[np.float64], places: NDArray[np.float64], fwhm: float
) -> NDArray[np.float64]:
    """Return the light at places (x, y) above the sky around them."""
    ring = (3 * fwhm, 5 * fwhm)
    found = aperture_photometry(image, places, radius=1.5 * fwhm, annulus=ring, statistic="mean")
    return found.flux


def _near_hot_pixels(
    recorded: NDArray[np.floating], fwhm: float, places: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Mark the places with a hot pixel in their aperture; the image is in noise sigma."""
    psf = moffat_stamp(MoffatProfile(fwhm, 3.0, 0.0, 0.0), 0.0, 0.0, 8)
    hot = np.argwhere(mark_hot_pixels(recorded, psf))
    away = np.linalg.norm(places[:, None, ::-1] - hot, axis=2)
    return np.asarray((away < 1.5 * fwhm + 1).any(axis=1))


def brightest(image: NDArray[np.floating]) -> tuple[int, int]:
    """Return column and row of the brightest place of a plane, hot pixels left out."""
    from scipy.ndimage import median_filter

    row, column = np.unravel_index(
        int(np.nanargmax(median_filter(np.nan_to_num(image), 3))), image.shape
    )
    return int(column), int(row)
