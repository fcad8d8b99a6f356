"""From a checkpoint to a shipped model: weights, card, and a first figure on simulated patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from astro_sr_plugin.models.filters import FILTER_RADIUS
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.simulation import make_planes, observe
from astro_sr_plugin.training.card import write_model
from astro_sr_plugin.training.config import TrainConfig
from astro_sr_plugin.training.loop import CHECKPOINT, VALIDATION_SEED, checkpoint_of
from astro_sr_plugin.training.optics import observation_with_bank
from astro_sr_plugin.training.trainer import load_checkpoint, restore_batch

__all__ = ["evaluate_patches", "export_model", "halo_of"]


def halo_of(net: WienerUNet) -> int:
    """Return the input pixels around a tile on which the output of a network depends.

    Those of its convolutions, on the grid of its coarsest level, and those of its filters.
    """
    coarsest = 2 ** len(net.blocks)
    # Two convolutions of 3 x 3 in each block; levels but the coarsest are passed twice.
    reach = sum(2 * count * 2 ** (level + 1) for level, count in enumerate(net.blocks))
    reach += sum(2 * count * 2 ** (level + 1) for level, count in enumerate(net.blocks[:-1]))
    # The first and the last convolution, and the cell of the coarsest level.
    reach += 2 * 2 + coarsest - 1
    return -(-reach // coarsest) * coarsest + FILTER_RADIUS


def evaluate_patches(
    config: TrainConfig,
    run: str | Path,
    *,
    patches: int = 64,
    device: str = "cpu",
    psfs: str | Path | None = None,
) -> dict[str, float]:
    """Measure a checkpoint on simulated patches that its training never saw.

    Parameters
    ----------
    config : TrainConfig
        The run; its seed is shifted, so that scenes, optics and noise are new.
    run : str or Path
        Folder with the checkpoint.
    patches : int
        Number of patches.
    device : str
        Where to run.
    psfs : str or Path, optional
        Folder of images of measured PSFs, of which those for validation take part.

    Returns
    -------
    dict
        ``asinh_db``: -20 log10 of the RMSE of ``asinh(x / 3 sigma)`` of the network;
        ``wiener_db``: the same of the mean of the Wiener estimates that it starts from.

    Raises
    ------
    InputError
        If there is no checkpoint.
    """
    state = load_checkpoint(checkpoint_of(run), config, device)
    fresh = load_checkpoint(Path(run) / "none", config, device)
    rng = torch.Generator(device).manual_seed(config.seed + VALIDATION_SEED)
    optics = observation_with_bank(config, Path(run), psfs=psfs, validation=True)
    optics = replace(optics, edge_probability=0.0, missing_probability=0.0)
    if optics.bank is not None:
        optics = replace(optics, bank=optics.bank.to(device))
    errors = {"asinh_db": 0.0, "wiener_db": 0.0}
    border, done = 8, 0
    with torch.inference_mode():
        while done < patches:
            count = min(config.batch_size, patches - done)
            scenes = [make_planes(config.scene_config(), config.planes, rng) for _ in range(count)]
            batch = observe(torch.cat(scenes), optics, rng)
            for key, net in (("asinh_db", state.mean), ("wiener_db", fresh.net)):
                difference = torch.asinh(restore_batch(net, batch) / 3) - torch.asinh(
                    batch.truth / 3
                )
                inner = difference[..., border:-border, border:-border]
                errors[key] += float((inner**2).mean()) * count
            done += count
    return {
        key: round(-10 * float(torch.log10(torch.tensor(total / patches))), 2)
        for key, total in errors.items()
    }


def export_model(
    config: TrainConfig,
    run: str | Path,
    folder: str | Path,
    *,
    figures: Mapping[str, Any] | None = None,
    command: str = "",
    data: str = "simulation only",
    hardware: str = "",
) -> Path:
    """Write the weights of a run and their card.

    Parameters
    ----------
    config : TrainConfig
        The run.
    run : str or Path
        Folder with the checkpoint.
    folder : str or Path
        Where ``<name>.safetensors`` and ``<name>.toml`` go.
    figures : mapping, optional
        Measured figures for the card.
    command, data, hardware : str
        What the card says of the training; by default the plain ``train`` command.

    Returns
    -------
    Path
        The weights file.
    """
    run = Path(run)
    state = load_checkpoint(run / CHECKPOINT, config, "cpu")
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in config.architecture.items()}
    low, high = config.observation_config().fwhm
    spec = ModelSpec(
        name=config.name,
        task=config.task,
        description=config.description,
        architecture="WienerUNet",
        scale=config.scale,
        channels_in=config.planes,
        channels_out=config.planes,
        halo=halo_of(state.mean),
        fwhm_range=(round(low * 1.07, 1), round(high * 0.975, 1)),
        options=options,
    )
    training = {
        "command": command or f"astro-sr train {config.name}.toml --out {run.name}",
        "data": data,
        "hardware": hardware,
        "seed": config.seed,
        "steps": state.step,
        "patches": state.step * config.batch_size,
    }
    return write_model(state.mean, spec, folder, training=training, figures=figures)
