"""How many stars an output shows beside those that a matched filter finds in its input.

No method finds more stars in white noise, of those that stand alone, than a filter matched to the
true PSF does, at the same share of false detections.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from photutils.detection import find_peaks
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve
from scipy.spatial import KDTree

from benchmarks.truth.scene import SCALES, Scene

__all__ = ["clear_peak", "found_ratio"]

Array = NDArray[np.float64]

_PURITY = 0.95  # share of the detections that are sources, down to which both are searched
_LIMIT = 5.0  # signal-to-noise ratio of the star that the limits below are relative to
_SMOOTH = 2.5  # FWHM; sigma of the copy that is subtracted before sources are looked for
_FAINTEST = 0.2  # of the peak of a star at the limit, down to which an output is searched
_REAL = 0.1  # of that peak, from which a maximum of the truth counts as a source


class _Peaks(NamedTuple):
    """Maxima by falling brightness: of which star (-1 for none), and whether a source is there."""

    values: Array
    stars: NDArray[np.int64]
    real: NDArray[np.bool_]

    def found(self) -> int:
        """Return how many stars are shown by as many maxima as are pure enough."""
        purity = np.cumsum(self.real) / np.arange(1, len(self.real) + 1)
        pure = np.flatnonzero(purity >= _PURITY)
        shown = self.stars[: pure[-1] + 1] if len(pure) else self.stars[:0]
        return len(np.unique(shown[shown >= 0]))


def clear_peak(scene: Scene, task: str, channel: int) -> float:
    """Return the peak in a task's truth, in noise sigma, of a star of 5 sigma of the filter.

    The noise is that of the channel as it is, correlated or not.
    """
    return _limit(scene, channel) * _peak(scene, task, channel)


def found_ratio(scene: Scene, task: str, channel: int, plane: Array, truth: Array) -> float:
    """Return the stars found in an output over those that the matched filter finds.

    Parameters
    ----------
    scene : Scene
        Gives the stars, the observation, its PSF and its noise.
    task : str
        What the output is of.
    channel : int
        Plane of a colour image.
    plane, truth : numpy.ndarray
        Of that channel, the output and the truth less the background, in noise sigma.

    Returns
    -------
    float
        Both are searched down to where 5 of 100 detections are no source. NaN if the matched filter
        finds nothing.
    """
    matched = _matched(scene, channel)
    inputs = (fftconvolve(image, matched, mode="same") for image in _input(scene, channel))
    flux = _limit(scene, channel)
    reference = _peaks(scene, *inputs, flux, scene.fwhm, 1).found()
    limit = flux * _peak(scene, task, channel)
    found = _peaks(scene, plane, truth, limit, scene.target_fwhm(task), SCALES[task]).found()
    return found / reference if reference else float("nan")


def _limit(scene: Scene, channel: int) -> float:
    """Return the flux, in noise sigma, of a star of 5 sigma of the matched filter."""
    seen, clean = _input(scene, channel)
    noise = np.where(scene.excluded, 0.0, seen - clean)
    filtered = fftconvolve(noise, _matched(scene, channel), mode="same")
    return _LIMIT * float(filtered[~scene.excluded].std())


def _peak(scene: Scene, task: str, channel: int) -> float:
    """Return the peak in a task's truth of a star of flux 1."""
    if task == "denoise":
        return float(_psf(scene, channel).max())
    return float(
        SCALES[task] ** 2 / (2 * np.pi * (scene.target_fwhm(task) * gaussian_fwhm_to_sigma) ** 2)
    )


def _psf(scene: Scene, channel: int) -> Array:
    return scene.psf if scene.psf.ndim == 2 else scene.psf[channel]


def _matched(scene: Scene, channel: int) -> Array:
    """Return the filter whose result at a star is its flux."""
    psf = _psf(scene, channel)
    return psf[::-1, ::-1] / (psf**2).sum()


def _input(scene: Scene, channel: int) -> tuple[Array, Array]:
    """Return a channel of the observation and its truth, less the background, in noise sigma."""
    seen, clean = (
        scene.excess(image).reshape(-1, *scene.excluded.shape)[channel]
        for image in (scene.observed, scene.truth_denoise)
    )
    return seen, clean


def _peaks(
    scene: Scene, plane: Array, truth: Array, limit: float, fwhm: float, scale: int
) -> _Peaks:
    """Find maxima, and which are near a star or a maximum of the truth; `limit` is their scale."""
    excluded = np.kron(scene.excluded, np.ones((scale, scale), dtype=bool))
    places, values = _maxima(plane, _FAINTEST * limit, fwhm, excluded)
    sources = _maxima(truth, _REAL * limit, fwhm, np.zeros_like(excluded))[0]
    stars = (np.column_stack([scene.x, scene.y]) + 0.5) * scale - 0.5
    reach = scale * max(1.5, 0.6 * scene.fwhm)
    if not len(places):
        return _Peaks(values, np.empty(0, np.int64), np.empty(0, np.bool_))
    distance, nearest = KDTree(stars).query(places)
    own = np.where(distance <= reach, nearest, -1)
    real = (own >= 0) | (KDTree(np.concatenate([sources, stars])).query(places)[0] <= reach)
    return _Peaks(values, own, real)


def _maxima(
    image: Array, limit: float, fwhm: float, excluded: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Return (x, y) and the height of maxima over a smooth copy, the highest first."""
    detail = image - gaussian_filter(image, _SMOOTH * fwhm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = find_peaks(detail, limit, box_size=3, mask=excluded)
    if found is None:
        return np.empty((0, 2)), np.empty(0)
    order = np.argsort(-np.asarray(found["peak_value"]))
    places = np.column_stack([found["x_peak"], found["y_peak"]]).astype(float)
    return places[order], np.asarray(found["peak_value"], float)[order]
