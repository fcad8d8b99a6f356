"""Figures of hard cases: dark rings, invented sources, and what each case alone can show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.metrics import (
    asinh_psnr_db,
    invented_and_completeness,
    photometric_bias_scatter,
    star_peak_threshold,
)
from benchmarks.figures.ridge import ridge
from benchmarks.truth.hard_cases import CASES
from benchmarks.truth.hard_skies import outside_places
from benchmarks.truth.scene import Scene

__all__ = ["general_figures", "own_figures"]

Array = NDArray[np.float64]

_BRIGHT = 30.0  # least SNR of the stars of the photometry
_SHAPE = 0.03  # share of the light by which a profile is off without a ring to be seen


def general_figures(scene: Scene, task: str, output: NDArray[np.floating]) -> dict[str, float]:
    """Measure a result of one plane against the truth.

    Parameters
    ----------
    scene : Scene
        From `benchmarks.truth.hard_cases.make_case`.
    task : str
        One of `benchmarks.truth.scenes.TASKS`.
    output : numpy.ndarray
        On the grid of the task's truth, background included.

    Returns
    -------
    dict
        ``db``, ``bias``: as in `benchmarks.figures.evaluation`. ``invented``: maxima of 5 sigma
        without one in the truth, brighter than the truth by as much; ``lost``: those of the truth
        of 10 sigma that the result does not show; both in sigma of the place, photon noise
        included. ``pit``: how far the darkest pixel is below all within 1 FWHM of truth and input
        without noise, in sigma of the place with 3 % of the light there; ``ring``: how far the
        darkest ring around the marked places of the case is below both, as a median;
        ``ring_share``: light that is missing in dark rings over that of the star (the largest); all
        three without saturated pixels and their neighbours. ``peak``: largest difference from the
        truth over its brightest pixel, saturated cores aside; NaN if the truth is empty.
    """
    view = _View(scene, task, output)
    excluded = view.excluded
    target = scene.target_fwhm(task)
    found = invented_and_completeness(
        view.excess / view.noise,
        view.true / view.noise,
        threshold=star_peak_threshold(_matched(scene), scene.fwhm, target, scale=view.scale),
        target_fwhm=target,
        mask=excluded,
        border=2 * view.scale,
    )
    bright = scene.isolated(task) & (scene.snr >= _BRIGHT)
    bright &= ~scene.excluded[np.round(scene.y).astype(int), np.round(scene.x).astype(int)]
    places = view.on_output(np.column_stack([scene.x, scene.y])[bright])
    bias, stars = float("nan"), 0
    if len(places):
        score = photometric_bias_scatter(
            view.excess, view.true, places, target_fwhm=target, mask=excluded
        )
        bias, stars = score.bias, score.stars
    rings = [_ring(view, x, y) for x, y in view.marks()]
    difference = np.abs(view.excess - view.true)[~excluded]
    brightest = float(view.true[~excluded].max())
    return {
        "db": asinh_psnr_db(view.excess, view.true, sigma=1.0, mask=excluded),
        "bias": float(bias),
        "stars": float(stars),
        "invented": float(round(found.false * found.detections)),
        "lost": float(round((1 - found.completeness) * found.sources)) if found.sources else 0.0,
        "sources": float(found.sources),
        "pit": float((view.pit / view.allowed).max()),
        "ring": max((ring for ring, _ in rings), default=float("nan")),
        "ring_share": max((share for _, share in rings), default=float("nan")),
        "peak": float(difference.max() / brightest) if brightest > 0 else float("nan"),
    }


def _matched(scene: Scene) -> float:
    """Return the noise behind a matched filter over that of white noise."""
    if not scene.correlated:
        return 1.0
    noise = (scene.observed - scene.truth_denoise) / float(scene.sigma)
    sky = scene.truth_denoise - scene.background < scene.sigma
    width = scene.fwhm * gaussian_fwhm_to_sigma
    seen = ndimage.gaussian_filter(np.where(sky, noise, 0.0), width)
    return float(seen[sky].std() * 2 * np.sqrt(np.pi) * width)


class _View:
    """A result, its truth and the clean input on one grid, in noise sigma above the background."""

    def __init__(self, scene: Scene, task: str, output: NDArray[np.floating]) -> None:
        self.scene, self.task = scene, task
        self.scale = 2 if task == "super-resolve" else 1
        background = scene.background_x2 if self.scale == 2 else scene.background
        sigma = float(scene.sigma)
        self.excess = self._over(output, background, sigma)
        self.true = self._over(scene.truth(task), background, sigma)
        self.clean = self._larger(self._over(scene.truth_denoise, scene.background, sigma))
        self.seen = self._larger(self._over(scene.observed, scene.background, sigma))
        self.excluded = np.kron(scene.excluded, np.ones((self.scale, self.scale), dtype=bool))
        light = np.maximum(self.clean, 0.0)
        photons = float(scene.poisson) / sigma * light
        self.noise = np.sqrt(1.0 + photons)
        self.allowed = np.sqrt(1.0 + photons + (_SHAPE * light) ** 2)
        saturated = scene.excluded & (scene.observed > 0.97 * scene.observed.max())
        near = ndimage.binary_dilation(saturated, np.ones((3, 3)))
        near = np.kron(near, np.ones((self.scale, self.scale), dtype=bool))
        darkest = np.minimum(self.true, self.clean)
        self.depth = np.where(near, 0.0, darkest - self.excess)
        reach = 2 * round(scene.fwhm * self.scale) + 1
        around = ndimage.minimum_filter(darkest, reach, mode="nearest")
        self.pit = np.where(near, 0.0, around - self.excess)

    @staticmethod
    def _over(image: NDArray[np.floating], background: NDArray[np.floating], sigma: float) -> Array:
        return (np.asarray(image, float) - np.asarray(background, float)) / sigma

    def _larger(self, image: Array) -> Array:
        return image.repeat(self.scale, 0).repeat(self.scale, 1)

    def on_output(self, places: Array) -> Array:
        return (np.asarray(places, float) + 0.5) * self.scale - 0.5

    def marks(self) -> Array:
        side = self.scene.observed.shape[0]
        places = np.array(CASES[self.scene.kind].marks).reshape(-1, 2) * side
        return self.on_output(places + (0.3, -0.2) if len(places) > 1 else places)

    def distance(self, x: float, y: float) -> Array:
        """Return the distance of each output pixel from a place, in input pixels."""
        rows, columns = np.indices(self.excess.shape)
        return np.asarray(np.hypot(columns - x, rows - y) / self.scale)


def _ring(view: _View, x: float, y: float) -> tuple[float, float]:
    """Return the median depth of the darkest ring, and the light that such rings lack."""
    fwhm = view.scene.fwhm
    away = view.distance(x, y)
    darkest, missing = -np.inf, 0.0
    for inner in np.arange(fwhm, 10 * fwhm, max(1.0, fwhm / 3)):
        ring = (away >= inner) & (away < inner + max(1.0, fwhm / 3))
        depth = float(np.median(view.depth[ring]))
        darkest = max(darkest, float(np.median((view.depth / view.allowed)[ring])))
        missing += max(depth, 0.0) * np.count_nonzero(ring)
    light = view.true[away < 3 * fwhm].sum()
    return darkest, float(missing / light)


def own_figures(scene: Scene, task: str, output: NDArray[np.floating]) -> dict[str, float]:
    """Return what only this case can show; empty for most."""
    measure = _OWN.get(scene.kind)
    return measure(_View(scene, task, output)) if measure else {}


def _hot(view: _View) -> dict[str, float]:
    """Hot pixels: light shown around each over its own, and its peak over its own."""
    added = _pixels(view.scene)
    kept, peak = [], []
    sigma = float(view.scene.sigma)
    extra = (view.scene.observed - view.scene.truth_denoise) / sigma
    for y, x in added:
        box = np.s_[
            (y - 3) * view.scale : (y + 4) * view.scale, (x - 3) * view.scale : (x + 4) * view.scale
        ]
        more = (view.excess - view.true)[box]
        kept.append(more.sum() / view.scale**2 / extra[y, x])
        peak.append(more.max() / extra[y, x])
    return {"light": float(np.max(kept)), "peak": float(np.max(peak))}


def _pixels(scene: Scene) -> NDArray[np.int64]:
    """Return (row, column) of the single hot pixels, far from each other."""
    extra = (scene.observed - scene.truth_denoise) / float(scene.sigma)
    hot = extra > 15
    alone = ndimage.uniform_filter(hot.astype(float), 9) < 1.5 / 81
    inside = np.zeros_like(hot)
    inside[8:-8, 8:-8] = True
    return np.argwhere(hot & alone & inside)


def _outside(view: _View) -> dict[str, float]:
    """Stars outside the frame: light within 8 pixels that is not there, over the input's."""
    shares = []
    for x, y in view.on_output(outside_places(view.scene.observed.shape[0])):
        near = view.distance(x, y) < 8
        shares.append((view.excess - view.true)[near].sum() / view.clean[near].sum())
    return {"light made up": float(max(shares, key=abs))}


