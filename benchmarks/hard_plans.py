"""The hard cases: what is on the sky, through which optics, and what spoils the image.

Each case is a plan for `benchmarks.scenes.observe_plan`, and a function that does to the finished
scene what no plan can: hot pixels, glow, quantisation. The truth is that of a perfect method: the
sky and all that crosses it, at the target profile, without the faults of the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import structure
from benchmarks.exposure import FINE, Camera
from benchmarks.kinds import Plan
from benchmarks.rendering import Content, Galaxy, moffat, spider
from benchmarks.scenes import Scene, observe_plan

__all__ = ["CASES", "Case", "make_case", "outside_places"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_CAMERA, _SKY = Camera(1.2, 5.0), 450.0
_UNIT = _CAMERA.sigma(_SKY)
_FULL = replace(_CAMERA, full_well=_SKY + 1000.0 * _UNIT)
_BRIGHT = ((0.27, 0.31), (0.70, 0.24), (0.36, 0.74), (0.76, 0.69))
"""Places of bright stars in parts of the frame's side."""


def _unspoilt(scene: Scene, rng: Rng) -> Scene:
    return scene


@dataclass(frozen=True)
class Case:
    """A hard case.

    Attributes
    ----------
    fwhm : float
        FWHM of the optics (pixels), to which the truth's target profile belongs.
    plan : callable
        (size, rng) -> Plan.
    spoil : callable
        (scene, rng) -> Scene, what happens to the finished scene.
    options : mapping
        Options of the verbs that sharpen.
    marks : tuple
        Places of interest (x, y) in parts of the frame's side: bright stars or cores.
    in_range : bool
        Whether the case is one that the verbs are made for. Others must be refused, or told of; the
        profile of the result is then the verb's own choice.
    """

    fwhm: float
    plan: Callable[[int, Rng], Plan]
    spoil: Callable[[Scene, Rng], Scene] = _unspoilt
    options: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[tuple[float, float], ...] = ()
    in_range: bool = True


