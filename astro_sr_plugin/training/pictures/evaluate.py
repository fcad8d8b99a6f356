"""From the checkpoint of a network for display images to figures, weights and a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.architectures import describe_published
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.diffusion.residual import ResidualDiffusion
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.training.card import write_model
from astro_sr_plugin.training.loop import CHECKPOINT, VALIDATION_SEED, checkpoint_of
from astro_sr_plugin.training.pictures.colours import colour_errors
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.contaminants import contaminant_figures
from astro_sr_plugin.training.pictures.diffusion import calibrate, sampling_figures
from astro_sr_plugin.training.pictures.files import read_pictures
from astro_sr_plugin.training.pictures.manifest import is_held_out, list_credits, read_manifest
from astro_sr_plugin.training.pictures.source import PatchSource, draw_batch
from astro_sr_plugin.training.pictures.trainer import load_picture_state

__all__ = ["evaluate_pictures", "export_picture_model"]

_FLAT_LEVELS = (0.2, 0.85, 14)
"""Levels of flat images that a network is given: from the sky of a stretched plane to its brightest
pixel, and how many."""
_PLANES = {"Colorizer": (1, 3), "ContaminantNet": (1, len(KINDS))}
"""Planes that networks take and return, where these are not those of the picture."""
_EMPTY_BRIGHTEST = 1000.0
"""Brightest pixel in noise sigma of the image that the empty sky of the measurement belongs to."""


def evaluate_pictures(
    config: PictureConfig,
    run: str | Path,
    *,
    pictures: str | Path | None = None,
    patches: int = 64,
    device: str = "cpu",
) -> dict[str, float]:
    """Measure a checkpoint on patches that its training never saw, on stretched planes.

    Parameters
    ----------
    config : PictureConfig
        The run; its seed is shifted, and the pictures are those kept for validation.
    run : str or Path
        Folder with the checkpoint.
    pictures : str or Path, optional
        Folder of pictures; simulated skies alone otherwise.
    patches : int
        Number of patches.
    device : str
        Where to run.

    Returns
    -------
    dict
        ``psnr_db`` and ``ssim`` of the network (range 1; Wang et al. 2004, Gaussian weights of
        sigma 1.5) and ``input_psnr_db``, ``input_ssim`` of its input, enlarged by bicubic
        interpolation; ``dark_rms`` and ``input_dark_rms``, the error on the empty sky in noise
        sigma; ``flat_response``, the largest change of a flat image of level 0.2 to 0.85. For
        colours what `training.pictures.colours.colour_errors` returns, of pictures alone where
        there are any, for contaminants what
        `training.pictures.contaminants.contaminant_figures` returns, for samples also what
        `training.pictures.diffusion.sampling_figures` returns.

    Raises
    ------
    InputError
        If there is no checkpoint.
    """
    net = load_picture_state(checkpoint_of(run), config, device).mean.eval()
    rng = torch.Generator(device).manual_seed(config.seed + VALIDATION_SEED)
    kept = [] if pictures is None else read_pictures(pictures, validation=True)
    if config.colourises and kept:  # simulated skies are gray by assumption, pictures are not
        source = PatchSource(replace(config, sky_probability=0.0), kept, rng)
    else:
        source = PatchSource(config, kept, rng)
    if config.colourises:
        known = PatchSource(config, [] if pictures is None else read_pictures(pictures), rng)
        figures = colour_errors(net, config, source, known, patches, rng)
        return {name: round(value, 4) for name, value in figures.items()}
    if config.network == "ContaminantNet":
        figures = contaminant_figures(net, config, source, patches, rng)
        return {name: round(value, 4) for name, value in figures.items()}
    sums = dict.fromkeys(("psnr_db", "ssim", "input_psnr_db", "input_ssim"), 0.0)
    done = 0
    with torch.inference_mode():
        while done < patches:
            observed, truth = draw_batch(source, config, len(config.stages) - 1, rng)
            for prefix, result in (
                ("", net(observed)),
                ("input_", enlarge(observed, config.scale)),
            ):
                for name, value in _compare(result[config.inner], truth[config.inner]).items():
                    sums[prefix + name] += value
            done += len(observed)
        figures = {name: total / done for name, total in sums.items()}
        figures |= _on_empty_sky(net, config, rng)
    if isinstance(net, ResidualDiffusion):
        _calibrate(net, config, pictures)
        figures |= sampling_figures(net, config, source, patches, rng)
    return {name: round(value, 4) for name, value in figures.items()}


def _calibrate(net: ResidualDiffusion, config: PictureConfig, pictures: str | Path | None) -> None:
    """Fit the spread of samples on patches of the training, always the same ones."""
    device = str(net.calibration.device)
    rng = torch.Generator(device).manual_seed(config.seed)
    known = [] if pictures is None else read_pictures(pictures)
    calibrate(net, config, PatchSource(config, known, rng), rng)


def enlarge(image: Tensor, scale: int) -> Tensor:
    """Interpolate a batch (bicubic, a = -0.5) to a finer grid."""
    if scale == 1:
        return image
    return F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True)


def _compare(result: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the sums of PSNR and SSIM over a batch."""
    from skimage.metrics import structural_similarity

    sums = {"psnr_db": 0.0, "ssim": 0.0}
    for one, other in zip(result.cpu().double(), truth.cpu().double(), strict=True):
        error = float(((one - other) ** 2).mean())
        sums["psnr_db"] += -10 * float(torch.log10(torch.tensor(max(error, 1e-12))))
        similarity = structural_similarity(
            *(image.numpy() for image in (one, other)),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        sums["ssim"] += float(similarity)
    return sums


def _on_empty_sky(net: nn.Module, config: PictureConfig, rng: torch.Generator) -> dict[str, float]:
    """Measure the noise that is left where there is nothing, and the response to flat images."""
    side = 2 * config.patch // config.scale
    size = (4, config.channels, side, side)
    stretch = DisplayStretch(_EMPTY_BRIGHTEST)
    sky = stretch(torch.randn(size, generator=rng, device=rng.device))
    figures = {}
    for name, result in (("dark_rms", net(sky)), ("input_dark_rms", enlarge(sky, config.scale))):
        light = stretch.inverse(result)[config.inner]
        figures[name] = float(light.square().mean().sqrt())
    levels = torch.linspace(*_FLAT_LEVELS, device=rng.device)
    flat = levels[:, None, None, None].expand(-1, *size[1:])
    change = (net(flat) - enlarge(flat, config.scale))[config.inner]
    return figures | {"flat_response": float(change.abs().max())}


def export_picture_model(
    config: PictureConfig,
    run: str | Path,
    folder: str | Path,
    *,
    pictures: str | Path | None = None,
    figures: Mapping[str, Any] | None = None,
    command: str = "",
    hardware: str = "",
) -> Path:
    """Write the weights of a run and their card.

    Parameters
    ----------
    config : PictureConfig
        The run.
    run : str or Path
        Folder with the checkpoint.
    folder : str or Path
        Where ``<name>.safetensors`` and ``<name>.toml`` go.
    pictures : str or Path, optional
        Folder of the pictures that it was trained on, for their credits in the card.
    figures : mapping, optional
        Measured figures for the card.
    command, hardware : str
        What the card says of the training.

    Returns
    -------
    Path
        The weights file.
    """
    run = Path(run)
    state = load_picture_state(run / CHECKPOINT, config, "cpu")
    if isinstance(state.mean, ResidualDiffusion):
        _calibrate(state.mean, config, pictures)
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in config.architecture.items()}
    spec = describe_published(
        config.network,
        state.mean,
        name=config.name,
        task=config.task,
        description=config.description,
        scale=config.scale,
        channels=_PLANES.get(config.network, (config.channels,) * 2),
        options=options,
    )
    rows = [] if pictures is None else read_manifest(pictures)
    kept = [row for row in rows if not is_held_out(row["object"])]
    data = "simulated skies"
    if kept:
        data += f", and {len(kept)} pictures, split by object: {list_credits(kept)}"
    training = {
        "command": command or f"astro-sr train {config.name}.toml --out {run.name}",
        "data": data,
        "hardware": hardware,
        "seed": config.seed,
        "steps": state.step,
        "patches": state.step * config.batch_size * config.accumulate,
    }
    return write_model(state.mean, spec, folder, training=training, figures=figures)
