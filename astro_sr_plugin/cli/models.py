"""The ``models`` command: what can be given to ``--model``, and what each is good for."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, add_reporting_options

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``models list`` and ``models show``."""
    parser = commands.add_parser(
        "models",
        help="List the models, or show one: its purpose, licence and measured figures.",
        description="List the models, or show one: its purpose, licence and measured figures.",
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
