"""Star fields through telescopes as they are: GalSim pupils, aberrated, trailed, undersampled.

The PSFs are made by code and from numbers of their own, not by those that networks are trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.truth.camera import Camera
from benchmarks.truth.kinds import Galaxy
from benchmarks.truth.observation import Plan, draw_background, observe_plan
from benchmarks.truth.rendering import Content, moffat, render
from benchmarks.truth.scene import Scene
from benchmarks.truth.stars import draw_stars, flux_of_snr

__all__ = ["OPTICS", "make_optics_scene"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_VERSION = 1
"""Of the kept scenes."""
_CAMERA, _SKY = Camera(1.2, 5.0), 450.0
"""Detector, and background in ADU."""
_PARAMS = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=1e-4, maximum_fft_size=16384)
"""Accuracy of pupils."""
_STEP = 0.25
"""Pixels between the points at which a PSF is tabulated."""
_HALF_LIGHT = 0.62
"""Radius of half of the light over the FWHM, as in a Moffat profile."""
_CELLS = 6
"""Cells along each side of a frame whose PSF changes."""
_MARGIN = 10.0
"""Pixels outside the frame in which there are stars too."""


@dataclass(frozen=True)
class Optics:
    """A kind of optics.

    Attributes
    ----------
    fwhm : float
        FWHM (pixels) of a Moffat profile with half of its light within the same radius.
    psf : callable
        (place, rng) -> GalSim profile of any width; the place (x, y) is -1 to 1 over the frame.
    stars : int
        On 384 x 384 pixels.
    snr : (float, float)
        Least and greatest signal-to-noise ratio of them.
    varies : bool
        Whether the place matters.
    """

    fwhm: float
    psf: Callable[[tuple[float, float], Rng], galsim.GSObject]
    stars: int = 260
    snr: tuple[float, float] = (4.0, 2000.0)
    varies: bool = False


def _pupil(
    seeing: float, obscuration: float = 0.0, vanes: int = 0, **waves: float
) -> galsim.GSObject:
    """Return a pupil, lambda / D of 1, times seeing of this FWHM; Zernike terms in waves."""
    optics = galsim.OpticalPSF(
        lam_over_diam=1.0,
        obscuration=obscuration,
        nstruts=vanes,
        strut_thick=0.03,
        strut_angle=20 * galsim.degrees,
        pad_factor=2.0,
        gsparams=_PARAMS,
        **waves,
    )
    air = galsim.Kolmogorov(fwhm=seeing, gsparams=_PARAMS)
    return galsim.Convolve([optics, air], gsparams=_PARAMS)


def _turned(psf: galsim.GSObject, rng: Rng) -> galsim.GSObject:
    return psf.rotate(rng.uniform(0, 360) * galsim.degrees)


def _coma(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _turned(_pupil(1.3, 0.2, coma1=0.29), rng)


def _astigmatism(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _turned(_pupil(1.0, 0.3, astig1=0.26, defocus=0.22), rng)


def _ring(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _pupil(1.2, 0.45, defocus=0.55)


def _trail(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    line = galsim.Box(1.8, 0.05)
    return _turned(galsim.Convolve([moffat(1.0, 3.0), line]), rng)


def _lens(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _turned(_pupil(0.4, 0.0, coma1=0.15, astig2=0.15), rng)


def _wings(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    wide = galsim.Moffat(beta=1.5, fwhm=1.6, trunc=30.0)
    return galsim.Add([0.75 * moffat(1.0, 3.2), 0.25 * wide])


def _trefoil(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _turned(_pupil(1.2, 0.35, 4, trefoil1=0.24), rng)


def _refractor(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    return _pupil(0.9, 0.0, spher=0.08, defocus=0.1)


def _field_coma(place: tuple[float, float], rng: Rng) -> galsim.GSObject:
    x, y = place
    away = np.hypot(x, y)
    angle = np.arctan2(y, x) * galsim.radians
    return _pupil(1.4, 0.25, coma2=0.15 * away).rotate(angle)


OPTICS = {
    "coma": Optics(3.4, _coma),
    "astigmatism": Optics(4.2, _astigmatism),
    "defocus-ring": Optics(5.0, _ring),
    "trail": Optics(3.6, _trail),
    "undersampled-lens": Optics(1.6, _lens),
    "broad-wings": Optics(3.2, _wings),
    "trefoil-vanes": Optics(3.4, _trefoil),
    "few-stars": Optics(2.8, _refractor, stars=24, snr=(30.0, 1000.0)),
    "field-coma": Optics(3.2, _field_coma, varies=True),
}
"""Kinds of optics by name."""


def make_optics_scene(
    kind: str, seed: int, *, size: int = 320, cache: str | Path | None = None
) -> Scene:
    """Simulate a star field with a few galaxies through one of `OPTICS`.

    Parameters
    ----------
    kind : str
        A key of `OPTICS`.
    seed : int
        The same kind, seed and size give the same scene.
    size : int
        Side of the frame (pixels).
    cache : path, optional
        Folder where the scene is kept as .npz and read from next time.

    Returns
    -------
    Scene
        The observation and its truths. Stars are where the Moffat profile that fits the PSF has
        its centre. Where the PSF changes over the field, `Scene.psf` is that in the middle.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind not in OPTICS:
        msg = f"kind {kind!r} is not one of {', '.join(OPTICS)}"
        raise ValueError(msg)
    path = None if cache is None else Path(cache) / f"optics-v{_VERSION}-{kind}-{seed}-{size}.npz"
    if path is not None and path.exists():
        return Scene.load(path)
    optics = OPTICS[kind]
    rng = np.random.default_rng([crc32(kind.encode()), seed])
    content = _content(optics, size, rng)
    psf, scale = _prepared(optics.psf((0.0, 0.0), rng), optics.fwhm)
    plan = Plan([content], [psf], _CAMERA, (_SKY,))
    scene = observe_plan(plan, optics.fwhm, kind, seed, size, rng)
    if optics.varies:
        scene = _through_cells(scene, plan, optics, scale, rng)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scene.save(path)
    return scene


