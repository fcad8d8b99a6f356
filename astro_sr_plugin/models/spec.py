"""The contract of models: what a model declares, what it needs of an image, where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.tasks import COLORIZE, REMOVE_ARTIFACTS, TASKS

__all__ = [
    "Conditions",
    "Entry",
    "Model",
    "ModelSpec",
    "PSFNodes",
    "Provider",
    "RestoreTile",
    "refuse_condition",
]


Domain = Literal["noise-sigma", "unit"]
Tiling = Literal["exact", "overlap", "whole"]


@dataclass(frozen=True)
class ModelSpec:
    """Declaration of a model: the fields of its card, and what follows from its architecture.

    The verbs refuse models that they cannot run: those of other planes than one or three, and
    stochastic ones. `Predictor` honours the rest.

    Attributes
    ----------
    name : str
        Name under which `load_model` finds it.
    task : str
        ``"denoise"``, ``"deconvolve"``, ``"super-resolve"``, ``"remove-stars"`` or ``"colorize"``.
    description : str
        What it is for, in a sentence.
    architecture : str
        The class that builds it.
    scale : int
        Output pixels per input pixel along each axis.
    channels_in, channels_out : int
        Planes that it takes at once and returns; a model of one plane is run on each plane of a
        colour image.
    domain : {"noise-sigma", "unit"}
        What its values mean: the sky at 0 in units of its noise, or a stretched image of 0 to 1.
    needs_psf : bool
        Whether it uses the PSF of the image. A model that does not keeps it.
    tiling : {"exact", "overlap", "whole"}
        Whether tiles with their halo give the result of the whole image to float rounding; those
        of the second kind nearly do, as their weights see little beyond the halo. A model of the
        third kind, of which they do not, is always run on the whole image.
    min_size : int
        Least side in pixels of what it can be given; smaller images are mirrored at their edges.
    stochastic : bool
        Whether two runs on the same image differ.
    halo : int
        Input pixels around a tile on which its output depends.
    multiple_of : int
        Tile origins and sizes are multiples of this.
    fwhm_range : tuple of float
        FWHM of the stars, in input pixels, for which it was made.
    finest_target : float
        Least FWHM of the result, in output pixels, that it can reach.
    default : bool
        Whether a verb takes it by default.
    has_errors : bool
        Whether it can estimate the standard deviation of its result.
    license : str
        SPDX identifier of the licence of the weights.
    sha256 : str
        Digest of the weights file; empty for classical methods.
    size : int
        Bytes of the weights file; 0 for classical methods.
    trained_on : str
        What it learned from; empty for classical methods.
    options : dict
        Arguments of the architecture.
    figures : dict
        Measured figures of the model card.
    variants : dict
        Names of the models that follow from it: ``"averaged"`` (self-ensemble), ``"doubled"``
        (interpolated to twice its scale), ``"averaged_doubled"`` (both); ``"colour"`` is the one
        that a verb takes for the three planes of a colour image in its place.

    Raises
    ------
    ModelError
        If a field is out of its range.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> spec = asr.load_model("deconvolve-fast").spec
    >>> spec.task, spec.tiling, spec.fwhm_range
    ('deconvolve', 'exact', (1.5, 8.0))
    """

    name: str
    task: str
    description: str
    architecture: str
    scale: int = 1
    channels_in: int = 1
    channels_out: int = 1
    domain: Domain = "noise-sigma"
    needs_psf: bool = True
    tiling: Tiling = "exact"
    min_size: int = 1
    stochastic: bool = False
    halo: int = 0
    multiple_of: int = 8
    fwhm_range: tuple[float, float] = (0.5, 50.0)
    finest_target: float = 1.0
    default: bool = False
    has_errors: bool = False
    license: str = "BSD-3-Clause"
    sha256: str = ""
    size: int = 0
    trained_on: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("task", (*TASKS, COLORIZE, REMOVE_ARTIFACTS)),
            ("domain", get_args(Domain)),
            ("tiling", get_args(Tiling)),
        ):
            if getattr(self, name) not in allowed:
                msg = (
                    f"model {self.name!r} declares {name}={getattr(self, name)!r}; allowed are "
                    f"{', '.join(allowed)}"
                )
                raise ModelError(msg)
        for name, least in (
            ("scale", 1),
            ("channels_in", 1),
            ("channels_out", 1),
            ("min_size", 1),
            ("halo", 0),
            ("multiple_of", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                msg = (
                    f"model {self.name!r} declares {name}={value!r}; allowed are whole numbers of "
                    f"{least} or more"
                )
                raise ModelError(msg)


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
    """The measurement of one plane, as the models need it.

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
    others : tuple of Conditions
        Of the further planes of the image, for a model that restores all of them at once.
    """

    psf: NDArray[np.float32]
    fwhm: float
    beta: float
    ellipticity: float
    target_fwhm: float
    noise_correlation: float = 0.0
    fwhm_error: float = 0.025
    nodes: PSFNodes | None = None
    others: tuple[Conditions, ...] = ()

    @property
    def widest(self) -> float:
        """The largest FWHM of all planes, in input pixels."""
        return max(plane.fwhm for plane in (self, *self.others))


class RestoreTile(Protocol):
    """A function that restores a tile of an image."""

    def __call__(
        self, observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0), /
    ) -> Tensor:
        """Restore a tile.

        Parameters
        ----------
        observed, mask : Tensor
            Shape ``(B, channels_in, H, W)``: the tile with its halo, in the domain of the model;
            the mask is 1 where a pixel is saturated or filled in, -1 outside of the data.
        origin : tuple of int
            Row and column of the frame of its first pixel, halo included; may be negative.

        Returns
        -------
        Tensor
            Shape ``(B, C, s (H - 2 halo), s (W - 2 halo))``: the tile without its halo. ``C`` is
            ``channels_out``, and twice that of models with uncertainties, whose second half is the
            standard deviation of the first.
        """


@runtime_checkable
class Model(Protocol):
    """The contract of networks and classical methods alike."""

    @property
    def spec(self) -> ModelSpec:
        """The model's declaration."""

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends, under ``conditions``."""

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that restores tiles of one image, ready on ``device``."""


@dataclass(frozen=True)
class Entry:
    """A model that can be had.

    Attributes
    ----------
    spec : ModelSpec
        Its declaration.
    load : callable
        Loads it.
    """

    spec: ModelSpec
    load: Callable[[], Model]


class Provider(Protocol):
    """A source of models."""

    def entries(self) -> list[Entry]:
        """Return the models that it has by name."""

    def detect(self, path: Path) -> bool:
        """Return whether a file is one of its kind."""

    def load(self, path: Path, condition: Path | None = None) -> list[Entry]:
        """Return the models of a file: one, or one for each scale that it serves for.

        ``condition`` is the file of the vectors of a conditioned network; a provider that has no
        such networks refuses it.
        """


def refuse_condition(condition: Path | None, architecture: str) -> None:
    """Raise ModelError if there is a file of vectors for a network that takes none."""
    if condition is not None:
        msg = (
            f"condition={str(condition)!r} is of no use: {architecture} takes no vectors; allowed "
            "is a file for AstroSleuth NEXT"
        )
        raise ModelError(msg)