def make_case(name: str, *, size: int = 256, seed: int = 1) -> Scene:
    """Simulate a hard case.

    Parameters
    ----------
    name : str
        A key of `CASES`.
    size : int
        Side of the frame (pixels).
    seed : int
        The same name, size and seed give the same scene.

    Returns
    -------
    Scene
        The observation and its truths.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in CASES:
        msg = f"case {name!r} is not one of {', '.join(CASES)}"
        raise ValueError(msg)
    case = CASES[name]
    rng = np.random.default_rng([crc32(name.encode()), seed])
    scene = observe_plan(case.plan(size, rng), case.fwhm, name, seed, size, rng)
    return case.spoil(scene, rng)


# What is on the sky -------------------------------------------------------------------------------


def _flux(snr: Any, fwhm: float, unit: float = _UNIT) -> Array:
    return np.asarray(snr) * unit * np.sqrt(4 * np.pi) * fwhm / 2.355


def _field(
    size: int,
    rng: Rng,
    fwhm: float,
    *,
    snr: tuple[float, float] = (5.0, 1500.0),
    count: int = 100,
    unit: float = _UNIT,
) -> Content:
    """Return stars, `count` on 256 x 256 pixels, of SNR distributed as SNR**-1.7."""
    number = max(12, round(count * (size / 256) ** 2))
    x, y = rng.uniform(4.0, size - 5.0, size=(2, number))
    low, high = snr[0] ** -0.7, snr[1] ** -0.7
    level = (low + rng.uniform(size=number) * (high - low)) ** (-1 / 0.7)
    return Content(x, y, _flux(level, fwhm, unit))


def _with_stars(content: Content, size: int, snr: Any, fwhm: float, unit: float = _UNIT) -> Content:
    """Add bright stars at the marked places, and take away the field around them."""
    places = np.array(_BRIGHT) * size
    far = np.hypot(content.x[:, None] - places[:, 0], content.y[:, None] - places[:, 1])
    keep = far.min(axis=1) > 5 * fwhm
    around = replace(content, x=content.x[keep], y=content.y[keep], flux=content.flux[keep])
    return _added(around, places + (0.3, -0.2), _flux(snr, fwhm, unit))


def _added(content: Content, places: Array, flux: Array) -> Content:
    """Add stars at places (x, y) of shape (n, 2)."""
    return replace(
        content,
        x=np.concatenate([content.x, places[:, 0]]),
        y=np.concatenate([content.y, places[:, 1]]),
        flux=np.concatenate([content.flux, flux]),
    )


def _plain(fwhm: float, psf: Callable[[], galsim.GSObject], **stars: Any) -> Callable[..., Plan]:
    """Return the plan of a plain star field through these optics."""

    def plan(size: int, rng: Rng) -> Plan:
        return Plan([_field(size, rng, fwhm, **stars)], [psf()], _CAMERA, (_SKY,))

    return plan


def _bright(fwhm: float, psf: Callable[[], galsim.GSObject], snr: Any) -> Callable[..., Plan]:
    """Return the plan of a star field with saturated stars."""

    def plan(size: int, rng: Rng) -> Plan:
        content = _with_stars(_field(size, rng, fwhm), size, snr, fwhm)
        return Plan([content], [psf()], _FULL, (_SKY,))

    return plan


def _halo() -> galsim.GSObject:
    """Return a PSF with the disc that light makes between sensor and filter."""
    disc = galsim.Convolve([galsim.TopHat(26.0), galsim.Gaussian(fwhm=2.0)])
    return galsim.Sum([0.97 * moffat(3.0, 3.2), 0.03 * disc])


def _ring(outer: float, inner: float, seeing: float) -> galsim.GSObject:
    """Return the PSF of a defocused telescope with a central obscuration (radii in pixels)."""
    share = (inner / outer) ** 2
    pupil = galsim.Sum(
        [
            galsim.TopHat(outer, flux=1 / (1 - share)),
            galsim.TopHat(inner, flux=-share / (1 - share)),
        ]
    )
    return galsim.Convolve([pupil, galsim.Moffat(beta=3.5, fwhm=seeing)])


def _textured(
    surface: Callable[[Array, Array, Rng], Array], fwhm: float = 3.2, count: int = 60, **stars: Any
) -> Callable[..., Plan]:
    """Return the plan of stars before a surface brightness, in noise sigma, of (x, y)."""

    def plan(size: int, rng: Rng) -> Plan:
        # On half pixels, and beyond the frame, where it has to end in nothing.
        side = 2 * (size + 80)
        y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / 2
        content = _field(size, rng, fwhm, count=count, **stars)
        texture = surface(x, y, rng) * _UNIT
        return Plan([replace(content, texture=texture)], [moffat(fwhm, 3.2)], _CAMERA, (_SKY,))

    return plan


def _lane(x: Array, y: Array, rng: Rng) -> Array:
    """Return a galaxy seen edge-on, with a narrow lane of dust."""
    along, across = 0.94 * x + 0.34 * y, -0.34 * x + 0.94 * y
    disc = 60.0 * np.exp(-np.abs(along) / 30.0) / np.cosh(across / 7.0) ** 2
    bulge = 250.0 * np.exp(-np.hypot(along * 0.7, across) / 5.0)
    dust = 0.85 * np.exp(-0.5 * ((across - 2.0) / 1.3) ** 2) * (np.abs(along) < 60)
    return (disc + bulge) * (1 - dust)


def _planetary(x: Array, y: Array, rng: Rng) -> Array:
    """Return a planetary nebula: a bright thin shell, a faint outer one, and knots."""
    radius = np.hypot(x, 1.25 * y)
    angle = np.arctan2(y, x)
    shell = 220.0 * np.exp(-0.5 * ((radius - 22.0) / 1.8) ** 2) * (1 + 0.4 * np.cos(2 * angle))
    inside = 50.0 / (1 + np.exp((radius - 22.0) / 0.8))
    outer = 6.0 / (1 + np.exp((radius - 52.0) / 1.5))
    knots = np.clip(structure.power_law_field(len(x), 2.6, rng), -1.5, 2.5)
    star = 900.0 * np.exp(-0.5 * (x**2 + y**2) / 0.7**2)
    return (shell + inside) * np.exp(0.2 * knots) + outer + star


def _comet(x: Array, y: Array, rng: Rng) -> Array:
    """Return a comet: a nucleus, its coma, and a tail with streamers."""
    x, y = x + 70.0, y + 50.0
    radius = np.hypot(x, y)
    coma = 400.0 / (radius + 1.5) * np.exp(-((radius / 40.0) ** 2))
    along, across = (0.8 * x + 0.6 * y), (-0.6 * x + 0.8 * y)
    width = 2.0 + 0.1 * np.clip(along, 0, None)
    tail = np.zeros_like(x)
    for offset, level in ((-0.8, 12.0), (0.0, 25.0), (1.1, 9.0)):
        tail += level * np.exp(-0.5 * ((across - offset * width) / (0.4 * width)) ** 2)
    edge = 1 / (1 + np.exp((np.hypot(x - 70, y - 50) - 135.0) / 6.0))
    return (coma + tail * np.exp(-np.clip(along, 0, None) / 120.0) * (along > 0)) * edge


def _gas(x: Array, y: Array, rng: Rng) -> Array:
    edge = 1 / (1 + np.exp((np.hypot(x, y) - 140.0) / 8.0))
    return 10.0 * structure.nebula(len(x), rng) * edge


def _cores(size: int, rng: Rng) -> Plan:
    """Return galaxies with sharp cores, one of them saturated, and a nucleus in each."""
    fwhm = 3.0
    content = _field(size, rng, fwhm, count=50)
    galaxies = []
    marks = np.array(_BRIGHT) * size
    stars = []
    for (x, y), n, half, snr in zip(
        marks, (4.0, 3.0, 1.0, 4.0), (5.0, 4.0, 6.0, 7.0), (3000, 2000, 1500, 20000), strict=True
    ):
        profile = galsim.Sersic(n=n, half_light_radius=half, trunc=8 * half)
        turned = profile.shear(q=0.7, beta=rng.uniform(0, 180) * galsim.degrees)
        galaxies.append(Galaxy(turned.withFlux(float(_flux(snr, fwhm))), x, y, 8.0 * half))
        stars.append((x, y, float(_flux(0.03 * snr, fwhm))))
    extra = np.array(stars).T
    far = np.hypot(content.x[:, None] - marks[:, 0], content.y[:, None] - marks[:, 1]).min(axis=1)
    keep = far > 15
    content = Content(
        *(
            np.concatenate([old[keep], new])
            for old, new in zip((content.x, content.y, content.flux), extra, strict=True)
        ),
        galaxies,
    )
    return Plan([content], [moffat(fwhm, 3.2)], _FULL, (_SKY,))


def _trails(size: int, rng: Rng) -> Plan:
    """Return a star field that two satellites have crossed."""
    fwhm = 3.0
    content = _field(size, rng, fwhm, count=60)
    lines = []
    for y, angle, level in ((0.62, 23.0, 25.0), (0.25, -8.0, 5.0)):
        # A box as narrow as this is a line, of `level` noise sigma at its crest.
        width, length = 0.05, 2.5 * size
        flux = level * _UNIT * fwhm * 1.15 * length
        line = galsim.Box(length, width, flux=flux).rotate(angle * galsim.degrees)
        lines.append(Galaxy(line, size / 2, y * size, 1.5 * size))
    return Plan([replace(content, galaxies=lines)], [moffat(fwhm, 3.2)], _CAMERA, (_SKY,))


def outside_places(size: int) -> Array:
    """Return places (x, y) of stars just outside the frame, in pixels, shape (4, 2)."""
    edge = size - 1.0
    return np.array(
        [(0.3 * size, -3.2), (edge + 2.7, 0.6 * size), (0.8 * size, edge + 1.8), (-1.3, 0.4 * size)]
    )


def _outside(size: int, rng: Rng) -> Plan:
    """Return a star field with bright stars just outside the frame."""
    fwhm = 3.0
    outside = _flux((5000.0, 2000.0, 1000.0, 500.0), fwhm)
    content = _added(_field(size, rng, fwhm), outside_places(size), outside)
    return Plan([content], [moffat(fwhm, 3.2)], _CAMERA, (_SKY,))


def _glowing(size: int, rng: Rng) -> Plan:
    fwhm = 3.0
    return Plan([_field(size, rng, fwhm)], [moffat(fwhm, 3.2)], _CAMERA, (_SKY,), (0.7, -0.8))


def _clean_sky(snr: tuple[float, float], count: int) -> Callable[..., Plan]:
    """Return the plan of a deep stack: little noise, and stars of these ratios."""

    def plan(size: int, rng: Rng) -> Plan:
        camera, sky, fwhm = Camera(30.0, 5.0), 2000.0, 3.0
        unit = camera.sigma(sky)
        content = _field(size, rng, fwhm, snr=snr, count=count, unit=unit)
        return Plan([content], [moffat(fwhm, 3.2)], camera, (sky,))

    return plan


def _few(places: tuple[tuple[float, float], ...], snr: Any) -> Callable[..., Plan]:
    """Return the plan of a frame with a few stars; none needs one outside of it."""

    def plan(size: int, rng: Rng) -> Plan:
        x, y = (np.array(places) * size + 0.2).T
        content = Content(x, y, _flux(np.broadcast_to(snr, x.shape), 3.0))
        return Plan([content], [moffat(3.0, 3.2)], _CAMERA, (_SKY,))

    return plan


def _eight_bit(size: int, rng: Rng) -> Plan:
    camera, sky, fwhm = Camera(40.0, 5.0, full_well=255.0, integer=True), 20.0, 3.0
    unit = camera.sigma(sky)
    content = _field(size, rng, fwhm, snr=(5.0, 3000.0), unit=unit)
    content = _with_stars(content, size, (3000.0, 1500.0, 6000.0, 2000.0), fwhm, unit)
    return Plan([content], [moffat(fwhm, 3.2)], camera, (sky,))


def _drizzled_psf() -> galsim.GSObject:
    """Return stars of 1.7 camera pixels, through camera pixel and drop, on pixels half as wide."""
    return galsim.Convolve([moffat(3.4, 3.5), galsim.Pixel(2.0), galsim.Pixel(2.0 * _DROP)])


# What spoils a scene ------------------------------------------------------------------------------


_DROP = 0.8  # side of a drop in pixels of the camera
_FRAMES = 25


def _drizzle(scene: Scene, rng: Rng) -> Scene:
    """Give the scene the noise of dithered frames drizzled to pixels half as wide."""
    size = scene.observed.shape[0]
    step = 2 * FINE  # fine points in a pixel of the camera
    drop = round(_DROP * step)
    side = (size + 16) * FINE
    total, weight = np.zeros((side, side)), np.zeros((side, side))
    grid = np.zeros((step, step))
    grid[:drop, :drop] = 1.0
    for _ in range(_FRAMES):
        frame = rng.standard_normal((side // step, side // step))
        shift = rng.integers(0, 4 * FINE, 2)
        total += np.roll(np.kron(frame, grid), shift, (0, 1))
        weight += np.roll(np.kron(np.ones_like(frame), grid), shift, (0, 1))
    shape = (side // FINE, FINE) * 2
    noise = total.reshape(shape).sum(axis=(1, 3)) / weight.reshape(shape).sum(axis=(1, 3))
    noise = noise[8 : 8 + size, 8 : 8 + size] / noise.std()
    growth = np.maximum(scene.truth_denoise / scene.background, 0.1)
    observed = scene.truth_denoise + noise * scene.sigma * np.sqrt(growth)
    return replace(scene, observed=observed.astype(np.float32), correlated=True)


def _hot(scene: Scene, rng: Rng) -> Scene:
    """Add hot pixels and the tracks of cosmic rays, in places free of bright stars."""
    observed = scene.observed.copy()
    size = observed.shape[0]
    clear = scene.truth_denoise - scene.background < 2 * scene.sigma
    for _ in range(round(40 * (size / 256) ** 2)):
        x, y = rng.integers(6, size - 6, 2)
        if clear[y, x]:
            observed[y, x] += scene.sigma * np.exp(rng.uniform(np.log(20), np.log(2000)))
    for _ in range(6):
        x, y = rng.integers(12, size - 12, 2)
        angle, level = rng.uniform(0, np.pi), rng.uniform(40, 400)
        for t in range(rng.integers(3, 8)):
            row, column = round(y + t * np.sin(angle)), round(x + t * np.cos(angle))
            observed[row, column] += level * scene.sigma
    return replace(scene, observed=observed)


def _walk(scene: Scene, rng: Rng) -> Scene:
    """Add the streaks that a drifting fixed pattern leaves in a stack."""
    size = scene.observed.shape[0]
    pattern = rng.standard_normal((size, size))
    streak = np.zeros((25, 25))
    for t in np.linspace(-11, 11, 45):
        streak[round(12 + 0.5 * t), round(12 + 0.87 * t)] = 1.0
    walking = ndimage.convolve(pattern, streak, mode="wrap")
    walking *= 0.8 * scene.sigma / walking.std()
    return replace(scene, observed=(scene.observed + walking).astype(np.float32), correlated=True)


def _glow(scene: Scene, rng: Rng) -> Scene:
    """Add the glow of an amplifier at a corner, with its shot noise."""
    size = scene.observed.shape[0]

    def light(scale: int) -> Array:
        y, x = (np.mgrid[: scale * size, : scale * size] + 0.5) / scale / size
        reach = np.hypot(1 - x, 1 - y)
        return 1.5 * _SKY * np.exp(-reach / 0.12) + 0.8 * _SKY * np.exp(-y / 0.03)

    noise = rng.standard_normal((size, size)) * np.sqrt(light(1) / _CAMERA.gain)
    return _with_background(scene, light, noise)


def _slope(scene: Scene, rng: Rng) -> Scene:
    """Add a steep glow over a horizon to the gradient of the plan."""
    size = scene.observed.shape[0]

    def light(scale: int) -> Array:
        y, x = (np.mgrid[: scale * size, : scale * size] + 0.5) / scale / size
        return 4.0 * _SKY * np.exp(-(x + 0.6 * y) / 0.25)

    noise = rng.standard_normal((size, size)) * np.sqrt(light(1) / _CAMERA.gain)
    return _with_background(scene, light, noise)


def _with_background(scene: Scene, light: Callable[[int], Array], noise: Array) -> Scene:
    single, double = light(1), light(2)
    added = {
        "observed": single + noise,
        "truth_denoise": single,
        "truth_deconvolve": single,
        "truth_x2": double,
        "background": single,
        "background_x2": double,
    }
    changed: dict[str, Any] = {
        name: (getattr(scene, name) + extra).astype(np.float32) for name, extra in added.items()
    }
    return replace(scene, **changed)


def _unstretch(scene: Scene, rng: Rng) -> Scene:
    """Keep what a picture of 8 bits, stretched and later unstretched, keeps."""
    black, white = _SKY - 5 * _UNIT, float(scene.observed.max())
    soft = 4 * _UNIT
    top = np.arcsinh((white - black) / soft)
    tone = np.arcsinh(np.clip(scene.observed - black, 0, None) / soft) / top
    levels = np.rint(255 * tone) / 255
    return replace(scene, observed=(black + soft * np.sinh(levels * top)).astype(np.float32))


def _bloom(scene: Scene, rng: Rng) -> Scene:
    """Let the light beyond the full well run along the columns."""
    observed = scene.observed.copy()
    full = np.float32(_FULL.full_well or 0.0)
    beyond = np.clip(scene.truth_denoise - full, 0, None)
    for x in np.flatnonzero(beyond.sum(axis=0)):
        rows = np.flatnonzero(beyond[:, x])
        for part in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            reach = round(float(beyond[part, x].sum() / full / 2))
            observed[max(0, part[0] - reach) : part[-1] + reach + 1, x] = full
    saturated = observed >= full
    away = ndimage.distance_transform_edt(~saturated)
    return replace(scene, observed=observed, excluded=away <= 2 * scene.fwhm)


# The cases ----------------------------------------------------------------------------------------


_SATURATED = (2e4, 6e3, 4e4, 1e4)

CASES: dict[str, Case] = {
    "saturated": Case(3.0, _bright(3.0, lambda: moffat(3.0, 3.0), _SATURATED), marks=_BRIGHT),
    "blooming": Case(
        3.0, _bright(3.0, lambda: moffat(3.0, 3.0), _SATURATED), _bloom, marks=_BRIGHT
    ),
    "halos": Case(3.0, _bright(3.0, _halo, _SATURATED), marks=_BRIGHT),
    "spikes": Case(3.0, _bright(3.0, lambda: spider(3.0, 0.35), _SATURATED), marks=_BRIGHT),
    "fwhm-1.2": Case(1.2, _plain(1.2, lambda: moffat(1.2, 3.5)), in_range=False),
    "fwhm-1.7": Case(1.7, _plain(1.7, lambda: moffat(1.7, 3.5))),
    "fwhm-8": Case(8.0, _plain(8.0, lambda: moffat(8.0, 3.5), count=40, snr=(10, 3000))),
    "fwhm-10": Case(
        10.0, _plain(10.0, lambda: moffat(10.0, 3.5), count=30, snr=(10, 3000)), in_range=False
    ),
    "fwhm-10-auto-scale": Case(
        10.0,
        _plain(10.0, lambda: moffat(10.0, 3.5), count=30, snr=(10, 3000)),
        options={"auto_scale": True},
        in_range=False,
    ),
    "ellipticity-0.3": Case(3.2, _plain(3.2, lambda: moffat(3.2, 3.2, 0.3, 0.6))),
    "defocus": Case(4.9, _plain(4.9, lambda: _ring(3.0, 1.1, 1.8), snr=(10, 2000))),
    "defocus-rings": Case(
        11.0, _plain(11.0, lambda: _ring(6.0, 2.6, 2.0), count=25, snr=(20, 3000)), in_range=False
    ),
    "gradient": Case(3.0, _glowing, _slope),
    "dust-lane": Case(3.2, _textured(_lane)),
    "galaxy-cores": Case(3.0, _cores, marks=_BRIGHT),
    "planetary-nebula": Case(3.2, _textured(_planetary), marks=((0.5, 0.5),)),
    "comet": Case(3.2, _textured(_comet), marks=((0.5 - 70 / 256, 0.5 - 50 / 256),)),
    "outside": Case(3.0, _outside),
    "trails": Case(3.0, _trails),
    "hot-pixels": Case(3.0, _plain(3.0, lambda: moffat(3.0, 3.2), count=60), _hot),
    "walking-noise": Case(3.0, _plain(3.0, lambda: moffat(3.0, 3.2)), _walk),
    "amp-glow": Case(3.0, _plain(3.0, lambda: moffat(3.0, 3.2)), _glow),
    "drizzled": Case(4.0, _plain(4.0, _drizzled_psf), _drizzle),
    "8-bit": Case(3.0, _eight_bit, marks=_BRIGHT),
    "8-bit-stretched": Case(3.0, _plain(3.0, lambda: moffat(3.0, 3.2)), _unstretch),
    "high-snr": Case(3.0, _clean_sky((20.0, 20_000.0), 100)),
    "low-snr": Case(3.0, _plain(3.0, lambda: moffat(3.0, 3.2), snr=(2.0, 12.0)), in_range=False),
    "low-snr-given-psf": Case(
        3.0, _plain(3.0, lambda: moffat(3.0, 3.2), snr=(2.0, 12.0)), options={"psf": (3.0, 3.2)}
    ),
    "low-snr-nebula": Case(3.2, _textured(_gas, snr=(3.0, 60.0)), in_range=False),
    "low-snr-nebula-given-psf": Case(
        3.2, _textured(_gas, snr=(3.0, 60.0)), options={"psf": (3.2, 3.2)}
    ),
    "nearly-empty": Case(3.0, _few(((0.3, 0.4), (0.7, 0.6)), (40.0, 80.0)), in_range=False),
    "empty": Case(3.0, _few(((5.0, 5.0),), 1.0), in_range=False),
}
"""All cases by name."""
