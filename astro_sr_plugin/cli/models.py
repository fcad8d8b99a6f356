"""The ``models`` command: what can be given to ``--model``, and how a trained run becomes one."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, add_reporting_options
from astro_sr_plugin.data.output import check_folder, check_place

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``models list``, ``models show`` and ``models export``."""
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
        usage="models show NAME",
        summary="Show all that is known of one model.",
        examples="  astro-sr models show NAME --json",
    )
    show.add_argument("name", metavar="NAME", help="a name of 'astro-sr models list'")
    add_reporting_options(every)
    add_reporting_options(show)
    export = add_command(
        actions,
        "export",
        _export,
        usage="models export FOLDER -o FOLDER",
        summary="Write the network of a trained run as weights and card, for --model.",
        examples="  astro-sr models export runs/mine -o .\n"
        "  astro-sr denoise stack.fits -o clean.fits --model mine.safetensors",
    )
    export.add_argument("run_folder", metavar="FOLDER", type=Path, help="what train --out made")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="an existing folder"
    )
    export.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_reporting_options(export)


def _list(args: argparse.Namespace, console: Console) -> None:
    specs = asr.list_models()
    console.record(models=[dataclasses.asdict(spec) for spec in specs])
    if not specs:
        return
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        scale = f"x{spec.scale}" if spec.scale > 1 else ""
        console.say(
            f"{spec.name:<{width}}  {spec.task:<13}  {scale:<3} {spec.description}".rstrip()
        )


def _show(args: argparse.Namespace, console: Console) -> None:
    specs = [dataclasses.asdict(spec) for spec in _find(args.name)]
    console.record(name=args.name, models=specs)
    console.say("\n\n".join("\n".join(_table(fields)) for fields in specs))


def _export(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.training.config import read_config

    config = read_config(args.run_folder / "config.toml")
    check_folder(args.output)
    target = args.output / f"{config.name}.safetensors"
    for path in (target, target.with_suffix(".toml")):
        check_place(path, overwrite=args.overwrite)
    from astro_sr_plugin.training.evaluate import evaluate_patches, export_model

    figures = evaluate_patches(config, args.run_folder)
    path = export_model(config, args.run_folder, args.output, figures=figures)
    console.record(run=args.run_folder, output=path, **figures)
    console.say(f"{path}: weights of {config.name}, with the card beside them")


def _find(name: str) -> list[Any]:
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
