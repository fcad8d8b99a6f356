"""The ``colorize`` command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from astro_sr_plugin.cli.enhance import enhance_file
from astro_sr_plugin.cli.options import (
    Commands,
    add_command,
    add_image_options,
    add_model_options,
    add_pixel_options,
    check_inputs,
)
from astro_sr_plugin.cli.outputs import plan_outputs

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add colorize."""
    parser = add_command(
        commands,
        "colorize",
        _colorize,
        usage="colorize INPUT... -o OUTPUT",
        summary="Give a gray image synthetic colours; the mean of the planes stays that image.",
        details="The colours are what a network finds likely. They are not measured, and the\n"
        "header says so (ASRSYNCO). The sky stays gray.",
        examples="  astro-sr colorize luminance.fits -o colours.fits\n"
        "  astro-sr colorize luminance.fits -o colours.fits --saturation 2",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    group = parser.add_argument_group("colours")
    group.add_argument(
        "--saturation",
        type=float,
        default=1.0,
        help="0 (gray) to 3; 1 is what the network returns (default: 1)",
    )
    add_model_options(parser)


def _colorize(args: argparse.Namespace, console: Console) -> None:
    check_inputs(args.inputs)
    outputs = plan_outputs(args.inputs, args.output, ending="colours", overwrite=args.overwrite)
    for source, target in zip(args.inputs, outputs, strict=True):
        enhance_file(source, target, "colorize", args, console, saturation=args.saturation)
