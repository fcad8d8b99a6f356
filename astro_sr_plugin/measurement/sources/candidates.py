"""Candidates for the PSF: compact, isolated, unsaturated sources in windows of a plane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import KDTree

from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, cut_window
from astro_sr_plugin.measurement.sources.extraction import extract_sources

__all__ = ["CandidateFinder", "Candidates", "cut_stamps", "distortion_beside"]

_LEAST_SPREAD = 1.45
"""Flux over peak of a source below which it is a hot pixel (1); a star of FWHM 1 px has 1.7."""
_ENDLESS = 1e25
"""Values in noise sigma whose moments do not fit into float32; no star is as bright."""
_FINE = 32
"""Box in pixels of the fine sky mesh."""
_THRESHOLD = 3.0
"""Detection threshold in noise sigma of the filtered window."""
_LEAST_SNR, _LEAST_PEAK = 12.0, 4.0
"""Signal-to-noise ratio, and peak in noise sigma, from which the shape of a source is measured."""
_LARGEST_DISTORTION = 0.43
"""Distortion (a - b)/(a + b), beside that of most sources, above which a source is a trail, a
galaxy or a blend: that of an axis ratio of 0.4 where stars are round."""
_ALIKE, _MOST_OF_THEM, _FEWEST_ALIKE = 0.2, 0.7, 2
"""Difference in distortion within which sources are alike; the fraction, and the number, of which
that must hold before they have a distortion in common."""
_BLOB_AREA = 1.133
"""Flux of a Gaussian over its peak and its squared FWHM: pi / (4 ln 2)."""
_FEWEST_WINDOWS = 5
"""Windows that are searched even if the first ones hold stars enough."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Sources of one or more windows.

    Attributes
    ----------
    x, y : numpy.ndarray, shape (n,)
        Position in the plane in pixels.
    snr : numpy.ndarray, shape (n,)
        Isophotal flux over the noise of its area.
    size : numpy.ndarray, shape (n,)
        Rough FWHM in pixels, from the flux over the peak.
    window : numpy.ndarray of int, shape (n,)
        Index of the cut-out in `cutouts`.
    label : numpy.ndarray of int, shape (n,)
        Number of the source in the segmentation of its window.
    origins : list of Window
        Where the cut-outs lie.
    cutouts, segments : list of numpy.ndarray
        Sky-subtracted pixels in units of the noise, with NaN where unusable, and the segmentation
        of each window.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    snr: NDArray[np.float64]
    size: NDArray[np.float64]
    window: NDArray[np.int_]
    label: NDArray[np.int_]
    origins: list[Window]
    cutouts: list[NDArray[np.float32]]
    segments: list[NDArray[np.int32]]

    def __len__(self) -> int:
        return self.x.size

    def select(self, chosen: NDArray[Any] | slice) -> Candidates:
        """Keep the sources that `chosen` (indices, booleans or a slice) names."""
        return Candidates(
            self.x[chosen],
            self.y[chosen],
            self.snr[chosen],
            self.size[chosen],
            self.window[chosen],
            self.label[chosen],
            self.origins,
            self.cutouts,
            self.segments,
        )


