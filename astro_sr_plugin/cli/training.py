"""Commands that make networks: train, evaluate and simulate."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command
from astro_sr_plugin.data.output import check_place, make_folder
from astro_sr_plugin.exceptions import InputError, OutputError
from astro_sr_plugin.tasks import TASKS

if TYPE_CHECKING:
    from torch import Tensor

    from astro_sr_plugin.cli.console import Console
    from astro_sr_plugin.simulation import Observation
    from astro_sr_plugin.training.config import TrainConfig
    from astro_sr_plugin.training.pictures.config import PictureConfig

__all__ = ["add_commands", "add_run_options", "read_run", "refuse_useless", "train_run"]

_ERROR_STEPS = 1200
"""Default number of steps of a network of uncertainties: those of the shipped ones."""


def add_commands(commands: Commands) -> None:
    """Add train, evaluate and simulate."""
    parser = add_command(
        commands,
        "train",
        _train,
        usage="train CONFIG.toml --out FOLDER",
        summary="Train a network from one file of settings; stop and resume at will.",
        examples="  astro-sr train deconvolve.toml --out runs/deconvolve\n"
        "  astro-sr train deconvolve.toml --out runs/deconvolve --resume --device cuda\n"
        "  astro-sr train mine.toml --out runs/mine --init runs/deconvolve/checkpoint.pt\n"
        "  astro-sr train srcnn_x2.toml --pictures pictures --init srcnn.pth --out runs/srcnn\n"
        "  astro-sr train deconvolve.toml --uncertainty-of deconvolve-fast --out runs/errors",
    )
    add_run_options(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in FOLDER")
    parser.add_argument(
        "--uncertainty-of",
        metavar="MODEL",
        help="train the network that estimates the uncertainty of this model, on the skies of "
        "CONFIG (default of --steps: 1200)",
    )

    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        usage="evaluate FOLDER",
        summary="Measure the network of a run on images that it never saw.",
        details="The error is that of asinh(x / 3 sigma), in dB, for the network and for the\n"
        "Wiener filter that it starts from; of networks for display images PSNR and SSIM, beside\n"
        "those of their input.",
        examples="  astro-sr evaluate runs/deconvolve --patches 256\n"
        "  astro-sr evaluate runs/srcnn --pictures pictures",
    )
    parser.add_argument("run_folder", metavar="FOLDER", type=Path, help="what train --out made")
    parser.add_argument("--patches", type=int, default=64, help="how many (default: 64)")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="pictures of a run with a 'network', of which those for validation are taken",
    )
    parser.add_argument(
        "--psfs", type=Path, metavar="FOLDER", help="FITS images of measured PSFs that take part"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps")

    parser = add_command(
        commands,
        "simulate",
        _simulate,
        usage="simulate -o FOLDER",
        summary="Write simulated images with their truth, as the networks are trained on.",
        details="Each pair is observed_NNNN.fits and truth_NNNN.fits, in units of the sky noise;\n"
        "psf_NNNN.fits is the PSF that a network is given: the true one with errors.",
        examples="  astro-sr simulate -o pairs --count 10 --task super-resolve --seed 5",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="made if missing"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--count", type=int, default=4, help="number of pairs (default: 4)")
    parser.add_argument(
        "--task", choices=tuple(TASKS), default="deconvolve", help="what the truth is"
    )
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="edge (default: 256)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same images")
    parser.add_argument(
        "--telescopes",
        type=int,
        default=16,
        metavar="N",
        help="simulated telescopes whose PSFs half of the images have; 0: Moffat profiles alone "
        "(default: 16)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG.toml and the options of a training run."""
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="the settings of the run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="checkpoint, settings and log"
    )
    parser.add_argument("--steps", type=int, help="end after this step instead of the settings'")
    parser.add_argument("--seconds", type=float, help="stop, resumably, after this time")
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="start from the checkpoint or weights of another"
    )
    parser.add_argument(
        "--freeze",
        nargs="+",
        default=[],
        metavar="NAME",
        help="parameters that keep their values, such as 'conv1.*'",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="pictures with manifest.csv, for settings with a 'network' of another project",
    )
    parser.add_argument(
        "--textures", type=Path, metavar="FOLDER", help="pictures that serve as nebulae"
    )
    parser.add_argument(
        "--optics",
        type=Path,
        metavar="FOLDER",
        help="where simulated PSFs are kept, for several runs (default: that of --out)",
    )
    parser.add_argument(
        "--psfs", type=Path, metavar="FOLDER", help="FITS images of measured PSFs that take part"
    )
    parser.add_argument(
        "--save-every", type=int, default=500, metavar="STEPS", help="between checkpoints"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps")


def read_run(args: argparse.Namespace) -> TrainConfig | PictureConfig:
    """Return the settings of a run, and check that the options are for it.

    Raises
    ------
    InputError
        If they cannot be read, or an option is of no use.
    """
    from astro_sr_plugin.training.config import TrainConfig, read_config

    config = read_config(args.config)
    if args.steps is not None:
        config = config.with_steps(_positive("--steps", args.steps))
    refuse_useless(args, published=not isinstance(config, TrainConfig))
    return config


def _train(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.training.config import TrainConfig

    config = read_run(args)
    make_folder(args.out)
    used = any(args.out.glob("checkpoint*")) or any(args.out.glob("errors.pt"))
    if used and not args.resume:
        msg = f"output folder {str(args.out)!r} holds a run already; give --resume to go on with it"
        raise OutputError(msg)
    if args.uncertainty_of is not None:
        assert isinstance(config, TrainConfig)
        _train_errors(args, config, console)
        return
    start = time.perf_counter()
    checkpoint, last = train_run(config, args, console, resume=args.resume)
    seconds = time.perf_counter() - start
    console.record(config=args.config, checkpoint=checkpoint, **last, seconds=round(seconds, 3))
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in last.items())
    console.say(f"{checkpoint}: {figures or 'nothing left to do'}, {seconds:.1f} s")


def train_run(
    config: TrainConfig | PictureConfig,
    args: argparse.Namespace,
    console: Console,
    *,
    resume: bool,
) -> tuple[Path, dict[str, float]]:
    """Train, and show the progress.

    Returns
    -------
    checkpoint : Path
        Where the run is saved.
    last : dict
        The last line of its log; empty if nothing was left to do.
    """
    from astro_sr_plugin.training.config import TrainConfig

    progress = console.progress("steps")
    last: dict[str, float] = {}

    def log(entry: dict[str, float]) -> None:
        last.update(entry)
        if progress is not None:
            progress(int(entry["step"]), config.total_steps)

    common = {
        "resume": resume,
        "device": _device(args.device),
        "seconds": args.seconds,
        "init": args.init,
        "freeze": args.freeze,
        "save_every": _positive("--save-every", args.save_every),
        "log": log,
    }
    if isinstance(config, TrainConfig):
        from astro_sr_plugin.training.trainer import train

        extra = {"textures": args.textures, "optics": args.optics, "psfs": args.psfs}
        return train(config, args.out, **extra, **common), last
    from astro_sr_plugin.training.pictures.trainer import train_pictures

    return train_pictures(config, args.out, pictures=args.pictures, **common), last


def refuse_useless(args: argparse.Namespace, *, published: bool) -> None:
    """Refuse options that the kind of a run has no use for.

    Parameters
    ----------
    args : argparse.Namespace
        Options of the command.
    published : bool
        Whether the run trains a published architecture, for display images.

    Raises
    ------
    InputError
        Names the first of them.
    """
    useless = ("uncertainty_of", "textures", "optics", "psfs") if published else ("pictures",)
    for name in useless:
        if getattr(args, name, None) is not None:
            kind = "with" if published else "without"
            msg = f"--{name.replace('_', '-')} is of no use for settings {kind} a 'network'"
            raise InputError(msg)


def _train_errors(args: argparse.Namespace, config: TrainConfig, console: Console) -> None:
    if any(given is not None for given in (args.init, args.textures, args.optics, args.psfs)):
        msg = (
            "--uncertainty-of takes none of --init, --textures, --optics and --psfs; leave them out"
        )
        raise InputError(msg)
    from astro_sr_plugin.models.wiener_unet.network import NetworkModel
    from astro_sr_plugin.training.errors import train_errors

    steps = args.steps or _ERROR_STEPS
    progress = console.progress("steps")
    start = time.perf_counter()
    model = asr.load_model(args.uncertainty_of)
    if not isinstance(model, NetworkModel):
        msg = f"--uncertainty-of {args.uncertainty_of!r} is no network; classical methods have none"
        raise InputError(msg)
    weights = train_errors(
        model,
        config,
        args.out,
        steps=steps,
        resume=args.resume,
        device=_device(args.device),
        seconds=args.seconds,
        command=f"astro-sr train {args.config.name} --uncertainty-of {args.uncertainty_of} "
        f"--steps {steps} --out {args.out.name}",
        log=lambda entry: None if progress is None else progress(int(entry["step"]), steps),
    )
    seconds = time.perf_counter() - start
    console.record(config=args.config, weights=weights, seconds=round(seconds, 3))
    outcome = "stopped, go on with --resume" if weights is None else str(weights)
    console.say(f"{args.out}: {outcome}, {seconds:.1f} s")


def _evaluate(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.training.config import TrainConfig, read_config

    patches = _positive("--patches", args.patches)
    config = read_config(args.run_folder / "config.toml")
    device = _device(args.device)
    refuse_useless(args, published=not isinstance(config, TrainConfig))
    start = time.perf_counter()
    if isinstance(config, TrainConfig):
        from astro_sr_plugin.training.evaluate import evaluate_patches

        figures = evaluate_patches(
            config, args.run_folder, patches=patches, device=device, psfs=args.psfs
        )
    else:
        from astro_sr_plugin.training.pictures.evaluate import evaluate_pictures

        figures = evaluate_pictures(
            config, args.run_folder, pictures=args.pictures, patches=patches, device=device
        )
    seconds = time.perf_counter() - start
    console.record(run=args.run_folder, patches=patches, **figures, seconds=round(seconds, 3))
    for name, value in figures.items():
        title = name.removesuffix("_db").replace("_", " ")
        figure = f"{value:.2f} dB" if name.endswith("_db") else f"{value:.4g}"
        console.say(f"{title}: {figure}")


def _device(name: str) -> str:
    from astro_sr_plugin.inference.predictor import choose_device
    from astro_sr_plugin.inference.runtime import Runtime

    return choose_device(Runtime(device=name).device)


def _simulate(args: argparse.Namespace, console: Console) -> None:
    count, size = _positive("--count", args.count), _positive("--size", args.size)
    if args.telescopes < 0:
        msg = f"--telescopes {args.telescopes} must be at least 0"
        raise InputError(msg)
    make_folder(args.output)
    names = [
        tuple(f"{part}_{i:04d}.fits" for part in ("observed", "truth", "psf"))
        for i in range(1, count + 1)
    ]
    for name in (name for files in names for name in files):
        check_place(args.output / name, overwrite=args.overwrite)

    import torch

    from astro_sr_plugin.simulation import (
        ObservationConfig,
        SceneConfig,
        make_bank,
        make_scene,
        observe,
    )

    rng = torch.Generator().manual_seed(args.seed)
    bank = make_bank(args.telescopes, args.seed) if args.telescopes else None
    scene, optics = SceneConfig(size=size), ObservationConfig(task=args.task, bank=bank)
    progress = console.progress("pairs")
    for done, files in enumerate(names, start=1):
        seen = observe(make_scene(scene, rng)[None], optics, rng)
        images = (seen.observed[0, 0], seen.truth[0, 0], seen.psf[0])
        for name, pixels in zip(files, images, strict=True):
            _write(pixels, seen, args, args.output / name)
        if progress is not None:
            progress(done, count)
    written = [args.output / name for files in names for name in files]
    console.record(output=args.output, files=written, seed=args.seed, task=args.task)
    console.say(f"{args.output}: {count} pairs of {size} x {size} pixels, seed {args.seed}")


def _write(pixels: Tensor, seen: Observation, args: argparse.Namespace, path: Path) -> None:
    from astropy.io import fits
    from astropy.nddata import CCDData

    header = fits.Header()
    header["OBJECT"] = ("simulated sky", f"seed {args.seed}")
    header["SIMUNIT"] = ("sky sigma", "pixels are in units of the noise of empty sky")
    header["SIMFWHM"] = (float(seen.fwhm), "[pix] star width as a measurement finds it")
    header["SIMBETA"] = (float(seen.beta), "Moffat beta")
    header["SIMELLIP"] = (float(seen.ellipticity), "1 - b/a of stars")
    header["SIMTHETA"] = (float(seen.theta), "[rad] position angle from +x")
    header["SIMTARGT"] = (float(seen.target_fwhm), "[pix] star width in the truth")
    header["SIMCORR"] = (float(seen.noise_correlation), "lag-1 correlation of the noise")
    image = CCDData(pixels.cpu().numpy(), unit="", meta=header)
    asr.write_image(image, path, overwrite=args.overwrite)


def _positive(name: str, value: int) -> int:
    if value < 1:
        msg = f"{name} {value} must be at least 1"
        raise InputError(msg)
    return value
