"""Everything that defines a training run, as a dataclass that is read from and written to TOML."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.simulation.observe import ObservationConfig
from astro_sr_plugin.simulation.pupils import OpticsConfig
from astro_sr_plugin.simulation.scene import SceneConfig
from astro_sr_plugin.tasks import TASKS
from astro_sr_plugin.training.loop import Pace
from astro_sr_plugin.training.losses import RestorationLoss
from astro_sr_plugin.training.pictures.config import PictureConfig, with_tuples

__all__ = ["TrainConfig", "read_config", "write_config"]

_MIN_SIZE = 72
"""Least side of a patch in pixels: the Wiener filters have 65 pixels a side."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes
    ----------
    name, task, description : str
        Name of the model, its task, and what its card says it is for.
    steps, batch_size, seed : int
        Length of the run, patches per step (each of all planes), and the seed of everything random.
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule of AdamW.
    warmup : int
        Steps of linear warm-up.
    pool_size, pool_refresh : int
        Scenes kept in memory, and how many of them are drawn anew at each step.
    ema : float
        Decay of the running mean of the weights, which is what is saved.
    bank_size : int
        Simulated telescopes whose PSFs take part; 0: all PSFs are Moffat profiles.
    architecture : dict
        Arguments of `WienerUNet`.
    scene, observation, optics, loss : dict
        Changes to the defaults of `SceneConfig`, `ObservationConfig`, `OpticsConfig` and
        `RestorationLoss`.
    """

    name: str
    task: str
    description: str = ""
    steps: int = 10000
    batch_size: int = 16
    seed: int = 1
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup: int = 100
    pool_size: int = 256
    pool_refresh: int = 4
    ema: float = 0.998
    bank_size: int = 0
    architecture: dict[str, Any] = field(default_factory=dict)
    scene: dict[str, Any] = field(default_factory=dict)
    observation: dict[str, Any] = field(default_factory=dict)
    optics: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            msg = f"task = {self.task!r} is not known; use one of {', '.join(TASKS)}"
            raise InputError(msg)
        if self.bank_size < 0:
            msg = f"bank_size = {self.bank_size} is not allowed; take 0 or more"
            raise InputError(msg)
        size = self.scene_config().size
        if size < _MIN_SIZE or size % 8:
            msg = f"scene size = {size} is not allowed; take a multiple of 8 from {_MIN_SIZE} on"
            raise InputError(msg)

    @property
    def scale(self) -> int:
        """Output pixels per input pixel."""
        return TASKS[self.task].trained_scale

    @property
    def outputs(self) -> int:
        """Images that the network makes of one input."""
        return TASKS[self.task].outputs

    @property
    def planes(self) -> int:
        """Planes of an image that the network restores at once."""
        return int(self.architecture.get("planes", 1))

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps

    def with_steps(self, steps: int) -> TrainConfig:
        """Return the run with another length."""
        return replace(self, steps=steps)

    def pace(self) -> Pace:
        """Return the only stage of the run."""
        return Pace(self.steps, self.learning_rate, self.final_learning_rate, self.warmup)

    def scene_config(self) -> SceneConfig:
        """Return the configuration of the skies."""
        return SceneConfig(**with_tuples(self.scene))

    def observation_config(self) -> ObservationConfig:
        """Return the configuration of PSF and detector, without the bank of PSFs."""
        return ObservationConfig(
            task=self.task, planes=self.planes, **with_tuples(self.observation)
        )

    def optics_config(self) -> OpticsConfig:
        """Return the configuration of the telescopes of the bank."""
        return OpticsConfig(**with_tuples(self.optics))

    def build_loss(self) -> RestorationLoss:
        """Return the loss that is made small."""
        return RestorationLoss(**self.loss)


def read_config(path: str | Path) -> TrainConfig | PictureConfig:
    """Read a run from a TOML file.

    Parameters
    ----------
    path : str or Path
        The file; with a ``network`` it is that of a published architecture.

    Returns
    -------
    TrainConfig or PictureConfig

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or holds unknown or missing keys.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"config {str(path)!r} cannot be read: {error}"
        raise InputError(msg) from error
    kind = PictureConfig if "network" in table else TrainConfig
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        msg = f"config {str(path)!r} has unknown keys {unknown}; known are {sorted(known)}"
        raise InputError(msg)
    try:
        config = kind(**table)
        if isinstance(config, TrainConfig):
            config.scene_config()
            config.observation_config()
            config.optics_config()
            config.build_loss()
        else:
            config.build()
    except TypeError as error:
        msg = f"config {str(path)!r} is incomplete or has an unknown key: {error}"
        raise InputError(msg) from error
    return config


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return repr(value)


def to_toml(table: dict[str, Any]) -> str:
    """Return ``table`` (scalars, lists, and tables one level deep) as TOML."""
    plain = [f"{k} = {_toml_value(v)}" for k, v in table.items() if not isinstance(v, dict)]
    parts = ["\n".join(plain)]
    for key, value in table.items():
        if isinstance(value, dict) and value:
            lines = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()]
            parts.append("\n".join([f"[{key}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else _toml_value(key)


def write_config(config: TrainConfig | PictureConfig, path: str | Path) -> None:
    """Write a run to a TOML file that `read_config` reads."""
    Path(path).write_text(to_toml(asdict(config)), encoding="utf-8")
