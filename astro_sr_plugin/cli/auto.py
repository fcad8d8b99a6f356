"""The ``auto`` command: measure, choose, enhance, check, and keep what passes."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.every_image import wants_all
from astro_sr_plugin.cli.figures import describe_result, figures_of, name_device
from astro_sr_plugin.cli.options import (
    Commands,
    add_command,
    add_image_options,
    add_machine_options,
    add_pixel_options,
    check_inputs,
    make_runtime,
    open_image,
)
from astro_sr_plugin.cli.outputs import plan_outputs
from astro_sr_plugin.cli.suggestion import suggest
from astro_sr_plugin.data.output import check_place
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_DETAILS = """\
The image is measured. By the width of its stars and their number it is doubled, sharpened or only
denoised. The result is checked against the image, as by 'astro-sr audit'; one that fails is thrown
away, and the image is denoised instead. If that fails too, nothing is written. A page of before and
after lies beside the result."""


def add_commands(commands: Commands) -> None:
    """Add auto."""
    parser = add_command(
        commands,
        "auto",
        _auto,
        usage="auto INPUT...",
        summary="Choose what an image needs, do it, check it, and show before and after.",
        details=_DETAILS,
        examples="  astro-sr auto stack.fits\n  astro-sr auto *.fits -o results/",
    )
    add_image_options(
        parser,
        required=False,
        output="the image to write, or an existing folder (default: INPUT_auto beside the input)",
    )
    add_pixel_options(parser)
    add_machine_options(parser.add_argument_group("machine"))
    parser.add_argument("--no-page", action="store_true", help="write no page of before and after")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if the result of the first choice failed a check, or nothing was written",
    )


def _auto(args: argparse.Namespace, console: Console) -> int:
    if wants_all(args):
        msg = "auto works on one image; with --hdu all, run it on each of them"
        raise InputError(msg)
    check_inputs(args.inputs)
    outputs = _plan(args)
    kept = [
        _enhance(source, target, args, console)
        for source, target in zip(args.inputs, outputs, strict=True)
    ]
    return 1 if args.strict and not all(kept) else 0


def _plan(args: argparse.Namespace) -> list[Path]:
    """Decide the results, and check that they and their pages can be written."""
    plan = {"ending": "auto", "overwrite": args.overwrite}
    if args.output is None:
        outputs = [plan_outputs([path], path.parent, **plan)[0] for path in args.inputs]
    else:
        outputs = plan_outputs(args.inputs, args.output, **plan)
    for output in outputs if not args.no_page else []:
        check_place(_page_of(output), overwrite=args.overwrite)
    return outputs


def _page_of(target: Path) -> Path:
    from astro_sr_plugin.data.formats.registry import name_result

    return target.with_name(name_result(target, "compare", ".html"))


def _enhance(source: Path, target: Path, args: argparse.Namespace, console: Console) -> bool:
    """Work on one image; return whether the first choice passed."""
    start = time.perf_counter()
    image = open_image(source, args)
    quality = asr.measure(image, force=args.force)
    first = suggest(quality, image.meta)
    report = {"input": source, "choice": first.verb, "reason": first.reason}
    if first.verb is None:
        console.record(**report, output=None)
        console.say(f"{source}: {first.reason}")
        return False
    console.say(f"{source}: {first.verb}, for {first.reason}")
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as place:
        for verb in dict.fromkeys((first.verb, "denoise")):
            part = Path(place) / f"{verb}.fits"
            result = _run(verb, image, quality, part, args, console)
            found = _check(image, result, quality)
            if found is None or found.passed:
                asr.write_image(result, target, dtype=args.dtype, overwrite=args.overwrite)
                figures = figures_of(result) | {"device": name_device(args)}
                seconds = time.perf_counter() - start
                checked = None if found is None else found.to_dict()
                console.record(
                    **report, output=target, **figures, audit=checked, seconds=round(seconds, 3)
                )
                console.say(describe_result(target, figures, seconds))
                if found is None:
                    console.say("without stars the result cannot be checked")
                if not args.no_page:
                    _show(image, result, target, quality, args, console)
                return verb == first.verb
            for sentence in found.failed:
                console.warn(f"{source}: the result of {verb} is not kept: {sentence}")
    console.record(**report, output=None)
    console.say(f"{source}: left as it is, for no result passed the checks")
    return False


def _run(
    verb: str,
    image: CCDData,
    quality: asr.Quality,
    part: Path,
    args: argparse.Namespace,
    console: Console,
) -> CCDData:
    result: CCDData = getattr(asr, verb.replace("-", "_"))(
        image,
        measured=quality,
        force=args.force,
        runtime=make_runtime(args, console),
        out=part,
    )
    return result


def _check(image: CCDData, result: CCDData, quality: asr.Quality) -> asr.Audit | None:
    """Check a result; None if the image has no star, so that nothing can be checked."""
    if not any(math.isfinite(width) for width in quality.fwhm):
        return None
    return asr.audit(image, result, measured=quality)


def _show(
    image: CCDData,
    result: CCDData,
    target: Path,
    quality: asr.Quality,
    args: argparse.Namespace,
    console: Console,
) -> None:
    """Write the page of before and after."""
    from astro_sr_plugin.report.page import write_before_after_html

    page = _page_of(target)
    compared = asr.compare(image, result, measured=quality)
    write_before_after_html(compared, page, title=target.name, overwrite=args.overwrite)
    console.say(f"{page}: before and after")
