"""Command that stacks videos of planets, the Moon and the Sun: planetary."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import DTYPES, Commands, add_command
from astro_sr_plugin.cli.outputs import check_not_input
from astro_sr_plugin.cli.sharpen import METHOD_HELP
from astro_sr_plugin.data.output import check_place, writing
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astropy.table import Table

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_COLOURS = ("#1b6ca8", "#a8401b", "#62b0e8", "#f0986b")
"""Colours of the curves: sharpness and noise, before and after the sharpening."""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Number of frames</title><style>
body {{ font: 15px sans-serif; max-width: 50em; margin: 2em auto; }}
.chart {{ font-size: 12px; }} .chart .grid {{ stroke: #ddd; }}
</style></head><body><h1>Sharpness and noise against the number of frames</h1>
{chart}</body></html>
"""
"""The page of the study."""


def add_commands(commands: Commands) -> None:
    """Add planetary."""
    parser = add_command(
        commands,
        "planetary",
        _planetary,
        usage="planetary INPUT -o OUTPUT",
        summary="Stack the best frames of a video of a planet, the Moon or the Sun.",
        details="INPUT is a SER, AVI or MP4 file, a FITS cube or a folder of images. Frames that\n"
        "cannot be used are left out, and the table says why. The stack is linear; --sharpen\n"
        "writes a second file beside it. The rotation of a planet is not taken out.",
        examples="  astro-sr planetary jupiter.ser -o jupiter.fits --sharpen wavelet\n"
        "  astro-sr planetary moon.avi -o moon.fits --keep 20% --table frames.csv\n"
        "  astro-sr planetary saturn.ser -o saturn.fits --points off --drizzle 1.5",
    )
    parser.add_argument("input", metavar="INPUT", type=Path, help="video file or folder")
    group = parser.add_argument_group("files")
    group.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUTPUT", help="the stack"
    )
    group.add_argument(
        "--table", type=Path, metavar="FILE", help="write the table of the frames, a .csv file"
    )
    group.add_argument("--overwrite", action="store_true", help="replace existing files")
    group.add_argument("--dtype", choices=DTYPES, help="number format of the output (float32)")
    group.add_argument(
        "--cfa-pattern",
        metavar="RGGB",
        help="filters of raw colour frames from the first pixel, where the file does not know them",
    )
    group.add_argument(
        "--byte-order",
        choices=("auto", "little", "big"),
        default="auto",
        help="order of the bytes of a SER file of more than 8 bits (default: found in its pixels)",
    )
    group = parser.add_argument_group("stack")
    group.add_argument(
        "--keep", metavar="N|SHARE", help="best frames to stack, as 500 or 20%% (default: all)"
    )
    group.add_argument(
        "--weights",
        choices=("quality", "none"),
        default="quality",
        help="weights of these frames (default: quality)",
    )
    group.add_argument(
        "--points",
        choices=("auto", "off"),
        default="auto",
        help="alignment points; off aligns each frame as a whole (default: auto)",
    )
    group.add_argument(
        "--combine",
        choices=("mean", "median", "sigma"),
        default="mean",
        help="mean, median, or mean without values 3 sigma away (default: mean)",
    )
    group.add_argument(
        "--drizzle",
        type=float,
        default=1.0,
        metavar="SCALE",
        help="drizzle onto a grid 1.5, 2 or 3 times finer; needs the package drizzle",
    )
    group.add_argument(
        "--scale-to-largest",
        action="store_true",
        help="scale the discs of all frames to the largest one",
    )
    group = parser.add_argument_group("after the stack")
    group.add_argument(
        "--sharpen",
        metavar="METHOD",
        help="write a sharpened copy too, OUTPUT_sharp: " + METHOD_HELP,
    )
    group.add_argument(
        "--study-count",
        action="store_true",
        help="write sharpness and noise against the number of frames, before and after a fixed "
        "sharpening: OUTPUT_study.csv, and a page with the plot, OUTPUT_study.html",
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="threads (default: all processors; one for small frames)",
    )


