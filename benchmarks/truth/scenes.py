"""Validation scenes with a known truth, rendered by GalSim and never used in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np

from benchmarks.truth.camera import dithers
from benchmarks.truth.kinds import FWHM, KINDS, PLANS
from benchmarks.truth.observation import (
    FRAMES,
    draw_background,
    draw_psf,
    draw_sky,
    observe_plan,
)
from benchmarks.truth.rendering import gaussian
from benchmarks.truth.scene import Scene

__all__ = ["make_scene", "with_truth_x4"]

_VERSION = 5


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
    offsets = dithers(FRAMES, rng) if plan.stacked else None
    target = scene.target_fwhm("super-resolve-x4") / 4  # in input pixels
    truth = draw_sky(
        plan, [gaussian(target)] * len(plan.content), target, size, pixel=0.0, step=0.25
    )
    planes = {
        "truth_x4": truth.astype(np.float32),
        "background_x4": draw_background(plan, size, step=0.25).astype(np.float32),
        "psf_x4": draw_psf(plan, scene.fwhm, offsets, 4),
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


def _build(kind: str, seed: int, size: int, textures: str | Path | None) -> Scene:
    rng = np.random.default_rng([crc32(kind.encode()), seed])
    plan = PLANS[kind](size, rng, textures)
    return observe_plan(plan, FWHM[kind], kind, seed, size, rng)
