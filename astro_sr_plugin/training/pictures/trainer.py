"""Training of a network for display images: stages, from one configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from astro_sr_plugin.training.config import write_config
from astro_sr_plugin.training.loop import (
    TrainState,
    autocast,
    fresh_state,
    load_state,
    open_run,
    optimise,
    recompute,
)
from astro_sr_plugin.training.pictures.colours import add_discriminator, colour_loss
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.contaminants import contaminant_loss
from astro_sr_plugin.training.pictures.diffusion import diffusion_loss
from astro_sr_plugin.training.pictures.files import read_pictures
from astro_sr_plugin.training.pictures.losses import PictureLoss
from astro_sr_plugin.training.pictures.source import PatchSource, draw_batch

__all__ = ["load_picture_state", "train_pictures"]

_LOSSES = {
    "Colorizer": colour_loss,
    "ResidualDiffusion": diffusion_loss,
    "ContaminantNet": contaminant_loss,
}
"""How networks learn that do not restore the picture that they get."""


def load_picture_state(path: Path, config: PictureConfig, device: str) -> TrainState[nn.Module]:
    """Load the state of a run from ``path``; a missing file gives a fresh state."""
    state = fresh_state(config.build, config.stages[0].learning_rate, device, config.seed)
    add_discriminator(state, config, device)
    load_state(state, path, device)
    return state


def train_pictures(
    config: PictureConfig,
    out: str | Path,
    *,
    pictures: str | Path | None = None,
    resume: bool = True,
    device: str = "cpu",
    seconds: float | None = None,
    init: str | Path | None = None,
    freeze: Sequence[str] = (),
    save_every: int = 500,
    log: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train a network for display images on stretched planes.

    Parameters
    ----------
    config : PictureConfig
        The run.
    out : str or Path
        Folder for the checkpoint, the configuration and the log; made if it is missing.
    pictures : str or Path, optional
        Folder of pictures with their credits, see `training.pictures.files`; simulated skies alone
        otherwise.
    resume, device, seconds, save_every, log
        As for `training.trainer.train`.
    init : str or Path, optional
        Checkpoint of another run, or weights of a model, also of another project, to start from.
    freeze : sequence of str
        Names of parameters that keep their values in all stages, with ``*`` for any characters.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    InputError
        If ``init`` or ``freeze`` fits nothing, or the pictures cannot be used.
    """
    out = Path(out)
    load = partial(load_picture_state, config=config, device=device)
    state = open_run(out, load, resume=resume, init=init)
    if config.recompute:
        recompute(state.net)
    write_config(config, out / "config.toml")
    rng = torch.Generator(device).manual_seed(config.seed * 1_000_003 + state.step)
    source = PatchSource(config, [] if pictures is None else read_pictures(pictures), rng)
    make_loss = _LOSSES.get(config.network, _restoration_loss)
    return optimise(
        state,
        [replace(stage, freeze=(*stage.freeze, *freeze)) for stage in config.stages],
        make_loss(state, config, source, rng, device),
        out,
        config=asdict(config),
        patches=config.batch_size,
        accumulate=config.accumulate,
        ema=config.ema,
        half=config.precision == "float16",
        seconds=seconds,
        save_every=save_every,
        log=log,
    )


def _restoration_loss(
    state: TrainState[nn.Module],
    config: PictureConfig,
    source: PatchSource,
    rng: torch.Generator,
    device: str,
) -> Callable[[int], Tensor]:
    """Return the function that draws a batch and returns the loss of the restored pictures."""
    losses = [PictureLoss(stage.losses) for stage in config.stages]
    inner = config.inner

    def loss_of(stage: int) -> Tensor:
        observed, truth = draw_batch(source, config, stage, rng)
        with autocast(device, config.precision):
            output = state.net(observed)
        loss: Tensor = losses[stage](output.float()[inner], truth[inner])
        return loss

    return loss_of