def _content(optics: Optics, size: int, rng: Rng) -> Content:
    """Return stars and, for every twenty of them, a galaxy."""
    unit = _CAMERA.sigma(_SKY)
    count = max(6, round(optics.stars * (size / 384) ** 2))
    content = draw_stars(
        rng, count, size, sigma=unit, fwhm=optics.fwhm, snr=optics.snr, margin=-_MARGIN
    )
    galaxies = []
    for _ in range(count // 20):
        half = rng.uniform(1.5, 5.0)
        flux = float(flux_of_snr(rng.uniform(20.0, 200.0), unit, np.hypot(optics.fwhm, 2 * half)))
        profile = galsim.Sersic(n=rng.uniform(0.7, 2.5), half_light_radius=half, flux=flux)
        turned = profile.shear(q=rng.uniform(0.4, 1.0), beta=rng.uniform(0, 180) * galsim.degrees)
        x, y = rng.uniform(5.0, size - 6.0, size=2)
        galaxies.append(Galaxy(turned, x, y, 10.0 * half))
    return replace(content, galaxies=galaxies)


def _prepared(
    psf: galsim.GSObject, fwhm: float, scale: float | None = None
) -> tuple[galsim.GSObject, float]:
    """Scale a PSF to a width and put the centre of its Moffat profile at 0; tabulate it.

    Returns the PSF and the scale; a given scale is used as it is.
    """
    if scale is None:
        scale = fwhm * _HALF_LIGHT / psf.calculateHLR(scale=0.05, size=1024, centroid=psf.centroid)
    wide = psf.dilate(scale)
    side = 2 * round(max(10 * fwhm, 40.0) / _STEP) + 1
    image = wide.drawImage(nx=side, ny=side, scale=_STEP, method="no_pixel", dtype=float)
    x, y = _moffat_centre(image.array, fwhm)
    moved = wide.shift(-x, -y)
    table = moved.drawImage(nx=side, ny=side, scale=_STEP, method="no_pixel", dtype=float)
    table = galsim.InterpolatedImage(
        table, x_interpolant="quintic", normalization="flux", flux=1.0, gsparams=_PARAMS
    )
    return table, scale


def _moffat_centre(image: Array, fwhm: float) -> tuple[float, float]:
    """Return the centre, in pixels from the middle, of the elliptical Moffat profile that fits."""
    half = image.shape[0] // 2
    reach = round(2.5 * max(fwhm, 1.6) / _STEP)
    cut = image[half - reach : half + reach + 1, half - reach : half + reach + 1]
    y, x = (np.mgrid[-reach : reach + 1, -reach : reach + 1]) * _STEP
    peak = np.unravel_index(int(cut.argmax()), cut.shape)

    def miss(p: Array) -> Array:
        dx, dy = x - p[0], y - p[1]
        square = p[2] ** 2 * dx**2 + p[3] ** 2 * dy**2 + 2 * p[4] * dx * dy
        profile = (1 + np.clip(square, -0.9, None)) ** -np.exp(p[5])
        amplitude = (profile * cut).sum() / (profile**2).sum()
        return np.asarray((amplitude * profile - cut).ravel() / cut.max())

    start = [0.5 * x[peak], 0.5 * y[peak], 1.2 / fwhm, 1.2 / fwhm, 0.0, 1.1]
    found = optimize.least_squares(miss, start).x
    return float(found[0]), float(found[1])


def _through_cells(scene: Scene, plan: Plan, optics: Optics, scale: float, rng: Rng) -> Scene:
    """Observe again, every cell of the frame through the PSF of its middle."""
    size = scene.observed.shape[0]
    content = plan.content[0]
    edges = np.linspace(0, size, _CELLS + 1)[1:-1]
    clean = draw_background(plan, size)[0]
    stars = np.digitize(content.y, edges) * _CELLS + np.digitize(content.x, edges)
    galaxies = [
        int(np.digitize(g.y, edges)) * _CELLS + int(np.digitize(g.x, edges))
        for g in content.galaxies
    ]
    for cell in range(_CELLS**2):
        mine = stars == cell
        row, column = divmod(cell, _CELLS)
        place = tuple((2 * k + 1) / _CELLS - 1 for k in (column, row))
        psf, _ = _prepared(optics.psf((place[0], place[1]), rng), optics.fwhm, scale)
        part = Content(
            content.x[mine],
            content.y[mine],
            content.flux[mine],
            [g for g, own in zip(content.galaxies, galaxies, strict=True) if own == cell],
        )
        unit = plan.camera.sigma(_SKY) / 4
        clean = clean + render(part, psf, (size, size), fwhm=optics.fwhm, sigma=unit)
    observed = plan.camera.expose(clean, rng)
    return replace(
        scene, observed=observed.astype(np.float32), truth_denoise=clean.astype(np.float32)
    )
