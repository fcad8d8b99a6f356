"""The training loop: resumable, on any device, from one configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import (
    apply_spectra,
    filter_spectra,
    make_wiener_filters,
)
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, encode_conditions
from astro_sr_plugin.simulation import OVERSAMPLE, Observation, make_planes, observe
from astro_sr_plugin.training.config import TrainConfig, write_config
from astro_sr_plugin.training.loop import (
    TrainState,
    fresh_state,
    has_bfloat16,
    load_state,
    open_run,
    optimise,
)
from astro_sr_plugin.training.optics import observation_with_bank
from astro_sr_plugin.training.textures import load_textures

__all__ = ["load_checkpoint", "pixel_weight", "restore_batch", "train"]


def restore_batch(net: WienerUNet, batch: Observation, autocast: bool = False) -> Tensor:
    """Run the network on a simulated batch, given only what a measurement would find.

    Parameters
    ----------
    net : WienerUNet
        The network.
    batch : Observation
        What `observe` returned.
    autocast : bool
        Whether the convolutions run in bfloat16.

    Returns
    -------
    Tensor
        Shape of ``batch.truth``.
    """
    same = batch.truth.shape[-1] == batch.observed.shape[-1]
    keep_psf = same and bool((batch.target_fwhm == batch.fwhm).all())
    with torch.no_grad():
        kernels = make_wiener_filters(batch.psf, None if keep_psf else batch.target_fwhm, net.scale)
        count, phases = kernels.shape[1:3]
        shape = (batch.observed.shape[-2], batch.observed.shape[-1])
        estimates = apply_spectra(batch.observed, filter_spectra(kernels.flatten(1, 2), shape))
        estimates = estimates.unflatten(1, (count, phases))
        ratio = batch.fwhm / (batch.target_fwhm / net.scale)
        conditions = encode_conditions(
            batch.fwhm, batch.beta, batch.ellipticity, ratio, batch.noise_correlation
        )
    with torch.autocast(batch.observed.device.type, torch.bfloat16, enabled=autocast):
        return net(batch.observed, batch.mask, estimates, conditions)


def pixel_weight(batch: Observation) -> Tensor:
    """Return how much each pixel counts, of the shape of the truth.

    Little where saturation hides the truth, and beyond the edges of a frame.
    """
    near = torch.nn.functional.max_pool2d(batch.mask.clamp_min(0.0), 5, stride=1, padding=2)
    weight = (1 - 0.95 * near) * torch.where(batch.mask < 0, 0.1, 1.0)
    scale = batch.truth.shape[-1] // batch.observed.shape[-1]
    if scale > 1:
        weight = torch.nn.functional.interpolate(weight, scale_factor=scale, mode="nearest")
    return weight


def _build(config: TrainConfig) -> WienerUNet:
    return WienerUNet(scale=config.scale, outputs=config.outputs, **config.architecture)


def load_checkpoint(path: Path, config: TrainConfig, device: str) -> TrainState[WienerUNet]:
    """Load the state of a run from ``path``; a missing file gives a fresh state."""
    state = fresh_state(lambda: _build(config), config.learning_rate, device, config.seed)
    load_state(state, path, device)
    return state


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = True,
    device: str = "cpu",
    seconds: float | None = None,
    init: str | Path | None = None,
    freeze: Sequence[str] = (),
    textures: str | Path | None = None,
    optics: str | Path | None = None,
    psfs: str | Path | None = None,
    save_every: int = 500,
    log: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train a network.

    Parameters
    ----------
    config : TrainConfig
        The run.
    out : str or Path
        Folder for the checkpoint, the configuration and the log; made if it is missing.
    resume : bool
        Go on from the checkpoint in ``out`` if there is one.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    seconds : float, optional
        Stop (resumably) after so many seconds.
    init : str or Path, optional
        Checkpoint of another run, or weights of a model, to start from; tensors of other shapes
        start fresh.
    freeze : sequence of str
        Names of parameters that keep their values, with ``*`` for any characters.
    textures : str or Path, optional
        Folder of pictures that serve as nebulae in four of ten of them; simulation alone otherwise.
    optics : str or Path, optional
        Folder where the bank of PSFs is kept, which several runs may share; ``out`` by default.
    psfs : str or Path, optional
        Folder of images of measured PSFs that take part, see `training.measured_psfs`.
    save_every : int
        Steps between checkpoints.
    log : callable, optional
        Receives a dict with ``step``, ``loss``, ``learning_rate``, ``patches_per_second``,
        ``seconds_left``.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    InputError
        If ``init`` is missing, or ``textures`` or ``psfs`` holds nothing that can be used.
    """
    out = Path(out)
    load = partial(load_checkpoint, config=config, device=device)
    state = open_run(out, load, resume=resume, init=init)
    write_config(config, out / "config.toml")

    scenes = config.scene_config()
    folder = out if optics is None else Path(optics)
    folder.mkdir(parents=True, exist_ok=True)
    observation = observation_with_bank(config, folder, psfs=psfs)
    if observation.bank is not None:
        observation = replace(observation, bank=observation.bank.to(device))
    if textures is not None:
        pictures = load_textures(textures, scenes.size * OVERSAMPLE)
        scenes = replace(scenes, textures=tuple(p.to(device) for p in pictures))
    rng = torch.Generator(device).manual_seed(config.seed * 1_000_003 + state.step)
    pool = torch.stack([make_planes(scenes, config.planes, rng) for _ in range(config.pool_size)])
    loss_function = config.build_loss().to(device)
    use_bfloat16 = has_bfloat16(device)

    def loss_of(_stage: int) -> Tensor:
        for _ in range(config.pool_refresh):
            place = int(torch.randint(config.pool_size, (1,), generator=rng, device=device))
            pool[place] = make_planes(scenes, config.planes, rng)
        pick = torch.randint(config.pool_size, (config.batch_size,), generator=rng, device=device)
        batch = observe(pool[pick].flatten(0, 1), observation, rng)
        output = restore_batch(state.net, batch, autocast=use_bfloat16)
        loss: Tensor = loss_function(output, batch.truth, pixel_weight(batch))
        return loss

    return optimise(
        state,
        [replace(config.pace(), freeze=tuple(freeze))],
        loss_of,
        out,
        config=asdict(config),
        patches=config.batch_size,
        ema=config.ema,
        seconds=seconds,
        save_every=save_every,
        log=log,
    )