def _trails(view: _View) -> dict[str, float]:
    """Trails: spread of the light along the brighter one, its course, and its light."""
    size = view.scene.observed.shape[0]
    angle = np.radians(23.0)
    middle = np.array([size / 2, 0.62 * size])
    reach = 0.42 * size * np.array([np.cos(angle), np.sin(angle)])
    ends = view.on_output(np.array([middle - reach, middle + reach]))
    half = round(1.5 * view.scene.fwhm * view.scale)
    level, offset = ridge(view.excess, *ends, half)
    true, straight = ridge(view.true, *ends, half)
    # Where stars lie on the trail, their light is not its own.
    own = np.abs(true - np.median(true)) < 0.05 * np.median(true)
    ratio = (level / true)[own]
    return {
        "light": float(np.median(ratio)),
        "least": float(ratio.min()),
        "most": float(ratio.max()),
        "off line (px)": float(np.abs(offset - straight)[own].max() / view.scale),
    }


def _spikes(view: _View) -> dict[str, float]:
    """Spikes: beads along what is left of them, over the spike in the input; and their course."""
    from numpy.polynomial import polynomial

    beads, shift, left = [], [], []
    half = round(view.scene.fwhm * view.scale)
    for x, y in view.marks():
        for angle in _spike_angles(view.scene):
            direction = np.array([np.cos(angle), np.sin(angle)]) * view.scale
            ends = [np.array([x, y]) + r * view.scene.fwhm * direction for r in (4, 11)]
            level, offset = ridge(view.excess, *ends, half)
            true, _ = ridge(view.true, *ends, half)
            clean, straight = ridge(view.clean, *ends, half)
            steps = np.linspace(-1, 1, len(level))
            rest = level - true
            smooth = polynomial.polyval(steps, polynomial.polyfit(steps, rest, 3))
            beads.append(np.std(rest - smooth) / clean.mean())
            left.append(rest.mean() / clean.mean())
            if rest.mean() > 0.3 * clean.mean():
                shift.append(abs(np.median(offset - straight)) / view.scale)
    return {
        "left": float(np.median(left)),
        "beads": float(np.median(beads)),
        "off line (px)": float(np.median(shift)) if shift else 0.0,
    }


