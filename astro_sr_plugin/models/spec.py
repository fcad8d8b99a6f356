"""What a model says of itself, and what it is told of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Conditions", "Model", "ModelSpec", "PlaneFunction"]


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


@dataclass(frozen=True)
class Conditions:
    """What the measurement found about one plane, as the models need it.

    Attributes
    ----------
    psf : ndarray
        Effective PSF on the pixel grid (pixel included), odd sides, centred, sum 1.
    fwhm, beta, ellipticity : float
        Its Moffat parameters, ``fwhm`` in input pixels.
    target_fwhm : float
        FWHM of the Gaussian target in output pixels; for denoising equal to ``fwhm``.
    noise_correlation : float
        Lag-1 correlation of the noise, 0 for white noise.
    fwhm_error : float
        Relative 1-sigma error of ``fwhm``; only an uncertainty depends on it.
    """

    psf: NDArray[np.float32]
    fwhm: float
    beta: float
    ellipticity: float
    target_fwhm: float
    noise_correlation: float = 0.0
    fwhm_error: float = 0.025


PlaneFunction = Callable[[Tensor, Tensor], Tensor]
"""``(observed, mask) -> result``, in noise sigma: a tile with its halo, ``(B, 1, H, W)`` twice, to
the tile without it, ``(B, 1 or 2, s (H - 2 halo), s (W - 2 halo))``; the second image, of models
that know it, is the standard deviation of the first."""


class Model(Protocol):
    """The contract of networks and classical methods alike."""

    @property
    def spec(self) -> ModelSpec:
        """The model's declaration."""

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends, under ``conditions``."""

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> PlaneFunction:
        """Return the function that restores tiles of one plane, ready on ``device``."""
