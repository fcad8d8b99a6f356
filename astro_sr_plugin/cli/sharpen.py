"""Command that sharpens stacks of planets, the Moon and the Sun: sharpen."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

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

__all__ = ["METHOD_HELP", "add_commands"]

METHOD_HELP = (
    "wavelet:GAIN,... (factors of the layers from the finest, each perhaps with its threshold in "
    "sigma, 3@4), unsharp:SIGMA,AMOUNT, laplace:SIGMA,AMOUNT, kernel:AMOUNT, rl:FWHM,ITERATIONS or "
    "wiener:FWHM,RATIO; the name alone takes the usual values, and fits the FWHM"
)
"""How a method and its numbers are given."""


def add_commands(commands: Commands) -> None:
    """Add sharpen."""
    parser = add_command(
        commands,
        "sharpen",
        _sharpen,
        usage="sharpen INPUT... -o OUTPUT",
        summary="Sharpen a stack of a planet, the Moon or the Sun.",
        details="Linear in the light; nothing is clipped. For images with stars, use deconvolve.",
        examples="  astro-sr sharpen jupiter.fits -o sharp.fits\n"
        "  astro-sr sharpen jupiter.fits -o sharp.fits --method wavelet:4,3,1.5\n"
        "  astro-sr sharpen moon.fits -o sharp.fits --method rl:3.5,20",
    )
    add_image_options(parser)
    group = parser.add_argument_group("sharpening")
    group.add_argument("--method", default="wavelet", metavar="METHOD", help=METHOD_HELP)
    group.add_argument("--dtype", choices=DTYPES, help="number format of the output (float32)")


def _sharpen(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.stacking.planetary.sharpening import parse_method

    check_inputs(args.inputs)
    method, parameters = parse_method(args.method)
    outputs = plan_outputs(args.inputs, args.output, ending="sharp", overwrite=args.overwrite)

    def work(image: CCDData) -> CCDData:
        return asr.sharpen(image, method, **parameters)

    for source, target in zip(args.inputs, outputs, strict=True):
        start = time.perf_counter()
        process_file(work, source, target, args)
        seconds = time.perf_counter() - start
        console.record(input=source, output=target, method=args.method, seconds=round(seconds, 3))
        console.say(f"{target}: sharpened by {args.method}, {seconds:.1f} s")
