"""The ``demo`` command: the main job on the sample image, or on one of the user's."""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.enhance import enhance_file
from astro_sr_plugin.cli.options import Commands, add_command, check_inputs, hdu_argument
from astro_sr_plugin.data.output import check_place, make_folder

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_STEPS: dict[str, tuple[str, dict[str, object]]] = {
    "denoise": ("denoised.fits", {}),
    "deconvolve": ("sharp.fits", {}),
    "super_resolve": ("x2.fits", {"scale": 2}),
}


def add_commands(commands: Commands) -> None:
    """Add demo."""
    parser = add_command(
        commands,
        "demo",
        _demo,
        usage="demo [INPUT]",
        summary="Measure, denoise, sharpen and upscale the sample image, with a picture of it.",
        examples="  astro-sr demo\n  astro-sr demo stack.fits -o results/",
    )
    parser.add_argument(
        "input", metavar="INPUT", type=Path, nargs="?", help="your own image instead of the sample"
    )
    parser.add_argument("--hdu", type=hdu_argument, metavar="N|NAME", help="FITS extension to read")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("demo_output"),
        metavar="FOLDER",
        help="where the results go; made if it does not exist (default: demo_output)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps")
    parser.set_defaults(model=None, dtype=None, tile_size=None, overlap=None)
    parser.set_defaults(debayer=None, cfa_pattern=None, force=False)


def _demo(args: argparse.Namespace, console: Console) -> None:
    if args.input is not None:
        check_inputs([args.input])
        _run(args.input, args, console)
        return
    sample = files("astro_sr_plugin") / "data" / "samples" / "abell671_crop.fits"
    with as_file(sample) as path:
        _run(path, args, console)


def _run(source: Path, args: argparse.Namespace, console: Console) -> None:
    folder: Path = args.output
    _prepare(folder, overwrite=args.overwrite)
    image = asr.read_image(source, hdu=args.hdu)
    quality = asr.measure(image)
    console.record(input=source, measured=quality.to_dict())
    console.say(f"{source}\n{quality.to_text()}\n")
    for verb, (name, options) in _STEPS.items():
        enhance_file(source, folder / name, verb, args, console, **options)
    sharp = asr.read_image(folder / "sharp.fits")
    console.say(f"\nThe sharpened image, measured again:\n{asr.measure(sharp).to_text()}\n")
    from astro_sr_plugin.report.picture import write_before_after_png

    picture = folder / "before_after.png"
    large = asr.read_image(folder / "x2.fits")
    write_before_after_png(asr.compare(image, large, measured=quality), picture)
    console.record(picture=picture)
    console.say(f"Results: {', '.join(str(folder / name) for name, _ in _STEPS.values())}")
    console.say(f"Picture: {picture}")


def _prepare(folder: Path, *, overwrite: bool) -> None:
    make_folder(folder)
    for name, _ in _STEPS.values():
        check_place(folder / name, overwrite=overwrite)
    check_place(folder / "before_after.png", overwrite=overwrite)