class CandidateFinder:
    """Finds sources that may be single, complete, unsaturated stars, window by window.

    Each window is searched once; the result is kept.

    Parameters
    ----------
    data, excluded : numpy.ndarray, shape (ny, nx)
        Plane and unusable pixels, from `check_plane`.
    background : Background
        Sky of the plane.
    sigma : float
        Noise of one pixel, in image units.
    saturation : float or None
        Pixels from this value up are saturated.
    """

    def __init__(
        self,
        data: NDArray[Any],
        excluded: UnusablePixels,
        background: Background,
        sigma: float,
        saturation: float | None,
    ) -> None:
        self.data, self.excluded = data, excluded
        self.background, self.sigma, self.saturation = background, sigma, saturation
        self._found: dict[tuple[Window, bool], Candidates] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the plane."""
        return self.data.shape[0], self.data.shape[1]

    def find(
        self, windows: Iterable[Window], *, fine: bool = False, most: int, enough: float = np.inf
    ) -> Candidates:
        """Find the candidates of windows, in turn.

        Parameters
        ----------
        windows : iterable of Window
            Where to look; at least one.
        fine : bool
            Subtract structure larger than some 32 pixels, and ask more where it is strong: for
            frames filled by a nebula or a galaxy.
        most : int
            The largest number of sources of one window, the brightest first.
        enough : float
            With so many, of five windows or more, the other windows are left out.

        Returns
        -------
        Candidates
            The sources with copies of the windows.
        """
        parts: list[Candidates] = []
        for window in windows:
            if len(parts) >= _FEWEST_WINDOWS and sum(map(len, parts)) >= enough:
                break
            if (window, fine) not in self._found:
                self._found[window, fine] = _find_in(self, window, fine)
            parts.append(self._found[window, fine].select(slice(most)))
        return _join(parts)


def _find_in(plane: CandidateFinder, window: Window, fine: bool) -> Candidates:
    saturation, sigma = plane.saturation, plane.sigma
    raw, bad = cut_window(plane.data, plane.excluded, window)
    saturated = np.zeros_like(bad) if saturation is None else raw >= saturation
    values = raw - plane.background.level_at(*window)
    values[bad] = 0
    # In units of the noise, so that an image of any unit is treated alike.
    values /= np.float32(sigma)
    endless = ~(np.abs(values) < _ENDLESS)
    if endless.any():
        bad, values[endless] = bad | endless, 0
    detected, threshold = values, np.float32(_THRESHOLD)
    if fine:
        local = sep.Background(values, mask=bad, bw=_FINE, bh=_FINE, fw=3, fh=3)
        detected = values - local.back()
        detected[bad] = 0
        threshold = np.maximum(_THRESHOLD * local.rms(), threshold)
    objects, segments = extract_sources(detected, bad, threshold)
    values[bad] = np.nan
    if not objects.size:
        return _empty(window, values, segments)
    peak, flux = objects["peak"], objects["flux"]
    size = np.sqrt(np.maximum(flux / np.maximum(peak, 1e-30), 0) / _BLOB_AREA)
    snr = flux / np.sqrt(np.maximum(objects["npix"], 1))
    good = (
        (snr > _LEAST_SNR)
        & (peak > _LEAST_PEAK)
        & (flux > _LEAST_SPREAD * peak)
        & (objects["flag"] & sep.OBJ_TRUNC == 0)
    )
    ratio = (objects["a"] - objects["b"]) / np.maximum(objects["a"] + objects["b"], 1e-30)
    good &= distortion_beside(ratio * np.exp(2j * objects["theta"]), good) < _LARGEST_DISTORTION
    if saturated.any():
        full = np.unique(segments[saturated])
        good[full[full > 0] - 1] = False
    good &= _isolated(objects, size)
    chosen = np.flatnonzero(good)
    chosen = chosen[np.argsort(-snr[chosen])]
    return Candidates(
        x=objects["x"][chosen] + window.x0,
        y=objects["y"][chosen] + window.y0,
        snr=snr[chosen],
        size=size[chosen],
        window=np.zeros(chosen.size, dtype=int),
        label=chosen + 1,
        origins=[window],
        cutouts=[values],
        segments=[segments],
    )


def _join(parts: list[Candidates]) -> Candidates:
    """Join the candidates of several windows."""
    return Candidates(
        x=np.concatenate([part.x for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        snr=np.concatenate([part.snr for part in parts]),
        size=np.concatenate([part.size for part in parts]),
        window=np.concatenate([np.full(len(part), i) for i, part in enumerate(parts)]),
        label=np.concatenate([part.label for part in parts]),
        origins=[part.origins[0] for part in parts],
        cutouts=[part.cutouts[0] for part in parts],
        segments=[part.segments[0] for part in parts],
    )


def cut_stamps(candidates: Candidates, half: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cut square stamps of side ``2 * half + 1``; unusable pixels and other sources are False."""
    side = 2 * half + 1
    stamps = np.zeros((len(candidates), side, side))
    usable = np.zeros((len(candidates), side, side), dtype=bool)
    for i in range(len(candidates)):
        index = candidates.window[i]
        origin, values = candidates.origins[index], candidates.cutouts[index]
        segments = candidates.segments[index]
        y = round(float(candidates.y[i])) - origin.y0
        x = round(float(candidates.x[i])) - origin.x0
        y0, y1 = max(y - half, 0), min(y + half + 1, values.shape[0])
        x0, x1 = max(x - half, 0), min(x + half + 1, values.shape[1])
        target = np.s_[i, y0 - y + half : y1 - y + half, x0 - x + half : x1 - x + half]
        part, owner = values[y0:y1, x0:x1], segments[y0:y1, x0:x1]
        finite = np.isfinite(part)
        stamps[target] = np.where(finite, part, 0)
        usable[target] = finite & ((owner == 0) | (owner == candidates.label[i]))
    return stamps, usable


def _isolated(objects: NDArray[Any], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether sources have no neighbour whose light disturbs their core (isolation cut)."""
    if objects.size < 2:
        return np.ones(objects.size, dtype=bool)
    positions = np.stack([objects["x"], objects["y"]], axis=1)
    count = min(5, objects.size)
    distances, neighbours = KDTree(positions).query(positions, k=count)
    relative = objects["flux"][neighbours[:, 1:]] / np.maximum(objects["flux"], 1e-30)[:, None]
    # A neighbour disturbs the farther out, the brighter it is; one with a negative sum does not.
    brighter = np.maximum(relative, 0)
    reach = 2.2 * np.clip(size, 1.5, 12) * np.clip(1 + 0.5 * np.log10(brighter + 1e-3), 0.5, 2.5).T
    disturbed = (distances[:, 1:] < reach.T) & (relative > 0.02)
    result: NDArray[np.bool_] = ~disturbed.any(axis=1)
    return result


def distortion_beside(
    distortion: NDArray[np.complex128], typical: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give the distortion of sources beside one that most have in common, if there is one.

    Parameters
    ----------
    distortion : ndarray of complex, shape (n,)
        ``g exp(2i theta)`` of each source, ``g = (a - b)/(a + b)``.
    typical : ndarray of bool, shape (n,)
        Sources that show what is common.

    Returns
    -------
    ndarray, shape (n,)
        Modulus of the difference.
    """
    if typical.sum() >= _FEWEST_ALIKE:
        chosen = distortion[typical]
        common = np.median(chosen.real) + 1j * np.median(chosen.imag)
        if (np.abs(chosen - common) < _ALIKE).mean() > _MOST_OF_THEM:
            return np.abs(distortion - common)
    return np.abs(distortion)


def _empty(window: Window, values: NDArray[np.float32], segments: NDArray[np.int32]) -> Candidates:
    none, numbers = np.empty(0), np.empty(0, dtype=int)
    return Candidates(none, none, none, none, numbers, numbers, [window], [values], [segments])
