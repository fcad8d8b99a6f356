"""Command that stacks frames: stack."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, hdu_argument
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_KINDS = ("bias", "dark", "flat")


def add_commands(commands: Commands) -> None:
    """Add stack."""
    parser = add_command(
        commands,
        "stack",
        _stack,
        usage="stack FRAMES... -o OUTPUT",
        summary="Calibrate, register and combine frames of one field.",
        details="FRAMES are files, folders, patterns and lists of files. Frames that cannot be\n"
        "used are left out and named.",
        examples="  astro-sr stack lights/ -o stack.fits\n"
        "  astro-sr stack lights/ -o stack.fits --library calibration/ --plan\n"
        "  astro-sr stack lights/ -o stack.fits --dark darks/ --flat flats/ --bias biases/\n"
        "  astro-sr stack lights/ -o stack.fits --rejection winsorized --limits 3 3 --resume",
    )
    parser.add_argument("frames", metavar="FRAMES", nargs="+", help="lights of one filter")
    _add_files(parser)
    _add_calibration(parser)
    _add_combination(parser)
    _add_work(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUTPUT",
        help="the stack; plain FITS also holds its uncertainty, maps of the rejection and a table "
        "of the frames",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace the output if it exists already"
    )
    group.add_argument(
        "--hdu",
        type=hdu_argument,
        metavar="N|NAME",
        help="FITS extension to read of each frame (default: the first that holds an image)",
    )


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "calibration", "Files, folders, patterns and lists of files; single frames or masters."
    )
    for kind in _KINDS:
        group.add_argument(
            f"--{kind}", nargs="+", default=[], metavar="FRAMES", help=f"{kind} frames"
        )
    group.add_argument(
        "--library",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders with calibration frames of all kinds, of which those that match are used",
    )


def _add_combination(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("combination")
    group.add_argument(
        "--reference",
        metavar="FRAME",
        help="the frame whose grid is kept (default: chosen by its stars)",
    )
    group.add_argument(
        "--frame",
        default="reference",
        metavar="PIXELS",
        help="pixels of the stack: reference, union (all that any frame covers) or intersection "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--no-align", action="store_true", help="take the frames as registered already"
    )
    group.add_argument(
        "--rejection",
        default="noise",
        metavar="METHOD",
        help="rejection of outliers: noise, sigma, winsorized, mad, linearfit, gesd, percentile, "
        "minmax or none (default: %(default)s)",
    )
    group.add_argument(
        "--limits",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="its limits below and above (default: those of the method, 4 and 4 sigma for noise)",
    )
    group.add_argument(
        "--combine", default="mean", metavar="HOW", help="mean or median (default: %(default)s)"
    )
    group.add_argument(
        "--weights",
        default="snr",
        metavar="HOW",
        help="snr, noise, fwhm, exposure or none (default: %(default)s)",
    )
    group.add_argument(
        "--normalise",
        default="photometric",
        metavar="HOW",
        help="photometric, additive or none (default: %(default)s)",
    )
    group.add_argument(
        "--kernel",
        default="bspline",
        metavar="NAME",
        help="interpolation: bspline, lanczos or linear (default: %(default)s)",
    )
    group.add_argument(
        "--drizzle",
        type=float,
        metavar="SCALE",
        help="drizzle onto a grid this many times finer, for frames that are undersampled and "
        "dithered; needs the package drizzle",
    )
    group.add_argument(
        "--pixfrac",
        type=float,
        default=0.7,
        metavar="P",
        help="side of a drop over that of a pixel, for --drizzle (default: %(default)s)",
    )
    group.add_argument(
        "--drizzle-kernel",
        default="square",
        metavar="NAME",
        help="shape of a drop: square, turbo, point or gaussian (default: %(default)s)",
    )
    group.add_argument(
        "--super-resolve",
        type=float,
        metavar="SCALE",
        help="solve for one sharper image on a grid 2 or 3 times finer, from many frames that are "
        "undersampled and dithered",
    )
    group.add_argument(
        "--cosmic-rays",
        choices=("auto", "yes", "no"),
        default="auto",
        help="look for cosmic rays in each frame (default: in fewer than 5 frames)",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument("--plan", action="store_true", help="only show what would be done")
    group.add_argument(
        "--strict", action="store_true", help="stop if a frame or calibration cannot be used"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="keep finished steps beside the output, and go on with those of an interrupted run",
    )
    group.add_argument(
        "--memory", default="4GB", metavar="SIZE", help="memory for pixels (default: %(default)s)"
    )
    group.add_argument(
        "--jobs", type=int, metavar="N", help="processes, or threads (default: all processors)"
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler to combine on, or 'local'"
    )


def _stack(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.batch.inputs import find_inputs
    from astro_sr_plugin.data.formats.registry import check_output, find_suffix

    frames = find_inputs(args.frames)
    calibration: dict[str, Any] = {
        kind: find_inputs(getattr(args, kind)) if getattr(args, kind) else [] for kind in _KINDS
    }
    folders = [Path(name) for name in args.library]
    for folder in folders:
        if not folder.is_dir():
            msg = f"library={str(folder)!r} is no folder"
            raise InputError(msg)
    calibration["library"] = [
        path for folder in folders for path in sorted(folder.rglob("*")) if find_suffix(path)
    ]
    if args.plan:
        plan = asr.plan_stack(frames, hdu=args.hdu, **calibration)
        text = plan.to_text()
        console.record(frames=len(frames), plan=text.splitlines())
        console.say(text)
        return
    if args.output is None:
        msg = "-o OUTPUT is missing; only --plan does without"
        raise InputError(msg)
    check_output(args.output, overwrite=args.overwrite)
    start = time.perf_counter()
    result = asr.stack(
        frames,
        **calibration,
        **_choices(args, frames),
        scratch=args.output.absolute().parent,
        progress=console.progress("steps"),
    )
    result.write(args.output, overwrite=args.overwrite)
    _report(result, args.output, round(time.perf_counter() - start, 3), console)


def _choices(args: argparse.Namespace, frames: list[Path]) -> dict[str, Any]:
    reference = None
    if args.reference is not None:
        names = [str(path.absolute()) for path in frames]
        wanted = str(Path(args.reference).absolute())
        if wanted not in names:
            msg = f"reference={args.reference!r} is not one of the frames"
            raise InputError(msg)
        reference = names.index(wanted)
    output = args.output.absolute()
    return {
        "align": not args.no_align,
        "reference": reference,
        "frame": args.frame,
        "combine": args.combine,
        "rejection": args.rejection,
        "limits": None if args.limits is None else tuple(args.limits),
        "weights": args.weights,
        "normalise": args.normalise,
        "kernel": args.kernel,
        "drizzle": args.drizzle,
        "pixfrac": args.pixfrac,
        "drizzle_kernel": args.drizzle_kernel,
        "super_resolve": args.super_resolve,
        "cosmic_rays": {"auto": None, "yes": True, "no": False}[args.cosmic_rays],
        "memory": args.memory,
        "jobs": args.jobs,
        "scheduler": args.scheduler,
        "strict": args.strict,
        "resume": output.with_name(f".{output.name}.resume") if args.resume else None,
        "hdu": args.hdu,
    }


def _report(result: Any, output: Path, seconds: float, console: Console) -> None:
    used = int(result.table["used"].sum())
    values = int(result.n_used.sum(dtype=float))
    rejected = int(result.rejected_low.sum(dtype=float) + result.rejected_high.sum(dtype=float))
    share = rejected / max(1, values + rejected)
    console.record(
        output=output,
        frames=len(result.table),
        used=used,
        left_out=result.left_out,
        reference=result.reference,
        rejected=share,
        seconds=seconds,
    )
    shape = " x ".join(str(side) for side in result.image.shape[::-1])
    console.say(
        f"{output}: {used} of {len(result.table)} frames, {shape} pixels, "
        f"{100 * share:.2g} % of the values rejected"
    )
