"""What a model says of itself, and what it is told of the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

__all__ = ["Conditions", "Model", "ModelSpec", "PSFNodes", "PlaneFunction"]


@dataclass(frozen=True)
class ModelSpec:
    """Declaration of a model.

    Attributes
    ----------
    name : str
        Name under which `load_model` finds it.
    task : str
        ``"denoise"``, ``"deconvolve"``, ``"super-resolve"`` or ``"remove-stars"``.
    description : str
        What it is for, in a sentence.
    architecture : str
        The class that builds it.
    scale : int
        Output pixels per input pixel along each axis.
    halo : int
        Input pixels around a tile on which its output depends.
    multiple_of : int
        Tile origins and sizes are multiples of this.
    fwhm_range : tuple of float
        FWHM of the stars, in input pixels, for which it was made.
    finest_target : float
        Least FWHM of the result, in output pixels, that it can reach.
    license : str
        SPDX identifier of the licence of the weights.
    sha256 : str
        Digest of the weights file; empty for classical methods.
    options : dict
        Arguments of the architecture.
    figures : dict
        Measured figures of the model card.
    """

    name: str
    task: str
    description: str
    architecture: str
    scale: int = 1
    halo: int = 0
    multiple_of: int = 8
    fwhm_range: tuple[float, float] = (0.5, 50.0)
    finest_target: float = 1.0
    license: str = "BSD-3-Clause"
    sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PSFNodes:
    """PSFs at the nodes of a grid that is fixed to the frame.

    Attributes
    ----------
    images : ndarray of float32, shape (ny, nx, h, w)
        Effective PSFs, as `Conditions.psf`; ``ny`` and ``nx`` at least 4.
    rows : ndarray, shape (ny,)
        Rows of the frame of the nodes, ascending; the first and the last are its edges.
    columns : ndarray, shape (nx,)
        The same for columns.
    fwhm, ellipticity : ndarray, shape (ny, nx)
        Of the Moffat profiles of the PSFs, in input pixels.
    """

    images: NDArray[np.float32]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    ellipticity: NDArray[np.float64]

    def basis(
        self, rows: ArrayLike, columns: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights of the nodes at rows and columns of the frame: (n, ny) and (m, nx), sums 1.

        Cubic splines through the nodes; beyond the frame as at its edge.
        """
        weights = [
            CubicSpline(nodes, np.eye(nodes.size))(np.clip(places, nodes[0], nodes[-1]))
            for nodes, places in ((self.rows, rows), (self.columns, columns))
        ]
        return weights[0], weights[1]

    def at(self, row: float, column: float) -> NDArray[np.float32]:
        """Return the PSF at one place of the frame."""
        rows, columns = self.basis([row], [column])
        image = np.einsum("a,b,abyx->yx", rows[0], columns[0], self.images)
        return np.asarray(image, dtype=np.float32)


@dataclass(frozen=True)
class Conditions:
    """What the measurement found about one plane, as the models need it.

    Attributes
    ----------
    psf : ndarray
        Effective PSF on the pixel grid (pixel included), odd sides, centred. Its sum is the part of
        a star's light that falls within it, 1 at most.
    fwhm, beta, ellipticity : float
        Its Moffat parameters, ``fwhm`` in input pixels.
    target_fwhm : float
        FWHM of the Gaussian target in output pixels; for denoising equal to ``fwhm``.
    noise_correlation : float
        Lag-1 correlation of the noise, 0 for white noise.
    fwhm_error : float
        Relative 1-sigma error of ``fwhm``; only an uncertainty depends on it.
    nodes : PSFNodes or None
        The PSF over the frame, where it changes; the others are then those of the mean profile.
    """

    psf: NDArray[np.float32]
    fwhm: float
    beta: float
    ellipticity: float
    target_fwhm: float
    noise_correlation: float = 0.0
    fwhm_error: float = 0.025
    nodes: PSFNodes | None = None


class PlaneFunction(Protocol):
    """What restores a tile of a plane."""

    def __call__(
        self, observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0), /
    ) -> Tensor:
        """Restore a tile, in noise sigma.

        Parameters
        ----------
        observed, mask : Tensor
            Shape ``(B, 1, H, W)``: the tile with its halo.
        origin : tuple of int
            Row and column of the frame of its first pixel, halo included; may be negative.

        Returns
        -------
        Tensor
            Shape ``(B, 1 or 2, s (H - 2 halo), s (W - 2 halo))``: the tile without its halo; the
            second image, of models that know it, is the standard deviation of the first.
        """


class Model(Protocol):
    """The contract of networks and classical methods alike."""

    @property
    def spec(self) -> ModelSpec:
        """The model's declaration."""

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends, under ``conditions``."""

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> PlaneFunction:
        """Return the function that restores tiles of one plane, ready on ``device``."""