def _planetary(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.data.formats.registry import check_output, name_result

    method = sharp = None
    if args.sharpen is not None:
        from astro_sr_plugin.stacking.planetary.sharpening import parse_method

        method = parse_method(args.sharpen)
        sharp = args.output.with_name(name_result(args.output, "sharp"))
    for path in (args.output, sharp):
        if path is not None:
            check_not_input(path, [args.input])
            check_output(path, overwrite=args.overwrite)
    _check_table(args)
    study = _study_files(args)
    start = time.perf_counter()
    result = asr.stack_planetary(
        args.input,
        keep=args.keep,
        weights=args.weights,
        points=args.points,
        combine=args.combine,
        drizzle=args.drizzle,
        scale_to_largest=args.scale_to_largest,
        study=args.study_count,
        pattern=args.cfa_pattern,
        byteorder=args.byte_order,
        scratch=args.output.absolute().parent,
        jobs=args.jobs,
        progress=console.progress("frames"),
    )
    asr.write_image(result.image, args.output, overwrite=args.overwrite, dtype=args.dtype)
    if method is not None and sharp is not None:
        sharpened = asr.sharpen(result.image, method[0], **method[1])
        asr.write_image(sharpened, sharp, overwrite=args.overwrite, dtype=args.dtype)
    if args.table is not None:
        with writing(args.table, overwrite=args.overwrite) as part:
            result.table.write(part, format="ascii.csv", overwrite=True)
    if result.study is not None:
        _write_study(result.study, study, overwrite=args.overwrite)
    _report(result, args, sharp, round(time.perf_counter() - start, 3), console)


def _check_table(args: argparse.Namespace) -> None:
    if args.table is None:
        return
    if args.table.suffix.lower() != ".csv":
        msg = f"--table {str(args.table)!r} must end in .csv"
        raise InputError(msg)
    check_place(args.table, overwrite=args.overwrite)
    check_not_input(args.table, [args.input], "--table")


def _study_files(args: argparse.Namespace) -> list[Path]:
    """Name the table and the plot of ``--study-count``, and check that they can be written."""
    if not args.study_count:
        return []
    from astro_sr_plugin.data.formats.registry import find_suffix

    stem = args.output.name.removesuffix(find_suffix(args.output))
    paths = [args.output.with_name(f"{stem}_study{ending}") for ending in (".csv", ".html")]
    for path in paths:
        check_place(path, overwrite=args.overwrite)
    return paths


def _write_study(study: Table, paths: list[Path], *, overwrite: bool) -> None:
    from astro_sr_plugin.report.charts import Curve, line_chart

    with writing(paths[0], overwrite=overwrite) as part:
        study.write(part, format="ascii.csv", overwrite=True)
    curves = [
        Curve(name.replace("_", ", "), colour, study["frames"].data, study[name].data)
        for name, colour in zip(study.colnames[1:], _COLOURS, strict=True)
    ]
    chart = line_chart(curves, x_label="frames", y_label="over the mean brightness", log_y=True)
    page = _PAGE.format(chart=chart)
    with writing(paths[1], overwrite=overwrite) as part:
        part.write_text(page, encoding="utf-8")


def _report(
    result: asr.PlanetaryResult,
    args: argparse.Namespace,
    sharp: Path | None,
    seconds: float,
    console: Console,
) -> None:
    reasons = [str(reason) for reason in result.table["reason"] if reason]
    left_out: dict[str, Any] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    console.record(
        input=args.input,
        output=args.output,
        sharpened=sharp,
        table=args.table,
        frames=len(result.table),
        used=result.used,
        left_out=left_out,
        reference=result.reference,
        seconds=seconds,
    )
    for reason, number in left_out.items():
        console.say(f"{number} frames left out: {reason}")
    shape = " x ".join(str(side) for side in result.image.shape[::-1])
    console.say(
        f"{args.output}: {result.used} of {len(result.table)} frames, {shape} pixels, "
        f"{seconds:.1f} s"
    )
    if sharp is not None:
        console.say(f"{sharp}: sharpened by {args.sharpen}")
