"""Truth-known validation scenes, rendered by GalSim and never used in training.

Each scene holds what a camera would have recorded and what a perfect method would return for each
task. Positions are 0-based with pixel centres at whole numbers; output pixel j of the truth at
scale s sits at (j + 0.5) / s - 0.5 input pixels. A `fwhm` is that of the optical profile before
integration over the pixel; targets are point-sampled Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from benchmarks.exposure import FINE, MARGIN, dithers, stack_bayer, stack_mono
from benchmarks.kinds import FWHM, PLANS, Plan
from benchmarks.rendering import Content, gaussian, render

__all__ = [
    "ALL_TASKS",
    "FWHM",
    "KINDS",
    "SCALES",
    "TASKS",
    "Scene",
    "make_scene",
    "observe_plan",
    "with_truth_x4",
]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

KINDS = tuple(PLANS)
TASKS = ("denoise", "deconvolve", "super-resolve")
ALL_TASKS = (*TASKS, "super-resolve-x4")
"""The last one needs a scene from `with_truth_x4`."""
SCALES = {"denoise": 1, "deconvolve": 1, "super-resolve": 2, "super-resolve-x4": 4}
"""Output pixels per input pixel of each task."""

_FRAMES = 12
_SATURATION_MARGIN = 2.0  # FWHM around saturated pixels that no metric looks at
_VERSION = 5


@dataclass(frozen=True)
class Scene:
    """A simulated observation and its truths.

    Attributes
    ----------
    kind, seed : str, int
        What was asked for.
    fwhm : float
        FWHM of the optical PSF (pixels), geometric mean over the axes; that of the middle channel.
    observed : numpy.ndarray
        float32 (ny, nx) or (3, ny, nx), ADU, linear, with background.
    truth_denoise, truth_deconvolve, truth_x2 : numpy.ndarray
        Noise-free truth with background, never clipped: at the observation's own PSF (pixel and
        registration included), at the target Gaussian, and at the x2 target on a grid twice as
        fine with surface brightness kept.
    background, background_x2 : numpy.ndarray
        The background alone on the two grids.
    sigma : numpy.ndarray
        Noise per pixel of the empty sky (ADU), shape () or (3,).
    poisson : numpy.ndarray
        Growth of the variance with signal (ADU**2 per ADU), shape () or (3,).
    correlated : bool
        Whether the noise of neighbouring pixels is correlated.
    psf : numpy.ndarray
        The PSF as observed, pixel included, sum 1, odd side, (k, k) or (3, k, k).
    psf_x2 : numpy.ndarray
        The PSF on the grid twice as fine, integrated over one fine pixel: the mean over 2 x 2 fine
        pixels of a fine image convolved with it is what is observed.
    excluded : numpy.ndarray
        bool (ny, nx): saturated pixels and 2 FWHM around them, left out of every metric.
    x, y, flux : numpy.ndarray
        Stars inside the frame: positions, shape (n,), and fluxes (ADU), shape (n,) or (3, n).
    neighbour : numpy.ndarray
        Distance (pixels) from each star to the nearest other star or galaxy, shape (n,).
    truth_x4, background_x4, psf_x4 : numpy.ndarray or None
        The same on the grid four times as fine; only in scenes from `with_truth_x4`.
    """

    kind: str
    seed: int
    fwhm: float
    observed: Image
    truth_denoise: Image
    truth_deconvolve: Image
    truth_x2: Image
    background: Image
    background_x2: Image
    sigma: Array
    poisson: Array
    correlated: bool
    psf: Array
    psf_x2: Array
    excluded: NDArray[np.bool_]
    x: Array
    y: Array
    flux: Array
    neighbour: Array
    truth_x4: Image | None = None
    background_x4: Image | None = None
    psf_x4: Array | None = None

    @property
    def snr(self) -> Array:
        """Star SNR = flux / (sigma sqrt(4 pi) FWHM / 2.355), of the shape of `flux`."""
        return self.flux / (self.sigma[..., None] * np.sqrt(4 * np.pi) * self.fwhm / 2.355)

    def truth(self, task: str) -> Image:
        """Return the truth for a task of `ALL_TASKS`."""
        return _there(
            {
                "denoise": self.truth_denoise,
                "deconvolve": self.truth_deconvolve,
                "super-resolve": self.truth_x2,
                "super-resolve-x4": self.truth_x4,
            }[task]
        )

    def background_at(self, scale: int) -> Image:
        """Return the background on the grid of a scale."""
        return _there({1: self.background, 2: self.background_x2, 4: self.background_x4}[scale])

    def excess(self, image: NDArray[Any], scale: int = 1) -> Array:
        """Return an image on the grid of a scale less the background, in noise sigma."""
        plain = np.asarray(image, np.float64) - self.background_at(scale)
        return np.asarray(plain / self.sigma[..., None, None])

    def psf_at(self, scale: int) -> Array:
        """Return the observation's PSF on the grid of a scale."""
        return _there({1: self.psf, 2: self.psf_x2, 4: self.psf_x4}[scale])

    def target_fwhm(self, task: str) -> float:
        """Return the FWHM of the truth for a task in output pixels."""
        return self.fwhm if task == "denoise" else max(2.0, self.fwhm * SCALES[task] / 2)

    def isolated(self, task: str) -> NDArray[np.bool_]:
        """Return which stars have no neighbour within 3 apertures of radius 1.5 target FWHM."""
        return self.neighbour > 3 * 1.5 * self.target_fwhm(task) / SCALES[task]

    def digest(self) -> str:
        """Return eight characters that change with the observed pixels."""
        return f"{crc32(np.ascontiguousarray(self.observed).tobytes()):08x}"

    def save(self, path: str | Path) -> None:
        """Write the scene to an .npz file."""
        content: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        content = {name: value for name, value in content.items() if value is not None}
        np.savez_compressed(path, **content)

    @classmethod
    def load(cls, path: str | Path) -> Scene:
        """Read a scene that `save` wrote."""
        with np.load(path) as file:
            content: dict[str, Any] = {name: file[name] for name in file.files}
        for name, kind in (("kind", str), ("seed", int), ("fwhm", float), ("correlated", bool)):
            content[name] = kind(content[name])
        return cls(**content)


