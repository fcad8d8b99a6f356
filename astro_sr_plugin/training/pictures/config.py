"""Everything that defines the training of a network for display images, read from TOML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, get_args

from torch import nn

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.architectures import ARCHITECTURES
from astro_sr_plugin.models.swin2sr import Swin2SR
from astro_sr_plugin.simulation import SceneConfig
from astro_sr_plugin.tasks import COLORIZE, REMOVE_ARTIFACTS, TASKS
from astro_sr_plugin.training.loop import Pace, Precision
from astro_sr_plugin.training.pictures.degradations import DegradationConfig
from astro_sr_plugin.training.pictures.losses import PictureLoss

__all__ = ["PictureConfig", "PictureStage", "with_tuples"]

_MULTIPLE = 16
"""Patches have a multiple of so many pixels: that of the folded networks and of their windows."""
_NETWORKS = {COLORIZE: "Colorizer", REMOVE_ARTIFACTS: "ContaminantNet"}
"""Tasks that have a network of their own, which is for nothing else."""


def with_tuples(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of TOML with tuples in place of its lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


@dataclass(frozen=True)
class PictureStage(Pace):
    """A stage of a run, as `Pace`, and what is different in it.

    Attributes
    ----------
    name : str
        What it is for.
    losses : dict
        Weights of the losses by the names of `training.pictures.losses.LOSSES`.
    degradation : dict
        Changes to the degradations of the run.
    adversarial : float
        Weight of the judgement of a discriminator, for colours alone; 0 without.
    """

    name: str = ""
    losses: dict[str, float] = field(default_factory=lambda: {"l1": 1.0})
    degradation: dict[str, Any] = field(default_factory=dict)
    adversarial: float = 0.0

    def degradation_config(self, run: dict[str, Any]) -> DegradationConfig:
        """Return the degradations of the stage, from those of the run."""
        return DegradationConfig(**with_tuples(run | self.degradation))


@dataclass(frozen=True)
class PictureConfig:
    """A training run of a network for display images.

    Attributes
    ----------
    name, task, description : str
        Name of the model, its task, and what its card says it is for.
    network : str
        Its architecture: ``"SRCNN"``, ``"Swin2SR"``, ``"Colorizer"``,
        ``"ResidualDiffusion"`` or ``"ContaminantNet"``.
    batch_size, accumulate : int
        Patches at once, and how many such batches make a step.
    patch, border : int
        Side of a patch in pixels of the result, and how many at each edge do not count.
    seed : int
        Seed of everything random.
    precision : str
        ``"auto"`` (bfloat16 where the device has it), ``"float32"``, ``"bfloat16"``, ``"float16"``.
    recompute : bool
        Whether inner results are computed again for the gradients, which takes less memory.
    ema : float
        Decay of the running mean of the weights, which is what is saved.
    sky_probability : float
        How many of the patches are simulated skies; the others come from pictures, if there are
        any.
    sky_fwhm : tuple of float
        Least and greatest FWHM of the stars of simulated skies, in pixels of the result.
    sky_samples : int
        Samples of simulated skies along each side of such a pixel, over which it is averaged.
    sky_spikes : float
        How often the stars of a simulated sky have diffraction spikes.
    level : tuple of float
        Least and greatest brightness of a picture, at its 98th percentile, in noise sigma.
    architecture, scene, degradation : dict
        Arguments of the network, and changes to `SceneConfig` and `DegradationConfig`.
    stages : tuple of PictureStage
        What is done one after the other.
    """

    name: str
    task: str
    network: str
    description: str = ""
    batch_size: int = 8
    accumulate: int = 1
    patch: int = 64
    border: int = 8
    seed: int = 1
    precision: Precision = "auto"
    recompute: bool = False
    ema: float = 0.998
    sky_probability: float = 0.5
    sky_fwhm: tuple[float, float] = (3.0, 7.0)
    sky_samples: int = 1
    sky_spikes: float = 0.0
    level: tuple[float, float] = (2.0, 1500.0)
    architecture: dict[str, Any] = field(default_factory=dict)
    scene: dict[str, Any] = field(default_factory=dict)
    degradation: dict[str, Any] = field(default_factory=dict)
    stages: tuple[PictureStage, ...] = ()

    def __post_init__(self) -> None:
        for key, allowed in (
            ("task", (*TASKS, *_NETWORKS)),
            ("network", tuple(ARCHITECTURES)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, key) not in allowed:
                msg = (
                    f"{key} = {getattr(self, key)!r} is not known; use one of {', '.join(allowed)}"
                )
                raise InputError(msg)
        for key in ("batch_size", "accumulate", "sky_samples"):
            if getattr(self, key) < 1:
                msg = f"{key} = {getattr(self, key)} is not allowed; take 1 or more"
                raise InputError(msg)
        if _NETWORKS.get(self.task) != (
            self.network if self.network in _NETWORKS.values() else None
        ):
            msg = f"task = {self.task!r} does not go with network = {self.network!r}"
            raise InputError(msg)
        if self.patch % _MULTIPLE or self.patch <= 2 * self.border:
            msg = (
                f"patch = {self.patch} is not allowed; take a multiple of {_MULTIPLE} above twice "
                f"border = {self.border}"
            )
            raise InputError(msg)
        for key in ("sky_fwhm", "level"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        made = (
            s if isinstance(s, PictureStage) else PictureStage(**with_tuples(s))
            for s in self.stages
        )
        object.__setattr__(self, "stages", tuple(made))
        if not self.stages:
            msg = "stages is empty; give at least one table [[stages]]"
            raise InputError(msg)
        SceneConfig(**with_tuples(self.scene))
        for stage in self.stages:
            stage.degradation_config(self.degradation)
            PictureLoss(stage.losses)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> PictureConfig:
        """Return the run that ends after so many steps: its last stages are cut or left out."""
        kept, left = [], steps
        for stage in self.stages:
            kept.append(replace(stage, steps=min(stage.steps, left)))
            left -= kept[-1].steps
        return replace(self, stages=tuple(stage for stage in kept if stage.steps > 0))

    def scene_config(self, size: int) -> SceneConfig:
        """Return the configuration of simulated skies of ``size`` input pixels a side."""
        return SceneConfig(**with_tuples(self.scene) | {"size": size})

    @property
    def scale(self) -> int:
        """Output pixels per input pixel."""
        return 1 if self.task in _NETWORKS else TASKS[self.task].trained_scale

    @property
    def inner(self) -> tuple[EllipsisType, slice, slice]:
        """Index of the pixels of a patch that count."""
        part = slice(self.border, -self.border or None)
        return ..., part, part

    @property
    def colourises(self) -> bool:
        """Whether the network makes up the colours of gray pictures."""
        return self.task == COLORIZE

    @property
    def channels(self) -> int:
        """Planes of the truth, which the network takes at once unless it makes up the colours."""
        return 3 if self.colourises else int(self.architecture.get("channels", 1))

    def build(self) -> nn.Module:
        """Return the network with fresh weights; residual ones begin as the identity."""
        net = ARCHITECTURES[self.network](scale=self.scale, **with_tuples(self.architecture))
        if isinstance(net, Swin2SR) and net.head == "residual":
            for parameter in net.conv_last.parameters():
                nn.init.zeros_(parameter)
        return net
