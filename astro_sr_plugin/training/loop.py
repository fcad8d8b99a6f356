"""What all training runs share: stages, precision, running mean, log, and files to go on from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, as_channels_last
from astro_sr_plugin.training.growth import grown
from astro_sr_plugin.training.log import RunLog

__all__ = [
    "CHECKPOINT",
    "VALIDATION_SEED",
    "Pace",
    "Precision",
    "TrainState",
    "autocast",
    "checkpoint_of",
    "fresh_state",
    "has_bfloat16",
    "load_state",
    "open_run",
    "optimise",
    "recompute",
    "save_state",
    "start_from",
    "steps_of",
]

CHECKPOINT = "checkpoint.pt"
"""Name of the file that a run goes on from."""
VALIDATION_SEED = 987_654_321
"""What is added to the seed of a run for the patches that its network is measured on."""
_DECAY = 1e-4
"""Weight decay of AdamW: a tenth of PyTorch's default, as restoration does not overfit here."""
_MOST_GRADIENT = 1.0
"""Norm to which gradients are limited, so that a rare patch does not throw a run back."""
_LOGGED = 50
"""Steps between two lines of the log."""
_MEAN_START = 20
"""Steps over which the running mean forgets the random start, whatever its decay."""

Net = TypeVar("Net", bound=nn.Module)
Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Pace:
    """A stage of a run.

    Attributes
    ----------
    steps : int
        Its length.
    learning_rate, final_learning_rate : float
        Ends of the cosine schedule of AdamW.
    warmup : int
        Steps of linear warm-up.
    freeze : tuple of str
        Names of parameters that do not change in it, with ``*`` for any characters.
    """

    steps: int
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup: int = 100
    freeze: tuple[str, ...] = ()

    def rate(self, step: int) -> float:
        """Return the learning rate at a step of the stage."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        half = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.final_learning_rate + half * (self.learning_rate - self.final_learning_rate)


@dataclass
class TrainState(Generic[Net]):
    """What a run needs to go on: network, running mean, optimiser, step.

    Attributes
    ----------
    net, mean : torch.nn.Module
        The network, and the running mean of its weights, which is what is used.
    optimizer : torch.optim.Optimizer
        AdamW over all parameters.
    step : int
        Steps done, of all stages together.
    others : dict of torch.nn.Module
        Networks that are trained beside it and not used afterwards, each with its optimiser, such
        as a discriminator.
    """

    net: Net
    mean: Net
    optimizer: torch.optim.Optimizer
    step: int = 0
    others: dict[str, tuple[nn.Module, torch.optim.Optimizer]] = field(default_factory=dict)

    def update_mean(self, decay: float) -> None:
        """Move the running mean towards the network."""
        decay = min(decay, self.step / (self.step + _MEAN_START))
        with torch.no_grad():
            for kept, new in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)


def fresh_state(
    build: Callable[[], Net], learning_rate: float, device: str, seed: int
) -> TrainState[Net]:
    """Return the state of a run that has not begun."""
    torch.manual_seed(seed)
    net, mean = build().to(device), build().to(device)
    mean.load_state_dict(net.state_dict())
    mean.requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=_DECAY)
    as_channels_last(net)
    return TrainState(net, mean, optimizer)


def open_run(
    out: Path,
    load: Callable[[Path], TrainState[Net]],
    *,
    resume: bool,
    init: str | Path | None,
) -> TrainState[Net]:
    """Make the folder of a run, and return the state to go on from.

    Parameters
    ----------
    out : Path
        The folder.
    load : callable
        Loads the state from a checkpoint; a missing one gives a fresh state.
    resume : bool
        Go on from the checkpoint in ``out`` if there is one; it is deleted otherwise.
    init : str or Path, optional
        What a fresh state starts from, see `start_from`.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / CHECKPOINT
    if not resume:
        path.unlink(missing_ok=True)
    state = load(path)
    if init is not None and state.step == 0:
        start_from(state, init)
    return state


def checkpoint_of(run: str | Path) -> Path:
    """Return the checkpoint of a run that was trained.

    Raises
    ------
    InputError
        If there is none.
    """
    path = Path(run) / CHECKPOINT
    if not path.is_file():
        msg = f"run {str(run)!r} holds no {CHECKPOINT}; train first"
        raise InputError(msg)
    return path