def make_scene(
    kind: str,
    seed: int,
    *,
    size: int = 512,
    textures: str | Path | None = None,
    cache: str | Path | None = None,
) -> Scene:
    """Simulate one validation scene.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seed : int
        The same kind, seed and size give the same scene.
    size : int
        Side of the square input (pixels); numbers of stars and galaxies follow the area.
    textures : path, optional
        Folder of pictures used as structure of the extended objects instead of procedural ones.
    cache : path, optional
        Folder where the scene is kept as .npz and read from next time.

    Returns
    -------
    Scene
        The observation and its truths.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind not in PLANS:
        msg = f"kind {kind!r} is not one of {', '.join(KINDS)}"
        raise ValueError(msg)
    if cache is None:
        return _build(kind, seed, size, textures)
    path = _kept_at(Path(cache), kind, seed, size, textures)
    if path.exists():
        return Scene.load(path)
    scene = _build(kind, seed, size, textures)
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.save(path)
    return scene


def with_truth_x4(
    scene: Scene, *, textures: str | Path | None = None, cache: str | Path | None = None
) -> Scene:
    """Return a scene of `make_scene` with its truth on the grid four times as fine.

    Parameters
    ----------
    scene : Scene
        Made by `make_scene` with the same `textures`.
    textures, cache : path, optional
        As for `make_scene`; what is added is kept in a file of its own.

    Returns
    -------
    Scene
        With `truth_x4`, `background_x4` and `psf_x4`.
    """
    kind, seed, size = scene.kind, scene.seed, scene.observed.shape[-1]
    path = None
    if cache is not None:
        path = _kept_at(Path(cache), kind, seed, size, textures, f"-x4-{scene.digest()}")
        if path.exists():
            with np.load(path) as file:
                return replace(scene, **{name: file[name] for name in file.files})
    rng = np.random.default_rng([crc32(kind.encode()), seed])
    plan = PLANS[kind](size, rng, textures)
    offsets = dithers(_FRAMES, rng) if plan.stacked else None
    target = scene.target_fwhm("super-resolve-x4") / 4  # in input pixels
    truth = _draw(plan, [gaussian(target)] * len(plan.content), target, size, pixel=0.0, step=0.25)
    planes = {
        "truth_x4": truth.astype(np.float32),
        "background_x4": _background(plan, size, step=0.25).astype(np.float32),
        "psf_x4": _fine_psf(plan, scene.fwhm, offsets, 4),
    }
    if len(plan.content) == 1:
        planes = {name: image[0] for name, image in planes.items()}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **planes)
    return replace(scene, **planes)


def _kept_at(
    cache: Path, kind: str, seed: int, size: int, textures: str | Path | None, part: str = ""
) -> Path:
    origin = f"-t{crc32(str(Path(textures).resolve()).encode()):08x}" if textures else ""
    return cache / f"scene-v{_VERSION}-{kind}-{seed}-{size}{origin}{part}.npz"


def _there(image: Any) -> Any:
    if image is None:
        msg = "the scene has no truth at scale 4; make it by with_truth_x4"
        raise ValueError(msg)
    return image


def _build(kind: str, seed: int, size: int, textures: str | Path | None) -> Scene:
    rng = np.random.default_rng([crc32(kind.encode()), seed])
    plan = PLANS[kind](size, rng, textures)
    return observe_plan(plan, FWHM[kind], kind, seed, size, rng)


def _draw(plan: Plan, psf: list[galsim.GSObject], width: float, size: int, **grid: Any) -> Array:
    """Render all channels of a plan, background included, at PSFs of this width (pixels)."""
    planes = [
        render(
            content,
            psf[c],
            (size, size),
            fwhm=width,
            sigma=plan.camera.sigma(plan.sky[c]) / 4,
            **grid,
        )
        for c, content in enumerate(plan.content)
    ]
    return np.stack(planes) + _background(plan, size, **grid)


def observe_plan(
    plan: Plan, fwhm: float, kind: str, seed: int, size: int, rng: np.random.Generator
) -> Scene:
    """Render a plan whose optics have the width `fwhm` (pixels), and its truths."""
    channels = len(plan.content)
    noise = [plan.camera.sigma(level) for level in plan.sky]

    def draw(psf: list[galsim.GSObject], width: float, **grid: Any) -> Array:
        return _draw(plan, psf, width, size, **grid)

    target = max(2.0, fwhm / 2)
    target_x2 = max(2.0, fwhm) / 2  # in input pixels
    sharp = draw([gaussian(target)] * channels, target, pixel=0.0)
    fine_sharp = draw([gaussian(target_x2)] * channels, target_x2, pixel=0.0, step=0.5)

    offsets = dithers(_FRAMES, rng) if plan.stacked else None
    if offsets is not None:
        fine = draw(plan.psf, fwhm, step=1 / FINE, margin=MARGIN)
        clean = _stack(plan, fine, offsets)
        observed = _stack(plan, fine, offsets, rng)
        sigma = _stack_sigma(plan, max(size, 256), offsets, rng)
    else:
        clean = draw(plan.psf, fwhm)
        observed = np.stack([plan.camera.expose(plane, rng) for plane in clean])
        sigma = np.array(noise)
    psf = _star(plan, fwhm, offsets, np.zeros(2), 1.0)
    psf_x2 = _fine_psf(plan, fwhm, offsets, 2)
    excluded = np.zeros((size, size), dtype=bool)
    if plan.camera.full_well is not None:
        # The full well sits on the noise-free image too, so that noise does not hide saturation.
        saturated = (np.maximum(observed, clean) >= plan.camera.full_well).any(axis=0)
        excluded = ndimage.distance_transform_edt(~saturated) <= _SATURATION_MARGIN * fwhm
        excluded &= saturated.any()

    x, y, neighbour, inside = _positions(plan.content[0], size)
    flux = np.stack([content.flux for content in plan.content])[:, inside]
    mono = channels == 1

    def image(planes: Array) -> Image:
        return np.asarray(planes[0] if mono else planes, dtype=np.float32)

    return Scene(
        kind=kind,
        seed=seed,
        fwhm=fwhm,
        observed=image(observed),
        truth_denoise=image(clean),
        truth_deconvolve=image(sharp),
        truth_x2=image(fine_sharp),
        background=image(_background(plan, size)),
        background_x2=image(_background(plan, size, step=0.5)),
        sigma=sigma[0] if mono else sigma,
        poisson=((sigma / noise) ** 2 / plan.camera.gain)[0 if mono else slice(None)],
        correlated=bool(plan.stacked),
        psf=psf[0] if mono else psf,
        psf_x2=psf_x2[0] if mono else psf_x2,
        excluded=excluded,
        x=x,
        y=y,
        flux=flux[0] if mono else flux,
        neighbour=neighbour,
    )


def _background(
    plan: Plan, size: int, *, step: float = 1.0, margin: int = 0, pixel: float = 1.0
) -> Array:
    """Return the background (ADU per input pixel), shape (channels, n, n), on a render's grid."""
    n = round((size + 2 * margin) / step)
    position = ((np.arange(n) + 0.5) * step - margin) / size - 0.5
    shape = 1.0 + plan.slope[0] * position[:, None] + plan.slope[1] * position[None, :]
    return np.array(plan.sky)[:, None, None] * shape


