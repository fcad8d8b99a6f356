"""Command that brings frames together: register."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, check_inputs, hdu_argument
from astro_sr_plugin.cli.outputs import check_not_input, plan_outputs
from astro_sr_plugin.data.output import check_place, make_folder, writing
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astropy.table import Table

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_TABLES = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
"""Formats of the table, by the ending of its file."""


def add_commands(commands: Commands) -> None:
    """Add register."""
    parser = add_command(
        commands,
        "register",
        _register,
        usage="register FRAME...",
        summary="Find how frames are shifted and turned against one of them, by their stars.",
        details="Prints one line per frame. Frames that cannot be registered are left out and "
        "named.\nRaw frames of colour cameras are measured as they are, and debayered (bilinear) "
        "for --apply.",
        examples="  astro-sr register lights/*.fits --table shifts.csv\n"
        "  astro-sr register lights/*.fits -r lights/best.fits --apply aligned/",
    )
    parser.add_argument("inputs", metavar="FRAME", nargs="+", type=Path, help="image file")
    group = parser.add_argument_group("registration")
    group.add_argument(
        "-r",
        "--reference",
        type=Path,
        metavar="FILE",
        help="image that the frames are brought to, one of them or another (default: a sharp frame "
        "with many stars near the middle of all)",
    )
    group.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="shift, similarity, affine, homography, polynomial2 to polynomial5, or thin-plate "
        "(default: auto, the simplest one that the stars allow)",
    )
    group.add_argument(
        "--no-mirror", action="store_true", help="frames cannot be mirror images of each other"
    )
    group.add_argument(
        "--no-wcs", action="store_true", help="leave world coordinates of the frames aside"
    )
    group.add_argument("--strict", action="store_true", help="fail if a frame cannot be registered")
    group = parser.add_argument_group("files")
    group.add_argument(
        "--apply",
        type=Path,
        metavar="DIR",
        help="write the frames on the pixels of the reference into this folder",
    )
    group.add_argument(
        "--kernel",
        choices=("bspline", "lanczos", "linear", "adaptive"),
        default="bspline",
        help="interpolation for --apply (default: bspline)",
    )
    group.add_argument(
        "--table", type=Path, metavar="FILE", help="write the table, a .csv or .ecsv file"
    )
    group.add_argument(
        "--hdu",
        type=hdu_argument,
        metavar="N|NAME",
        help="FITS extension to read (default: the first that holds an image)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace existing files")


def _register(args: argparse.Namespace, console: Console) -> None:
    start = time.perf_counter()
    frames, reference = _frames(args)
    check_inputs([*args.inputs, *([args.reference] if args.reference else [])])
    _check_table(args)
    outputs = _plan_outputs(frames, args)
    found = asr.register(
        frames,
        reference,
        model=args.model,
        mirror=not args.no_mirror,
        use_wcs=not args.no_wcs,
        strict=args.strict,
        hdu=args.hdu,
        progress=console.progress("frames"),
    )
    if args.table is not None:
        with writing(args.table, overwrite=args.overwrite) as part:
            found.table.write(part, format=_TABLES[args.table.suffix.lower()], overwrite=True)
    written = _apply(found, frames, outputs, args, console)
    name = args.reference if found.reference < 0 else frames[found.reference]
    seconds = round(time.perf_counter() - start, 3)
    console.say(_as_text(found.table, found.reference))
    console.say(
        f"{len(found.transforms)} of {len(frames)} frames registered to {name}, {seconds:.1f} s"
    )
    names = found.table.colnames
    console.record(
        reference=name,
        frames=[
            {**dict(zip(names, row, strict=True)), "output": written.get(number)}
            for number, row in enumerate(found.table.as_array().tolist())
        ],
        table=args.table,
        seconds=seconds,
    )


def _frames(args: argparse.Namespace) -> tuple[list[Path], Any]:
    """Return the frames, each once, and which of them is the reference, or its file."""
    frames = list(dict.fromkeys(args.inputs))
    if args.reference is None:
        return frames, None
    for number, path in enumerate(frames):
        if path.exists() and args.reference.exists() and path.samefile(args.reference):
            return frames, number
    return frames, args.reference


def _check_table(args: argparse.Namespace) -> None:
    if args.table is None:
        return
    if args.table.suffix.lower() not in _TABLES:
        msg = f"--table {str(args.table)!r} must end in {' or '.join(_TABLES)}"
        raise InputError(msg)
    check_place(args.table, overwrite=args.overwrite)
    check_not_input(args.table, args.inputs, "--table")


def _plan_outputs(frames: list[Path], args: argparse.Namespace) -> list[Path]:
    """Decide the file of each frame for ``--apply``, and check that it can be written."""
    if args.apply is None:
        return []
    make_folder(args.apply)
    return plan_outputs(frames, args.apply, ending="registered", overwrite=args.overwrite)


def _apply(
    found: asr.Registration,
    frames: list[Path],
    outputs: list[Path],
    args: argparse.Namespace,
    console: Console,
) -> dict[int, Path]:
    """Write the frames that were registered; returns their files by number."""
    written: dict[int, Path] = {}
    if not outputs:
        return written
    from astro_sr_plugin.data.cfa import find_mosaic

    progress = console.progress("frames written")
    for number, transform in found.transforms.items():
        image = asr.read_image(frames[number], hdu=args.hdu)
        if find_mosaic(image.meta, image.data) is not None:
            image = asr.debayer(image, "bilinear")
        result = asr.apply_transform(image, transform, kernel=args.kernel, wcs=found.wcs)
        asr.write_image(result, outputs[number], overwrite=args.overwrite)
        written[number] = outputs[number]
        if progress is not None:
            progress(len(written), len(found.transforms))
    return written


def _as_text(table: Table, reference: int) -> str:
    """Return the table as aligned lines."""
    from astro_sr_plugin.data.records import align_rows

    head = ("frame", "stars", "FWHM", "shift x", "y", "rotation", "scale", "pairs", "residual", "")
    return align_rows([head, *(_cells(row, row.index == reference) for row in table)], ">")


def _cells(row: Any, is_reference: bool) -> Sequence[str]:
    first = [str(row["frame"]), str(row["stars"]), f"{row['fwhm']:.2f}"]
    if is_reference:
        return [*first, *[""] * 6, "reference"]
    if not row["registered"]:
        return [*first, *[""] * 6, f"left out: {row['reason']}"]
    remark = row["model"] + (", mirrored" if row["mirrored"] else "")
    return [
        *first,
        f"{row['shift_x']:.2f}",
        f"{row['shift_y']:.2f}",
        f"{row['rotation']:.3f}",
        f"{row['scale']:.5f}",
        str(row["pairs"]),
        f"{row['residual']:.3f}",
        remark,
    ]