def steps_of(checkpoint: Path) -> int:
    """Return how many steps a run has made."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"])


def load_state(state: TrainState[Net], path: Path, device: str) -> None:
    """Bring a fresh state to that of a checkpoint; a missing file changes nothing."""
    if not path.exists():
        return
    saved = torch.load(path, map_location=device, weights_only=True)
    state.net.load_state_dict(saved["net"])
    state.mean.load_state_dict(saved["mean"])
    state.optimizer.load_state_dict(saved["optimizer"])
    for name, other in saved.get("others", {}).items():
        net, optimizer = state.others[name]
        net.load_state_dict(other["net"])
        optimizer.load_state_dict(other["optimizer"])
    state.step = int(saved["step"])


def save_state(state: TrainState[Net], config: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; the old one stands until the new one is complete."""
    part = path.with_name(path.name + ".part")
    saved: dict[str, Any] = {
        "net": state.net.state_dict(),
        "mean": state.mean.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "config": dict(config),
    }
    if state.others:
        saved["others"] = {
            name: {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            for name, (net, optimizer) in state.others.items()
        }
    torch.save(saved, part)
    os.replace(part, path)


def start_from(state: TrainState[Net], init: str | Path) -> None:
    """Copy every tensor whose name and shape agree from a checkpoint or a weights file.

    The other network may also be a part of this one, such as its ``base``, or a smaller one of the
    same kind, see `growth.grown`.

    Raises
    ------
    InputError
        If the file does not exist, or nothing in it agrees.
    """
    path = Path(init)
    if not path.exists():
        msg = (
            f"init {str(path)!r} does not exist; give the {CHECKPOINT} of another run, or the "
            "weights file of a model"
        )
        raise InputError(msg)
    other, own = _weights_of(path), state.net.state_dict()
    whole = grown(state.net, other) if isinstance(state.net, WienerUNet) else None
    names = {place: k for k in other for place in (k, f"base.{k}")}
    fitting = whole or {
        place: other[k]
        for place, k in names.items()
        if place in own and own[place].shape == other[k].shape
    }
    if not fitting:
        msg = f"init {str(path)!r} is of another network: none of its weights fits by name and size"
        raise InputError(msg)
    state.net.load_state_dict(own | fitting)
    state.mean.load_state_dict(state.net.state_dict())


def _weights_of(path: Path) -> dict[str, Tensor]:
    if path.name == CHECKPOINT:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["mean"]
        return weights
    from astro_sr_plugin.models.external.model import ExternalModel
    from astro_sr_plugin.models.registry import load_model
    from astro_sr_plugin.models.wiener_unet.network import NetworkModel

    model = load_model(path)
    if isinstance(model, ExternalModel):
        return model.module.state_dict()
    if isinstance(model, NetworkModel):
        return model.net.state_dict()
    msg = f"init {str(path)!r} holds no network that could be trained"
    raise InputError(msg)


def has_bfloat16(device: str) -> bool:
    """Return whether the device computes in bfloat16; emulated, it is many times slower."""
    if device == "cpu":
        # There is no public question for it, and none at all before torch 2.6.
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return asked is not None and bool(asked())
    return device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device: str, precision: Precision) -> torch.autocast:
    """Return the context in which a network is run; ``"auto"`` is bfloat16 where it is fast."""
    if precision not in get_args(Precision):
        allowed = ", ".join(get_args(Precision))
        msg = f"precision={precision!r} is not known; allowed are {allowed}"
        raise InputError(msg)
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    kind = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(torch.device(device).type, kind, enabled=precision != "float32")


def recompute(net: nn.Module) -> None:
    """Keep no inner results of the parts of a network: they are computed again for the gradients.

    The parts are those of its lists of modules. This takes a third more time and much less memory.
    """
    for part in [p for m in net.modules() if isinstance(m, nn.ModuleList) for p in m]:
        run = part.forward

        def again(*given: Any, run: Callable[..., Any] = run) -> Any:
            return checkpoint(run, *given, use_reentrant=False)

        part.forward = again  # type: ignore[method-assign]


def _freeze(net: nn.Module, patterns: Sequence[str]) -> None:
    names = [name for name, _ in net.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            msg = f"freeze={pattern!r} fits no parameter; there are {', '.join(names)}"
            raise InputError(msg)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not any(fnmatchcase(name, pattern) for pattern in patterns))


def optimise(
    state: TrainState[Net],
    stages: Sequence[Pace],
    loss_of: Callable[[int], Tensor],
    out: Path,
    *,
    config: Mapping[str, Any],
    patches: int,
    accumulate: int = 1,
    ema: float = 0.998,
    half: bool = False,
    seconds: float | None = None,
    save_every: int = 500,
    log: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Run the stages of a training from where its state stands, and keep its files.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    stages : sequence of Pace
        In their order; the optimiser begins anew with each.
    loss_of : callable
        Draws a batch, runs the network and returns its loss; gets the number of the stage.
    out : Path
        An existing folder for the checkpoint and the log.
    config : mapping
        Kept in the checkpoint.
    patches : int
        Patches in one batch, for the speed in the log.
    accumulate : int
        Batches whose gradients make one step.
    ema : float
        Decay of the running mean of the weights.
    half : bool
        Whether the network runs in float16, whose small gradients have to be scaled.
    seconds : float, optional
        Stop (resumably) after so many seconds.
    save_every : int
        Steps between checkpoints.
    log : callable, optional
        Receives each entry of the log.

    Returns
    -------
    Path
        The checkpoint.
    """
    path = out / CHECKPOINT
    begun = time.monotonic()
    record = RunLog(out, sum(stage.steps for stage in stages), log)
    device = next(state.net.parameters()).device.type
    scaler = torch.amp.GradScaler(device, enabled=half)
    first = 0
    for number, stage in enumerate(stages):
        last = first + stage.steps
        if state.step >= last:
            first = last
            continue
        _freeze(state.net, stage.freeze)
        if state.step == first and number > 0:
            state.optimizer.state.clear()
        trained = [p for p in state.net.parameters() if p.requires_grad]
        while state.step < last:
            if seconds is not None and time.monotonic() - begun > seconds:
                save_state(state, config, path)
                return path
            rate = stage.rate(state.step - first)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad()
            total = 0.0
            for _ in range(accumulate):
                loss = loss_of(number) / accumulate
                scaler.scale(loss).backward()
                total += float(loss.detach())
            scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(trained, _MOST_GRADIENT)
            scaler.step(state.optimizer)
            scaler.update()
            state.step += 1
            state.update_mean(ema)
            record.add(total, patches * accumulate)
            if state.step % _LOGGED == 0 or state.step == last:
                record.write(state.step, rate)
            if state.step % save_every == 0:
                save_state(state, config, path)
        first = last
    save_state(state, config, path)
    return path
