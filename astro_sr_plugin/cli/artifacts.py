"""The ``remove-artifacts`` command."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.every_image import process_file
from astro_sr_plugin.cli.figures import figures_of
from astro_sr_plugin.cli.options import (
    Commands,
    add_command,
    add_image_options,
    add_model_options,
    add_pixel_options,
    check_inputs,
    chosen_model,
    make_runtime,
)
from astro_sr_plugin.cli.outputs import plan_outputs

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_COUNTS = {
    "ASRARTIF": "artifacts",
    "ASRTRAIL": "trails",
    "ASRCOSMI": "cosmic_rays",
    "ASRCOLUM": "columns",
    "ASRGHOST": "ghosts",
    "ASRDOT": "dots",
}
"""Header keywords of how many artefacts were filled, and the names of these figures."""


def add_commands(commands: Commands) -> None:
    """Add remove-artifacts."""
    parser = add_command(
        commands,
        "remove-artifacts",
        _remove,
        usage="remove-artifacts INPUT... -o OUTPUT",
        summary="Find reflections, trails, cosmic rays and other artefacts, and fill them.",
        details="Templates find artefacts of one shape; what looks more like a star or a galaxy\n"
        "stays. The network of --method unet finds trails, cosmic rays, columns, ghosts and dots.\n"
        "Filled pixels are masked in the result, and the header counts them.",
        examples="  astro-sr remove-artifacts stack.fits -o clean.fits\n"
        "  astro-sr remove-artifacts frame.fits -o clean.fits --method unet\n"
        "  astro-sr remove-artifacts frame.fits -o clean.fits --method unet --kind trail\n"
        "  astro-sr remove-artifacts stack.fits -o clean.fits --template dot.fits --diameter 9 12\n"
        "  astro-sr remove-artifacts rgb.fits -o clean.fits --colour 1 0.1 0.1",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    parser.add_argument(
        "--method",
        choices=("template", "unet"),
        default="template",
        help="how artefacts are found (default: template)",
    )
    group = parser.add_argument_group("templates")
    group.add_argument(
        "--template",
        nargs="+",
        default=["disc", "ring"],
        metavar="NAME|FILE",
        help="'disc', 'ring', or an image of an artefact that fills it (default: disc ring)",
    )
    group.add_argument(
        "--diameter", nargs="+", type=float, metavar="PX", help="sizes that are tried, 5 to 64"
    )
    group.add_argument(
        "--colour",
        nargs="+",
        type=float,
        metavar="LIGHT",
        help="light of the artefacts in each plane of a colour image; others stay",
    )
    group.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        help="largest difference of the shares of the light from --colour (default: 0.2)",
    )
    group.add_argument(
        "--false-alarms",
        type=float,
        default=1.0,
        metavar="N",
        help="places of a million of empty sky that may look like a template (default: 1)",
    )
    parser.add_argument_group("network").add_argument(
        "--kind",
        nargs="+",
        metavar="KIND",
        help="what it looks for: trail, cosmic-ray, column, ghost, dot (default: the first three)",
    )
    add_model_options(parser)


def _remove(args: argparse.Namespace, console: Console) -> None:
    check_inputs(args.inputs)
    outputs = plan_outputs(args.inputs, args.output, ending="clean", overwrite=args.overwrite)
    sizes = {} if args.diameter is None else {"diameters": args.diameter}
    model, runtime = chosen_model(args), make_runtime(args, console)
    for source, target in zip(args.inputs, outputs, strict=True):
        start = time.perf_counter()
        found: list[dict[str, Any]] = []

        def remove(image: CCDData, found: list[dict[str, Any]] = found) -> CCDData:
            clean: CCDData = asr.remove_artifacts(
                image,
                method=args.method,
                templates=args.template,
                colour=args.colour,
                tolerance=args.tolerance,
                false_alarms=args.false_alarms,
                kinds=args.kind,
                model=model,
                runtime=runtime,
                force=args.force,
                **sizes,
            )
            counts = {name: clean.meta[key] for key, name in _COUNTS.items() if key in clean.meta}
            found.append(figures_of(clean) | counts)
            return clean

        names = process_file(remove, source, target, args)
        seconds = round(time.perf_counter() - start, 3)
        for name, figures in zip(names, found, strict=True):
            place = {"hdu": name} if name else {}
            console.record(input=source, output=target, **place, **figures, seconds=seconds)
            image = f"{target} {name}".rstrip()
            console.say(f"{image}: artefacts filled: {_counted(figures)}, {seconds:.1f} s")


def _counted(figures: dict[str, Any]) -> str:
    """Return how many artefacts there are, and of which kinds where it is known."""
    kinds = [f"{name} {figures[name]}" for name in list(_COUNTS.values())[1:] if name in figures]
    return f"{figures['artifacts']}" + (f" ({', '.join(kinds)})" if kinds else "")
