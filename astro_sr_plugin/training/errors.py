"""Training of the small networks that estimate the uncertainty of a result."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.checkpoint import save_errors
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.wiener_unet.error_net import (
    FWHM_ERRORS,
    LEVELS,
    ErrorNet,
    encode_error_conditions,
)
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.plane_steps import encode_plane
from astro_sr_plugin.simulation import ObservationConfig, SceneConfig, make_planes, observe
from astro_sr_plugin.tasks import TASKS
from astro_sr_plugin.training.config import TrainConfig, to_toml
from astro_sr_plugin.training.log import RunLog
from astro_sr_plugin.training.optics import observation_with_bank

__all__ = ["QUANTILES", "quantile_loss", "train_errors"]

QUANTILES = {0.683: 1.0, 0.90: 1.645, 0.95: 1.96}
"""Coverages, and the half widths in standard deviations that hold so much of a normal one."""

_SIZE = 256
"""Side in input pixels of a simulated patch."""
_CROP = 160
"""Side in input pixels of the part of a patch that a step is trained on."""
_BORDER = 32
"""Input pixels along the edges of a part that do not count: `ERROR_REACH`."""
_POOL = 96
"""Restored patches kept in memory."""
_BATCH = 4
"""Patches per step."""
_SMALL = 1e-4
"""Noise sigma added to errors and deviations before their logarithm."""
_BINS = 4000
"""Pixels of a level of brightness: at most of one patch, at least in all for a factor."""
_LOGGED = 25
"""Steps between two lines of the log."""
_CHECKPOINT = "errors.pt"
_HELD_OUT = (123_456_789, 987_654_321)
"""What is added to the seed for the skies that calibrate, and for those that measure."""


@dataclass(frozen=True)
class _Example:
    """A simulated patch with what a model makes of it; images ``(1, 1, ., .)``."""

    result: Tensor
    observed: Tensor
    mask: Tensor
    truth: Tensor
    conditions: Tensor


class _Examples:
    """Draws simulated patches and runs the model on them."""

    def __init__(
        self,
        model: NetworkModel,
        scenes: SceneConfig,
        optics: ObservationConfig,
        seed: int,
        device: str,
    ) -> None:
        self.model = replace(model, errors=None)
        self.scenes = replace(scenes, size=_SIZE)
        self.optics = replace(optics, edge_probability=0.0, missing_probability=0.0)
        if optics.bank is not None:
            self.optics = replace(self.optics, bank=optics.bank.to(device))
        self.rng = torch.Generator(device).manual_seed(seed)
        self.device = device
        self._drawn: list[_Example] = []

    def draw(self) -> _Example:
        """Return the next plane of a patch."""
        if not self._drawn:
            self._drawn = self._draw_planes()
        return self._drawn.pop(0)

    def _draw_planes(self) -> list[_Example]:
        share = float(torch.rand(1, generator=self.rng, device=self.device))
        low, high = (math.log(error) for error in FWHM_ERRORS)
        fwhm_error = math.exp(low + share * (high - low))
        optics = replace(self.optics, fwhm_error=(fwhm_error, fwhm_error))
        patch = observe(make_planes(self.scenes, optics.planes, self.rng), optics, self.rng)
        spec = self.model.spec
        conditions = [
            Conditions(
                psf=patch.psf[k].cpu().numpy(),
                fwhm=float(patch.fwhm[k]),
                beta=float(patch.beta[k]),
                ellipticity=float(patch.ellipticity[k]),
                target_fwhm=float(patch.target_fwhm[k]),
                noise_correlation=float(patch.noise_correlation[k]),
                fwhm_error=fwhm_error,
            )
            for k in range(optics.planes)
        ]
        whole = replace(conditions[0], others=tuple(conditions[1:]))
        halo = self.model.halo(whole)
        with torch.inference_mode():
            # Scenes and their noise are periodic: no pixel is lost to the halo.
            observed, mask = (
                functional.pad(image.transpose(0, 1), (halo,) * 4, mode="circular")
                for image in (patch.observed, patch.mask)
            )
            result = self.model.prepare(whole, self.device, "float32")(observed, mask)
        scale = None if TASKS[spec.task].keeps_psf else spec.scale
        return [
            _Example(
                result[:, k : k + 1].clone(),
                patch.observed[k : k + 1],
                patch.mask[k : k + 1],
                patch.truth[k : k + 1, -1:],
                encode_error_conditions(encode_plane(own, scale).to(self.device), fwhm_error),
            )
            for k, own in enumerate(conditions)
        ]


def quantile_loss(error: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """Mean pinball loss of the logarithm of ``|error|`` at the three coverages.

    Parameters
    ----------
    error : Tensor
        Result less truth, in noise sigma.
    predicted : Tensor
        Standard deviation that was predicted, of the same shape, above 0.
    weight : Tensor
        How much each pixel counts.

    Returns
    -------
    Tensor
        A number; least where 68.3, 90 and 95 of 100 errors are within 1, 1.645 and 1.96 times the
        prediction.

    Notes
    -----
    Quantiles are those of any rising function of a quantity: in the logarithm, bright and faint
    pixels count alike.
    """
    size, level = torch.log(error.abs() + _SMALL), torch.log(predicted)
    total = error.new_zeros(())
    for coverage, width in QUANTILES.items():
        beyond = size - math.log(width) - level
        pinball = torch.maximum(coverage * beyond, (coverage - 1) * beyond)
        total = total + (weight * pinball).sum() / weight.sum()
    return total / len(QUANTILES)


def _weights(result: Tensor) -> Tensor:
    """Weights that let every level of brightness count, rare ones too."""
    place = _level_of(result)
    counts = torch.bincount(place.flatten(), minlength=len(LEVELS)).clamp_min(1)
    return counts.float().rsqrt()[place]


def _level_of(result: Tensor) -> Tensor:
    """Nearest of `LEVELS`, in the logarithm."""
    logs = torch.tensor(LEVELS, device=result.device).log()
    return torch.bucketize(result.abs().clamp_min(1e-6).log(), (logs[1:] + logs[:-1]) / 2)


def _cropped(example: _Example, scale: int, rng: torch.Generator) -> _Example:
    y, x = (2 * torch.randint((_SIZE - _CROP) // 2, (2,), generator=rng)).tolist()

    def cut(image: Tensor, s: int) -> Tensor:
        return image[..., s * y : s * (y + _CROP), s * x : s * (x + _CROP)]

    return _Example(
        cut(example.result, scale),
        cut(example.observed, 1),
        cut(example.mask, 1),
        cut(example.truth, scale),
        example.conditions,
    )


def train_errors(
    model: NetworkModel,
    config: TrainConfig,
    out: str | Path,
    *,
    steps: int = 1200,
    resume: bool = True,
    device: str = "cpu",
    seconds: float | None = None,
    learning_rate: float = 3e-3,
    save_every: int = 100,
    calibration_patches: int = 64,
    command: str = "",
    log: Callable[[dict[str, float]], None] | None = None,
) -> Path | None:
    """Train, calibrate and write the network that estimates the uncertainty of a model.

    Parameters
    ----------
    model : NetworkModel
        The model, which stays as it is.
    config : TrainConfig
        The run that trained it: where its skies and its seed come from.
    out : str or Path
        Folder for the checkpoint, the log, and at the end the weights and their card.
    steps : int
        Length of the run.
    resume : bool
        Go on from the checkpoint in ``out`` if there is one.
    device : str
        ``"cpu"`` or ``"cuda"``.
    seconds : float, optional
        Stop (resumably) after so many seconds.
    learning_rate : float
        At the beginning; it falls to a hundredth along a cosine.
    save_every : int
        Steps between checkpoints.
    calibration_patches : int
        Skies that set the scale, and as many others that measure the coverage for the card.
    command : str
        What the card says of how to train it again.
    log : callable, optional
        Receives each line of the log as a dict.

    Returns
    -------
    Path or None
        The weights; None if the time ran out before.

    Raises
    ------
    InputError
        If the run is not one for the model's task.
    """
    spec = model.spec
    wanted = (config.task, config.scale, config.planes)
    if wanted != (spec.task, spec.scale, spec.channels_in):
        msg = (
            f"config is for {config.task} (scale {config.scale}, planes {config.planes}), but "
            f"model {spec.name!r} for {spec.task} (scale {spec.scale}, planes {spec.channels_in})"
        )
        raise InputError(msg)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    torch.manual_seed(config.seed)
    net = ErrorNet(model.spec.scale).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-4)
    path, step = out / _CHECKPOINT, 0
    if resume and path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        step = int(saved["step"])
    scenes = config.scene_config()
    seen, unseen = (observation_with_bank(config, out, validation=part) for part in (False, True))
    examples = _Examples(model, scenes, seen, config.seed * 7_000_003 + step, device)
    crops = torch.Generator().manual_seed(config.seed + step)
    record = RunLog(out, steps, log)
    pool: list[_Example] = []
    while step < steps:
        if seconds is not None and time.monotonic() - begun > seconds:
            _save(net, optimizer, step, path)
            return None
        if len(pool) < _POOL:
            pool.append(examples.draw())
        else:
            pool[int(torch.randint(_POOL, (1,), generator=crops))] = examples.draw()
        picked = torch.randint(len(pool), (_BATCH,), generator=crops).tolist()
        loss = _loss(net, [_cropped(pool[k], model.spec.scale, crops) for k in picked])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (0.505 + 0.495 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        record.add(float(loss.detach()), _BATCH)
        if step % _LOGGED == 0 or step == steps:
            record.write(step, optimizer.param_groups[0]["lr"])
        if step % save_every == 0:
            _save(net, optimizer, step, path)
    _save(net, optimizer, step, path)
    net.eval().requires_grad_(False)
    held_out, others = (
        _Examples(model, scenes, unseen, config.seed + shift, device) for shift in _HELD_OUT
    )
    calibrate(net, held_out, calibration_patches)
    figures = measure_coverage(net, others, calibration_patches)
    return _export(model, config, net, out, steps, command, figures)


def _loss(net: ErrorNet, batch: list[_Example]) -> Tensor:
    result, observed, mask, truth, conditions = (
        torch.cat([getattr(example, name) for example in batch])
        for name in ("result", "observed", "mask", "truth", "conditions")
    )
    predicted = net(result, observed, mask, conditions)
    b = _BORDER * net.scale
    inner = (..., slice(b, -b), slice(b, -b))
    result = result[inner]
    return quantile_loss(result - truth[inner], predicted[inner], _weights(result))


def _save(net: ErrorNet, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, part)
    os.replace(part, path)


def _pulls(net: ErrorNet, examples: _Examples, patches: int) -> tuple[Tensor, Tensor]:
    """Return ``|error| / predicted`` and the level of brightness of a sample of pixels."""
    pulls, levels = [], []
    b = _BORDER * net.scale
    inner = (..., slice(b, -b), slice(b, -b))
    with torch.inference_mode():
        for _ in range(patches):
            one = examples.draw()
            predicted = net(one.result, one.observed, one.mask, one.conditions)
            pull = ((one.result - one.truth).abs() / predicted)[inner].flatten()
            level = _level_of(one.result[inner]).flatten()
            for k in range(len(LEVELS)):
                # No single patch decides on a level.
                found = torch.nonzero(level == k).flatten()
                few = found[torch.randperm(len(found), generator=examples.rng)[:_BINS]]
                pulls.append(pull[few])
                levels.append(level[few])
    return torch.cat(pulls), torch.cat(levels)


def calibrate(net: ErrorNet, examples: _Examples, patches: int) -> None:
    """Set the factor of each level of brightness so that the coverages are right on average."""
    net.factors.fill_(1.0)
    pulls, levels = _pulls(net, examples, patches)
    for k in range(len(LEVELS)):
        found = pulls[levels == k]
        if len(found) < _BINS:
            net.factors[k] = net.factors[max(k - 1, 0)]
            continue
        ratios = [torch.quantile(found, q) / width for q, width in QUANTILES.items()]
        net.factors[k] = sum(ratios) / len(ratios)


def measure_coverage(net: ErrorNet, examples: _Examples, patches: int) -> dict[str, float]:
    """Return by how many percent points the coverages are off, at worst and on average."""
    pulls, levels = _pulls(net, examples, patches)
    misses = []
    for k in range(len(LEVELS)):
        found = pulls[levels == k]
        if len(found) >= _BINS:
            misses += [
                abs(100 * float((found < width).float().mean()) - 100 * q)
                for q, width in QUANTILES.items()
            ]
    return {
        "coverage_worst_miss": round(max(misses), 1),
        "coverage_mean_miss": round(sum(misses) / len(misses), 1),
    }


def _export(
    model: NetworkModel,
    config: TrainConfig,
    net: ErrorNet,
    out: Path,
    steps: int,
    command: str,
    figures: dict[str, float],
) -> Path:
    name = model.spec.name
    path = out / f"{name}.safetensors"
    digest = save_errors(net, model.spec, path)
    card: dict[str, Any] = {
        "name": name,
        "task": "uncertainty",
        "description": f"Tells the standard deviation of what {name} returns.",
        "architecture": "ErrorNet",
        "scale": model.spec.scale,
        "license": model.spec.license,
        "sha256": digest,
        "of_sha256": model.spec.sha256,
        "training": {
            "command": command,
            "data": "simulation only; calibrated and measured on skies of other seeds",
            "seed": config.seed,
            "steps": steps,
            "patches": steps,
        },
        "figures": figures,
    }
    path.with_suffix(".toml").write_text(to_toml(card), encoding="utf-8")
    return path
