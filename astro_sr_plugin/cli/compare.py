"""The ``compare`` command: a picture or a page of before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, check_inputs, hdu_argument
from astro_sr_plugin.cli.outputs import check_output
from astro_sr_plugin.exceptions import OutputError

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add compare."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        usage="compare BEFORE AFTER -o OUTPUT",
        summary="Show two images of one field beside each other, in the same stretch.",
        examples="  astro-sr compare stack.fits sharp.fits -o compare.png\n"
        "  astro-sr compare stack.fits big.fits -o compare.html",
    )
    parser.add_argument("before", metavar="BEFORE", type=Path, help="image file")
    parser.add_argument("after", metavar="AFTER", type=Path, help="image file, may be larger")
    parser.add_argument("--hdu", type=hdu_argument, metavar="N|NAME", help="FITS extension to read")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="a .png picture or an .html page"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _compare(args: argparse.Namespace, console: Console) -> None:
    suffix = args.output.suffix.lower()
    if suffix not in (".png", ".html", ".htm"):
        msg = f"output {str(args.output)!r} must end in .png or .html"
        raise OutputError(msg)
    check_inputs([args.before, args.after])
    check_output(args.output, overwrite=args.overwrite)
    before, after = (asr.read_image(path, hdu=args.hdu) for path in (args.before, args.after))
    from astro_sr_plugin.report import write_before_after_html, write_before_after_png

    write = write_before_after_png if suffix == ".png" else write_before_after_html
    write(before, after, args.output)
    console.record(before=args.before, after=args.after, output=args.output)
    console.say(f"{args.output}: before and after")
