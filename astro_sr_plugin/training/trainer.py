"""The training loop: resumable, on any device, from one configuration."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.checkpoint import load_network
from astro_sr_plugin.models.filters import (
    apply_spectra,
    filter_spectra,
    make_wiener_filters,
)
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, as_channels_last, encode_conditions
from astro_sr_plugin.simulation import OVERSAMPLE, Observation, make_scene, observe
from astro_sr_plugin.training.config import TrainConfig, write_config
from astro_sr_plugin.training.losses import RestorationLoss
from astro_sr_plugin.training.optics import observation_with_bank
from astro_sr_plugin.training.textures import load_textures

__all__ = ["TrainState", "pixel_weight", "restore_batch", "train"]

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainState:
    """What a run needs to go on: network, running mean, optimiser, step."""

    net: WienerUNet
    mean: WienerUNet
    optimizer: torch.optim.Optimizer
    step: int = 0


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


def _learning_rate(config: TrainConfig, step: int) -> float:
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    half = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.final_learning_rate + half * (config.learning_rate - config.final_learning_rate)


def _has_bfloat16(device: str) -> bool:
    """Return whether the device computes in bfloat16; emulated, it is many times slower."""
    if device == "cpu":
        # There is no public question for it, and none at all before torch 2.6.
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return asked is not None and bool(asked())
    return device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)


def _save(state: TrainState, config: TrainConfig, out: Path) -> None:
    part = out / (CHECKPOINT + ".part")
    torch.save(
        {
            "net": state.net.state_dict(),
            "mean": state.mean.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "config": asdict(config),
        },
        part,
    )
    os.replace(part, out / CHECKPOINT)


def _build(config: TrainConfig) -> WienerUNet:
    return WienerUNet(scale=config.scale, outputs=config.outputs, **config.architecture)


def load_checkpoint(path: Path, config: TrainConfig, device: str) -> TrainState:
    """Load the state of a run from ``path``; a missing file gives a fresh state."""
    torch.manual_seed(config.seed)
    net, mean = _build(config).to(device), _build(config).to(device)
    as_channels_last(net)
    mean.load_state_dict(net.state_dict())
    mean.requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    state = TrainState(net, mean, optimizer)
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        mean.load_state_dict(saved["mean"])
        optimizer.load_state_dict(saved["optimizer"])
        state.step = int(saved["step"])
    return state


def initialise(state: TrainState, init: str | Path) -> None:
    """Copy every tensor whose name and shape agree from a checkpoint or a weights file."""
    path = Path(init)
    if not path.exists():
        msg = (
            f"init {str(path)!r} does not exist; give the {CHECKPOINT} of another run, or the "
            ".safetensors file of a model"
        )
        raise InputError(msg)
    if path.suffix == ".safetensors":
        other = load_network(path).net.state_dict()
    else:
        other = torch.load(path, map_location="cpu", weights_only=True)["mean"]
    own = state.net.state_dict()
    fitting = {k: v for k, v in other.items() if k in own and own[k].shape == v.shape}
    state.net.load_state_dict(own | fitting)
    state.mean.load_state_dict(state.net.state_dict())


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = True,
    device: str = "cpu",
    seconds: float | None = None,
    init: str | Path | None = None,
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
    textures : str or Path, optional
        Folder of pictures that serve as nebulae in four of ten of them; simulation alone otherwise.
    optics : str or Path, optional
        Folder where the bank of PSFs is kept, which several runs may share; ``out`` by default.
    psfs : str or Path, optional
        Folder of images of measured PSFs that take part, see `training.measured_psfs`.
    save_every : int
        Steps between checkpoints.
    log : callable, optional
        Receives a dict with ``step``, ``loss``, ``learning_rate``, ``patches_per_second``.

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
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    if not resume:
        checkpoint.unlink(missing_ok=True)
    state = load_checkpoint(checkpoint, config, device)
    if init is not None and state.step == 0:
        initialise(state, init)
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
    pool = torch.stack([make_scene(scenes, rng) for _ in range(config.pool_size)])
    loss_function = RestorationLoss().to(device)
    use_bfloat16 = _has_bfloat16(device)
    begun = time.monotonic()
    running, since, last = 0.0, 0, begun
    while state.step < config.steps:
        if seconds is not None and time.monotonic() - begun > seconds:
            break
        for _ in range(config.pool_refresh):
            place = int(torch.randint(config.pool_size, (1,), generator=rng, device=device))
            pool[place] = make_scene(scenes, rng)
        pick = torch.randint(config.pool_size, (config.batch_size,), generator=rng, device=device)
        batch = observe(pool[pick], observation, rng)
        rate = _learning_rate(config, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        output = restore_batch(state.net, batch, autocast=use_bfloat16)
        loss = loss_function(output, batch.truth, pixel_weight(batch))
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
        state.optimizer.step()
        state.step += 1
        decay = min(config.ema, state.step / (state.step + 20))
        with torch.no_grad():
            for kept, new in zip(state.mean.parameters(), state.net.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        running, since = running + float(loss.detach()), since + 1
        if state.step % 50 == 0 or state.step == config.steps:
            now = time.monotonic()
            entry = {
                "step": state.step,
                "loss": running / since,
                "learning_rate": rate,
                "patches_per_second": since * config.batch_size / (now - last),
            }
            with (out / "log.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
            if log is not None:
                log(entry)
            running, since, last = 0.0, 0, now
        if state.step % save_every == 0:
            _save(state, config, out)
    _save(state, config, out)
    return checkpoint
