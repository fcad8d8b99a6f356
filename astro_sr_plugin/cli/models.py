"""The ``models`` command: what can be given to ``--model``, and how a trained run becomes one."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, add_reporting_options
from astro_sr_plugin.cli.training import add_run_options, read_run, refuse_useless, train_run
from astro_sr_plugin.data.output import check_folder, check_place, make_folder

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console
    from astro_sr_plugin.training.config import TrainConfig
    from astro_sr_plugin.training.pictures.config import PictureConfig

__all__ = ["add_commands"]

_DOMAINS = {"noise-sigma": "linear", "unit": "pictures"}
"""Images that a model works on, in a word: linear ones in units of the noise, or pictures."""


def add_commands(commands: Commands) -> None:
    """Add ``models list``, ``models show``, ``models export`` and ``models make``."""
    parser = commands.add_parser(
        "models",
        help="List the models, show one, or make one of a trained run.",
        description="List the models, show one, or make one of a trained run.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    every = add_command(
        actions, "list", _list, usage="models list", summary="List the models, one a line."
    )
    show = add_command(
        actions,
        "show",
        _show,
        usage="models show NAME|FILE",
        summary="Show all that is known of one model.",
        examples="  astro-sr models show NAME --json\n  astro-sr models show RealESRGAN_x4plus.pth",
    )
    show.add_argument(
        "name", metavar="NAME|FILE", help="a name of 'astro-sr models list', or a weights file"
    )
    for parser in (every, show):
        parser.add_argument(
            "--speed",
            action="store_true",
            help="measure on this machine how many seconds a million pixels take",
        )
        parser.add_argument(
            "--device",
            default="auto",
            metavar="auto|cpu|cuda|mps",
            help="where the speed is measured",
        )
        add_reporting_options(parser)
    export = add_command(
        actions,
        "export",
        _export,
        usage="models export FOLDER -o FOLDER | NAME --onnx FILE",
        summary="Write the network of a trained run as weights and card, or one as an ONNX file.",
        examples="  astro-sr models export runs/mine -o .\n"
        "  astro-sr denoise stack.fits -o clean.fits --model mine.safetensors\n"
        "  astro-sr models export denoise-fast --onnx denoise.onnx",
    )
    export.add_argument(
        "source",
        metavar="FOLDER|NAME",
        help="what train --out made; with --onnx a name of 'astro-sr models list', or a weights "
        "file of this project",
    )
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="an existing folder")
    target.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="write the network for images of any size, with its card in the metadata (needs pip "
        "install 'astro_sr_plugin[onnx]')",
    )
    export.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="pictures that a network for display images was trained on, whom the card credits",
    )
    export.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_reporting_options(export)
    make = add_command(
        actions,
        "make",
        _make,
        usage="models make CONFIG.toml --out RUN -o FOLDER",
        summary="Train a network, measure it, and write its weights and card, in one go.",
        details="What was stopped goes on with the same command. The card has the command, the\n"
        "data, the seed, the steps and the figures.",
        examples="  astro-sr models make srcnn_x2.toml --pictures pictures --out runs/srcnn -o .",
    )
    add_run_options(make)
    make.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="an existing folder"
    )
    make.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_reporting_options(make)


def _list(args: argparse.Namespace, console: Console) -> None:
    specs = asr.list_models()
    models = [dataclasses.asdict(spec) for spec in specs]
    rows: list[tuple[str, ...]]
    rows = [("NAME", "TASK", "SCALE", "SIZE", "LICENCE", "DOMAIN", "DESCRIPTION")]
    for spec in specs:
        scale, domain = f"x{spec.scale}" if spec.scale > 1 else "", _DOMAINS[spec.domain]
        size = f"{spec.size / 1e6:.1f} MB" if spec.size else ""
        rows.append(
            (spec.name, spec.task, scale, size, spec.license, domain, spec.description.rstrip())
        )
    if args.speed:
        speeds = [_speed(args, spec.name, spec) for spec in specs]
        for model, speed in zip(models, speeds, strict=True):
            model["seconds_per_mpx"] = speed
        shown = ["S/MPX", *(f"{speed:.2g}" for speed in speeds)]
        rows = [(*row[:-1], speed, row[-1]) for row, speed in zip(rows, shown, strict=True)]
    console.record(models=models)
    if not specs:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        console.say(text.rstrip())


def _speed(args: argparse.Namespace, name: str, spec: asr.ModelSpec) -> float:
    """Return the seconds that a model takes for a million pixels on this machine."""
    from astro_sr_plugin.inference.speed import measure_speed

    model = asr.load_model(name, spec.task, spec.scale)
    return float(f"{measure_speed(model, asr.Runtime(device=args.device)):.3g}")


def _show(args: argparse.Namespace, console: Console) -> None:
    specs = _describe(args)
    console.record(name=args.name, models=specs)
    console.say("\n\n".join("\n".join(_table(fields)) for fields in specs))


def _export(args: argparse.Namespace, console: Console) -> None:
    if args.onnx is not None:
        from astro_sr_plugin.models.wiener_unet.export import export_onnx

        check_place(args.onnx, overwrite=args.overwrite)
        file = export_onnx(asr.load_model(args.source), args.onnx)
        console.record(model=args.source, output=file)
        console.say(f"{file}: the network of {args.source}")
        return
    from astro_sr_plugin.training.config import TrainConfig, read_config

    config = read_config(Path(args.source) / "config.toml")
    _check_free(config, args)
    refuse_useless(args, published=not isinstance(config, TrainConfig))
    _write_model(config, Path(args.source), args, console)


def _make(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.training.loop import steps_of

    config = read_run(args)
    _check_free(config, args)
    make_folder(args.out)
    checkpoint, _ = train_run(config, args, console, resume=True)
    step = steps_of(checkpoint)
    if step < config.total_steps:
        console.record(run=args.out, step=step)
        console.say(f"{args.out}: stopped at step {step}; give the command again to go on")
        return
    words = ["astro-sr models make", args.config.name]
    for name in ("pictures", "textures", "psfs", "init"):
        if getattr(args, name) is not None:
            words.append(f"--{name} {getattr(args, name).name}")
    words += ["--freeze", *args.freeze] if args.freeze else []
    command = " ".join([*words, f"--out {args.out.name}"])
    _write_model(config, args.out, args, console, command=command, hardware=args.device)


def _check_free(config: TrainConfig | PictureConfig, args: argparse.Namespace) -> None:
    """Check that weights and card can be written."""
    check_folder(args.output)
    for ending in (".safetensors", ".toml"):
        check_place(args.output / f"{config.name}{ending}", overwrite=args.overwrite)


def _write_model(
    config: TrainConfig | PictureConfig,
    run: Path,
    args: argparse.Namespace,
    console: Console,
    **training: str,
) -> None:
    """Measure the network of a run, and write weights and card."""
    from astro_sr_plugin.training.config import TrainConfig

    if isinstance(config, TrainConfig):
        from astro_sr_plugin.training.evaluate import evaluate_patches, export_model

        figures = evaluate_patches(config, run)
        path = export_model(config, run, args.output, figures=figures, **training)
    else:
        from astro_sr_plugin.training.pictures.evaluate import (
            evaluate_pictures,
            export_picture_model,
        )

        figures = evaluate_pictures(config, run, pictures=args.pictures)
        path = export_picture_model(
            config, run, args.output, pictures=args.pictures, figures=figures, **training
        )
    console.record(run=run, output=path, **figures)
    console.say(f"{path}: weights of {config.name}, with the card beside them")


def _describe(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the fields of the models of a name, or of the model of a file."""
    name, more = args.name, {}
    if Path(name).exists():
        model = asr.load_model(name)
        specs = [model.spec]
        if isinstance(model, asr.ExternalModel):
            more = {"parameters": model.parameters, "value_range": model.value_range}
    else:
        specs = _find(name)
    found = [dataclasses.asdict(spec) | more for spec in specs]
    if args.speed:
        for fields, spec in zip(found, specs, strict=True):
            fields["seconds_per_mpx"] = _speed(args, name, spec)
    return found


def _find(name: str) -> list[asr.ModelSpec]:
    """Return the models of a name; a classical method may have one for each of several tasks."""
    from astro_sr_plugin.exceptions import ModelError

    specs = asr.list_models()
    found = [spec for spec in specs if spec.name == name]
    if not found:
        allowed = sorted({spec.name for spec in specs})
        msg = f"there is no model {name!r}; allowed are {', '.join(allowed)}"
        raise ModelError(msg)
    return found


def _table(fields: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in fields.items():
        title = key.replace("_", " ")
        if isinstance(value, dict) and value:
            lines += [f"{indent}{title}:", *_table(value, indent + "  ")]
        elif value is not None and value not in ("", {}, ()):
            lines.append(f"{indent}{title}: {value}")
    return lines
