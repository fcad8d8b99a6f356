"""The commands stretch and unstretch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.every_image import process_file
from astro_sr_plugin.cli.options import (
    DTYPES,
    Commands,
    add_command,
    add_image_options,
    check_inputs,
)
from astro_sr_plugin.cli.outputs import plan_outputs

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_NAMES = ("mtf", "asinh", "ghs", "log", "gamma")


def add_commands(commands: Commands) -> None:
    """Add stretch and unstretch."""
    parser = add_command(
        commands,
        "stretch",
        _stretch,
        usage="stretch INPUT... -o OUTPUT",
        summary="Stretch an image for display, invertibly: the curve is kept in the header.",
        details="Nothing is clipped: below black is negative, above white is more than 1.",
        examples="  astro-sr stretch stack.fits -o shown.fits\n"
        "  astro-sr stretch stack.fits -o shown.fits --name ghs --set local_intensity=5\n"
        "  astro-sr stretch rgb.fits -o shown.fits --unlinked",
    )
    add_image_options(parser)
    group = parser.add_argument_group("curve")
    group.add_argument(
        "--name", choices=_NAMES, default="mtf", help="family of curves (default: mtf)"
    )
    group.add_argument(
        "--unlinked", action="store_true", help="a curve for each colour channel, not one for all"
    )
    group.add_argument(
        "--set",
        dest="parameters",
        action="append",
        default=[],
        type=_parameter,
        metavar="NAME=NUMBER",
        help="a parameter instead of its fitted or usual value; may be repeated",
    )
    _add_dtype(parser, "float64, which undoes best")
    parser = add_command(
        commands,
        "unstretch",
        _unstretch,
        usage="unstretch INPUT... -o OUTPUT",
        summary="Undo 'astro-sr stretch' by the numbers in the header.",
        examples="  astro-sr unstretch shown.fits -o linear.fits",
    )
    add_image_options(parser)
    _add_dtype(parser, "float32 if the image was float32 before the stretch, else float64")


def _add_dtype(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--dtype", choices=DTYPES, help=f"number format of the output (default: {default})"
    )


def _parameter(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        return name.strip().replace("-", "_"), float(value)
    except ValueError as error:
        reason = "is not NAME=NUMBER" if equals else "has no '='; give NAME=NUMBER"
        msg = f"{text!r} {reason}"
        raise argparse.ArgumentTypeError(msg) from error


def _stretch(args: argparse.Namespace, console: Console) -> None:
    def work(image: CCDData) -> CCDData:
        return asr.apply_stretch(
            image, args.name, linked=not args.unlinked, **dict(args.parameters)
        )

    _run(args, console, work, "stretched")


def _unstretch(args: argparse.Namespace, console: Console) -> None:
    _run(args, console, asr.undo_stretch, "linear")


def _run(
    args: argparse.Namespace, console: Console, work: Callable[[Any], CCDData], ending: str
) -> None:
    check_inputs(args.inputs)
    outputs = plan_outputs(args.inputs, args.output, ending=ending, overwrite=args.overwrite)
    for source, target in zip(args.inputs, outputs, strict=True):
        start = time.perf_counter()
        header = next(iter(process_file(work, source, target, args).values()))
        curve = {key: value for key, value in header.items() if key.startswith("ASRSTR")}
        curve.pop("ASRSTREN", None)
        seconds = time.perf_counter() - start
        console.record(input=source, output=target, **curve, seconds=round(seconds, 3))
        console.say(f"{target}: {ending}, {seconds:.1f} s")