def _spike_angles(scene: Scene) -> Array:
    """Return the four directions in which the PSF has most light far out."""
    half = scene.psf.shape[0] // 2
    angles = np.radians(np.arange(0, 90, 1.0))
    radii = np.arange(4 * scene.fwhm, min(8 * scene.fwhm, half - 1))
    light = np.zeros(len(angles))
    for turn in np.pi / 2 * np.arange(4):
        x = half + radii * np.cos(angles[:, None] + turn)
        y = half + radii * np.sin(angles[:, None] + turn)
        light += ndimage.map_coordinates(scene.psf, [y, x], order=1).sum(axis=1)
    return np.asarray(angles[light.argmax()] + np.pi / 2 * np.arange(4))


def _lane(view: _View) -> dict[str, float]:
    """Dust lane: how much darker than its banks it is, over the truth."""
    size = view.scene.observed.shape[0]

    def contrast(image: Array) -> float:
        values = []
        for across in (-3.0, 2.0, 6.0):
            ends = [
                (size - 1) / 2
                + np.array([0.94 * along - 0.34 * across, 0.34 * along + 0.94 * across])
                for along in (12.0, 45.0)
            ]
            level, _ = ridge(image, *(view.on_output(e) for e in ends), 0)
            values.append(np.median(level))
        return float(1 - values[1] / (0.5 * (values[0] + values[2])))

    return {"contrast": contrast(view.excess) / contrast(view.true)}


def _cores(view: _View) -> dict[str, float]:
    """Cores: light within 3 FWHM over the truth, the two furthest from 1, unsaturated ones."""
    ratios = []
    for x, y in view.marks()[:3] - (0.3, -0.2):
        near = view.distance(x, y) < 3 * view.scene.fwhm
        ratios.append(view.excess[near].sum() / view.true[near].sum())
    return {"least light": float(min(ratios)), "most light": float(max(ratios))}


def _noise(view: _View) -> dict[str, float]:
    """Noise of the sky: of what is left over what the input had."""
    sky = (view.clean < 0.5) & (view.true < 0.5)
    before = (view.seen - view.clean)[sky].std()
    return {"noise left": float((view.excess - view.true)[sky].std() / before)}


def _glow(view: _View) -> dict[str, float]:
    """Glow and gradients: the smooth level against the truth (sigma), the worst of a grid."""
    wide = 24 * view.scale
    difference = np.clip(view.excess - view.true, -3, 3)
    smooth = ndimage.uniform_filter(difference, wide)[:: wide // 2, :: wide // 2]
    return {"level off (sigma)": float(np.abs(smooth).max()), **_noise(view)}


def _tail(view: _View) -> dict[str, float]:
    """Tail: its light over the truth, in three parts, the one furthest from 1."""
    size = view.scene.observed.shape[0]
    head = np.array([size / 2 - 70.5, size / 2 - 50.5])
    ratios = []
    for near, far in ((15, 45), (45, 80), (80, 115)):
        ends = [view.on_output(head + r * np.array([0.8, 0.6])) for r in (near, far)]
        half = 8 * view.scale
        ratios.append(
            ridge(view.excess, *ends, half)[0].mean() / ridge(view.true, *ends, half)[0].mean()
        )
    return {"tail light": max(ratios, key=lambda r: abs(r - 1))}


_OWN: dict[str, Callable[[_View], dict[str, float]]] = {
    "hot-pixels": _hot,
    "outside": _outside,
    "trails": _trails,
    "spikes": _spikes,
    "dust-lane": _lane,
    "galaxy-cores": _cores,
    "walking-noise": _noise,
    "drizzled": _noise,
    "amp-glow": _glow,
    "gradient": _glow,
    "comet": _tail,
    "low-snr": _noise,
    "empty": _noise,
    "nearly-empty": _noise,
}
