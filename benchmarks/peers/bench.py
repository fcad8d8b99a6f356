"""The rivals on a scene: classical methods with oracle knowledge, and Siril.

Results are kept on disk by scene, peer and its version, as they are slow and do not change when
our networks do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import classical
from benchmarks.peers.siril import DECONVOLVE, DENOISE, Siril, SirilError
from benchmarks.truth.scene import SCALES, Scene, planes_of

__all__ = ["PEERS", "Bench", "Result"]

Array = NDArray[np.float64]

PEERS = {
    "denoise": ("untouched", "bm3d", "siril"),
    "deconvolve": ("untouched", "wiener", "rl", "bm3d+rl", "siril"),
    "super-resolve": ("bicubic", "lanczos", "rl", "bm3d+rl"),
    "super-resolve-x4": ("bicubic", "lanczos", "rl", "bm3d+rl"),
}
"""Peers of each task, in the order of the table."""

_WELL_SAMPLED = 2.0
"""FWHM from which Richardson-Lucy works at scale 2 for scale 4 too, and its result is interpolated:
its target then has 2 pixels or more there. It takes a quarter of the time."""

_REVISIONS = {"siril": "2", "rl": "2", "bm3d+rl": "2"}  # of how a peer is run; "1" where not named


@dataclass(frozen=True)
class Result:
    """What a peer made: an image, or None and the reason in `note`."""

    image: Array | None
    note: str = ""


class Bench:
    """Runs peers on scenes.

    Parameters
    ----------
    folder : path
        Where results are kept.
    siril_root : path, optional
        Debian root that holds siril-cli >= 1.4; without it Siril is skipped.
    """

    def __init__(self, folder: str | Path, *, siril_root: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.siril: Siril | None = None
        self.missing: dict[str, str] = {}
        if siril_root is None:
            self.missing["siril"] = "no --siril root given"
        else:
            siril = Siril(Path(siril_root), self.folder / "siril")
            try:
                self._siril_version = siril.version()
                self.siril = siril
            except SirilError as error:
                self.missing["siril"] = str(error)
        if self._bm3d_version is None:
            reason = "the bm3d package (non-commercial licence) is not installed"
            self.missing |= {"bm3d": reason, "bm3d+rl": reason}

    @cached_property
    def _bm3d_version(self) -> str | None:
        try:
            return version("bm3d")
        except PackageNotFoundError:
            return None

    def versions(self) -> dict[str, str]:
        """Return the versions of the peers that are here."""
        found = {"bm3d": self._bm3d_version or ""}
        if self.siril is not None:
            found["siril"] = self._siril_version
        return {name: number for name, number in found.items() if number}

    def run(self, scene: Scene, task: str, peer: str) -> Result:
        """Return the result of a peer of `PEERS[task]`, kept or new."""
        if peer in self.missing:
            return Result(None, self.missing[peer])
        used = [number for name, number in self.versions().items() if name in peer]
        size = scene.observed.shape[-1]
        label = "-".join([scene.kind, str(scene.seed), str(size), scene.digest(), task, peer])
        path = self.folder / f"{label}-{'-'.join([_REVISIONS.get(peer, '1'), *used])}.npz"
        if path.exists():
            with np.load(path) as kept:
                image = kept["image"] if kept["image"].size else None
                return Result(image, str(kept["note"]))
        result = self._run(scene, task, peer)
        image = np.zeros(0) if result.image is None else result.image
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, image=np.asarray(image, np.float32), note=result.note)
        return result

    def _run(self, scene: Scene, task: str, peer: str) -> Result:
        if peer == "untouched":
            return Result(scene.untouched(task))
        if peer == "siril" and self.siril is not None:
            return _run_siril(self.siril, scene, task)
        if peer == "bm3d":
            return Result(_per_plane(scene, task, _bm3d))
        if SCALES[task] == 4 and peer.endswith("rl") and scene.fwhm >= _WELL_SAMPLED:
            coarse = self.run(scene, "super-resolve", peer)
            return coarse if coarse.image is None else Result(_from_scale_2(scene, coarse.image))
        if peer == "bm3d+rl":
            cleaned = self.run(scene, "denoise", "bm3d").image
            return Result(_per_plane(scene, task, _rl, cleaned))
        if peer == "rl":
            return Result(_per_plane(scene, task, _rl))
        if peer == "wiener":
            return Result(_per_plane(scene, task, _wiener))
        scale = SCALES[task]
        return Result(_per_plane(scene, task, lambda p: classical.resize(p.image, peer, scale)))


@dataclass(frozen=True)
class _Plane:
    """One channel for a classical method, backgrounds subtracted."""

    scene: Scene
    task: str
    image: Array
    clean: Array
    truth: Array
    background: Array
    sigma: float
    poisson: float
    psf: Array

    def score(self, output: Array) -> float:
        factor = SCALES[self.task]
        excluded = np.kron(self.scene.excluded, np.ones((factor, factor), dtype=bool))
        return _distance(output, self.truth, self.sigma, excluded)


def _bm3d(plane: _Plane) -> Array:
    return classical.bm3d_denoise(
        plane.image,
        plane.clean,
        plane.poisson,
        plane.sigma,
        correlated=plane.scene.correlated,
    )


def _rl(plane: _Plane) -> Array:
    return classical.richardson_lucy(
        plane.image,
        plane.background,
        plane.psf,
        plane.scene.target_fwhm(plane.task),
        plane.score,
        factor=SCALES[plane.task],
    )


def _wiener(plane: _Plane) -> Array:
    target = plane.scene.target_fwhm(plane.task)
    return classical.wiener(plane.image, plane.clean, plane.truth, plane.psf, target, plane.score)


def _per_plane(
    scene: Scene, task: str, method: Callable[[_Plane], Array], source: Array | None = None
) -> Array:
    """Apply a method to every channel of the observation, or of another image on its grid."""
    scale = SCALES[task]
    observed = scene.observed if source is None else source
    own = planes_of(scene.background)
    after = planes_of(scene.background_at(scale))
    clean, truth = planes_of(scene.truth_denoise), planes_of(scene.truth(task))
    psf = planes_of(scene.psf_at(scale))
    sigma, poisson = np.atleast_1d(scene.sigma), np.atleast_1d(scene.poisson)
    planes = []
    for c, image in enumerate(planes_of(observed)):
        plane = _Plane(
            scene,
            task,
            image - own[c],
            clean[c] - own[c],
            truth[c] - after[c],
            own[c],
            float(sigma[c]),
            float(poisson[c]),
            psf[c],
        )
        planes.append(method(plane) + after[c])
    return np.stack(planes) if scene.observed.ndim == 3 else planes[0]


def _from_scale_2(scene: Scene, image: Array) -> Array:
    """Interpolate a result at scale 2 to scale 4."""
    excess = planes_of(image - scene.background_at(2))
    large = np.stack([classical.resize(plane, "lanczos") for plane in excess])
    return (large if scene.observed.ndim == 3 else large[0]) + scene.background_at(4)


def _run_siril(siril: Siril, scene: Scene, task: str) -> Result:
    middle = scene.psf if scene.psf.ndim == 2 else scene.psf[1]
    variants = DENOISE if task == "denoise" else DECONVOLVE
    truth = planes_of(scene.truth(task) - scene.background)
    sigma = np.atleast_1d(scene.sigma)

    def score(output: Array) -> float:
        planes = planes_of(output - scene.background)
        distances = [
            _distance(plane, true, s, scene.excluded)
            for plane, true, s in zip(planes, truth, sigma, strict=True)
        ]
        return sum(distances)

    name, image = siril.best(scene.observed, variants, score, middle)
    return Result(image, name)


def _distance(output: Array, truth: Array, sigma: float, excluded: NDArray[np.bool_]) -> float:
    difference = np.arcsinh(output / (3 * sigma)) - np.arcsinh(truth / (3 * sigma))
    return float(np.mean(difference[~excluded] ** 2))