def _stack(
    plan: Plan,
    fine: Array,
    offsets: NDArray[np.int64],
    rng: np.random.Generator | None = None,
) -> Array:
    camera = plan.camera if rng is not None else None
    if plan.stacked == "bayer":
        return stack_bayer(fine, offsets, camera=camera, rng=rng)
    return stack_mono(fine[0], offsets, camera=camera, rng=rng)[None]


def _stack_sigma(
    plan: Plan, size: int, offsets: NDArray[np.int64], rng: np.random.Generator
) -> Array:
    """Measure the noise of a stack of empty sky."""
    side = (size + 2 * MARGIN) * FINE
    flat = np.broadcast_to(np.array(plan.sky)[:, None, None], (len(plan.sky), side, side))
    return _stack(plan, flat, offsets, rng).std(axis=(1, 2))


def _star(
    plan: Plan, fwhm: float, offsets: NDArray[np.int64] | None, place: Array, pixel: float
) -> Array:
    """Return a star as observed, in an odd square, at (x, y) from its centre; of sum 1 at (0, 0).

    `pixel` is the side of the pixel in which the light is collected.
    """
    half = int(min(64, max(20, np.ceil(8 * fwhm))))
    side, centre = 2 * half + 1, half + place
    star = Content(centre[:1], centre[1:], np.array([1.0]))
    grid: dict[str, Any] = {"pixel": pixel}
    if offsets is not None:
        grid |= {"step": 1 / FINE, "margin": MARGIN}
    planes = np.stack(
        [render(star, psf, (side, side), fwhm=fwhm, sigma=1e-9, **grid) for psf in plan.psf]
    )
    if offsets is not None:
        planes = _stack(plan, planes, offsets)
    return planes / planes.sum(axis=(1, 2), keepdims=True)


