"""A simulated observation and its truths.

Positions are 0-based with pixel centres at whole numbers; output pixel j of the truth at scale s
sits at (j + 0.5) / s - 0.5 input pixels. A `fwhm` is that of the optical profile before integration
over the pixel; targets are point-sampled Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from benchmarks.truth.stars import flux_of_snr

__all__ = ["ALL_TASKS", "SCALES", "TASKS", "Scene", "planes_of", "reduced"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
TASKS = ("denoise", "deconvolve", "super-resolve")
ALL_TASKS = (*TASKS, "super-resolve-x4")
"""The last one needs a scene of `benchmarks.truth.scenes.with_truth_x4`."""
SCALES = {"denoise": 1, "deconvolve": 1, "super-resolve": 2, "super-resolve-x4": 4}
"""Output pixels per input pixel of each task."""


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
        The same on the grid four times as fine; only in scenes of
        `benchmarks.truth.scenes.with_truth_x4`.
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
        """Signal-to-noise ratios of the stars under a matched filter, of the shape of `flux`."""
        return self.flux / flux_of_snr(1.0, self.sigma[..., None], self.fwhm)

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

    def untouched(self, task: str) -> Array:
        """Return the observation itself, at larger scales with every pixel repeated."""
        scale = SCALES[task]
        image = np.asarray(self.observed, np.float64)
        return image.repeat(scale, axis=-2).repeat(scale, axis=-1)

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


def _there(image: Any) -> Any:
    if image is None:
        msg = "the scene has no truth at scale 4; make it by with_truth_x4"
        raise ValueError(msg)
    return image


def reduced(scene: Scene, factor: int) -> Scene:
    """Return a scene as blocks of pixels see it, whose truths lie on the larger pixels."""
    side = scene.observed.shape[0] // factor
    place = (np.arange(side) + 0.5) * factor - 0.5

    def sampled(image: NDArray[np.floating], step: int = 1) -> NDArray[np.float32]:
        fine = (np.arange(side * step) + 0.5) * factor / step - 0.5
        grid = np.meshgrid(fine, fine, indexing="ij")
        return ndimage.map_coordinates(image.astype(float), grid, order=3).astype(np.float32)

    def blocks(image: NDArray[np.floating]) -> NDArray[np.float32]:
        cut = image[: side * factor, : side * factor].astype(float)
        return cut.reshape(side, factor, side, factor).mean(axis=(1, 3)).astype(np.float32)

    rows = np.round(place).astype(int)
    return replace(
        scene,
        fwhm=scene.fwhm / factor,
        observed=blocks(scene.observed),
        truth_denoise=blocks(scene.truth_denoise),
        truth_deconvolve=sampled(scene.truth_deconvolve),
        truth_x2=sampled(scene.truth_deconvolve, 2),
        background=blocks(scene.background),
        background_x2=sampled(scene.background, 2),
        sigma=scene.sigma / factor,
        excluded=scene.excluded[np.ix_(rows, rows)],
        x=(scene.x + 0.5) / factor - 0.5,
        y=(scene.y + 0.5) / factor - 0.5,
        flux=scene.flux / factor**2,
        neighbour=scene.neighbour / factor,
    )


def planes_of(image: ArrayLike) -> Array:
    """Return an image as (planes, ny, nx), one plane for mono."""
    array = np.asarray(image, dtype=np.float64)
    return array if array.ndim == 3 else array[None]
