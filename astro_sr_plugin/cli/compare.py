"""The ``compare`` command: a picture or a page of before and after."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, add_hdu_options, check_inputs
from astro_sr_plugin.data.output import check_place
from astro_sr_plugin.exceptions import OutputError

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_PAGES = (".html", ".htm")
_SUFFIXES = (".png", *_PAGES)

_DETAILS = """\
The page (.html) is one file that needs no network: the whole field under a slider and a blink
button, crops, histograms, power spectra, and the photometry of isolated stars. The picture (.png)
shows the whole field and the crops. AFTER may have more pixels, by a whole factor."""


def add_commands(commands: Commands) -> None:
    """Add compare."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        usage="compare BEFORE AFTER [-o OUTPUT]",
        summary="Show two images of one field beside each other, in the same stretch.",
        details=_DETAILS,
        examples="  astro-sr compare stack.fits sharp.fits\n"
        "  astro-sr compare stack.fits big.fits -o compare.png\n"
        "  astro-sr compare stack.fits big.fits -o compare.html --crop 310,420 --crop 95,60",
    )
    parser.add_argument("before", metavar="BEFORE", type=Path, help="image file")
    parser.add_argument("after", metavar="AFTER", type=Path, help="image file, may be larger")
    group = parser.add_argument_group("files")
    add_hdu_options(group)
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        help="a .png picture, an .html page, or a folder for both (default: both here, "
        "AFTER_compare.html and .png)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace an existing output")
    group = parser.add_argument_group("view")
    group.add_argument(
        "--stretch",
        choices=("mtf", "asinh", "ghs", "log", "gamma"),
        default="mtf",
        help="display curve, fitted to BEFORE and used for both (default: mtf)",
    )
    group.add_argument(
        "--crop",
        dest="crops",
        action="append",
        type=_position,
        metavar="X,Y",
        help="centre of a crop in pixels of BEFORE, counted from 0; up to six (default: chosen)",
    )
    group.add_argument(
        "--crop-size", type=int, default=64, metavar="PX", help="edge of the crops (default: 64)"
    )
    group.add_argument(
        "--labels", nargs=2, metavar=("BEFORE", "AFTER"), help="titles (default: the file names)"
    )


def _position(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        msg = f"{text!r} is not X,Y"
        raise argparse.ArgumentTypeError(msg) from None
    return x, y


def _compare(args: argparse.Namespace, console: Console) -> None:
    outputs = _outputs(args.output, args.after)
    check_inputs([args.before, args.after])
    for output in outputs:
        check_place(output, overwrite=args.overwrite)
    before = asr.read_image(args.before, hdu=args.hdu)
    after = asr.read_image(args.after, hdu=args.after_hdu)
    from astro_sr_plugin.report.page import write_before_after_html
    from astro_sr_plugin.report.picture import write_before_after_png

    view: dict[str, Any] = {
        "stretch": args.stretch,
        "crops": args.crops,
        "crop_size": args.crop_size,
        "labels": tuple(args.labels or (args.before.name, args.after.name)),
    }
    found = asr.compare(before, after)
    for output in outputs:
        page = output.suffix.lower() in _PAGES
        (write_before_after_html if page else write_before_after_png)(found, output, **view)
    names = [str(output) for output in outputs]
    console.record(
        before=args.before,
        after=args.after,
        output=names[0] if len(names) == 1 else names,
        **found.to_dict(),
    )
    console.say(found.to_text())
    console.say("\n".join(names))


def _outputs(output: Path | None, after: Path) -> list[Path]:
    if output is None or output.is_dir():
        folder = output or Path()
        return [folder / f"{after.stem}_compare{suffix}" for suffix in (".html", ".png")]
    if output.suffix.lower() not in _SUFFIXES:
        msg = f"output {str(output)!r} must end in .png or .html, or be an existing folder"
        raise OutputError(msg)
    return [output]