def _fine_psf(plan: Plan, fwhm: float, offsets: NDArray[np.int64] | None, factor: int) -> Array:
    """Return the PSF on a grid `factor` times as fine by moving a star by parts of a pixel."""
    moved = {
        (v, u): _star(plan, fwhm, offsets, np.array([u, v]) / factor, 1 / factor)
        for v in range(factor)
        for u in range(factor)
    }
    channels, side = moved[0, 0].shape[:2]
    half = side // 2
    # Fine sample m lies (m - factor half) / factor from the star, between pixels for a moved star.
    n = factor * (side - 1) + 1
    fine = np.zeros((channels, n, n))
    for (v, u), star in moved.items():
        fine[:, -v % factor :: factor, -u % factor :: factor] = star[:, v > 0 :, u > 0 :]
    centre, reach = factor * half, factor * (half + half // 2) // 2
    keep = slice(centre - reach, centre + reach + 1)
    fine = fine[:, keep, keep]
    return fine / fine.sum(axis=(1, 2), keepdims=True)


def _positions(content: Content, size: int) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return x, y and nearest-neighbour distance of the stars inside, and which they are."""
    stars = np.column_stack([content.x, content.y])
    galaxies = np.array([(g.x, g.y) for g in content.galaxies]).reshape(-1, 2)
    tree = spatial.cKDTree(np.concatenate([stars, galaxies]))
    distance = tree.query(stars, k=2)[0][:, 1]
    inside = (stars > -0.5).all(axis=1) & (stars < size - 0.5).all(axis=1)
    return content.x[inside], content.y[inside], np.asarray(distance[inside]), np.asarray(inside)
