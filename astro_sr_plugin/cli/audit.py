"""The ``audit`` command: check a result against its input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command, add_hdu_options, check_inputs

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands", "add_report_options", "report_on"]

_DETAILS = """\
The result is reconvolved to the PSF and the pixels of the input; the residual should be noise.
Listed are spurious and missing sources, stars shown as two, stars with rings, the total flux, the
magnitudes of isolated stars, and the residual of the sky."""


def add_commands(commands: Commands) -> None:
    """Add audit."""
    parser = add_command(
        commands,
        "audit",
        _audit,
        usage="audit BEFORE AFTER",
        summary="Check a result against its input: spurious and missing sources, flux, residual.",
        details=_DETAILS,
        examples="  astro-sr audit stack.fits sharp.fits\n"
        "  astro-sr audit stack.fits other_program.fits --target-fwhm 2.1 --json\n"
        "  astro-sr audit stack.fits sharp.fits --strict && echo passed",
    )
    parser.add_argument("before", metavar="BEFORE", type=Path, help="image file, linear")
    parser.add_argument("after", metavar="AFTER", type=Path, help="result, may be larger")
    add_hdu_options(parser)
    parser.add_argument(
        "--target-fwhm",
        type=float,
        metavar="PX",
        help="width of stars in AFTER, in its pixels (default: by its header, or measured)",
    )
    parser.add_argument(
        "--conserve-flux",
        action="store_true",
        help="AFTER keeps the sum of the pixels instead of the surface brightness",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a check fails")
    parser.add_argument(
        "--all",
        action="store_true",
        help="list all sources that fail a check, not only the first 20",
    )


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--report`` and ``--strict`` to a command whose result can be checked."""
    group = parser.add_argument_group("check")
    group.add_argument(
        "--report",
        action="store_true",
        help="check the result against the input and print what was found, as 'astro-sr audit'",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="check the result, and exit with 1 if a check fails, or if there was nothing to "
        "do; it is written all the same",
    )


def _audit(args: argparse.Namespace, console: Console) -> int:
    check_inputs([args.before, args.after])
    before = asr.read_image(args.before, hdu=args.hdu)
    after = asr.read_image(args.after, hdu=args.after_hdu)
    figures = {"before": args.before, "after": args.after}
    options = {"target_fwhm": args.target_fwhm, "conserve_flux": args.conserve_flux}
    passed = report_on(before, after, console, figures, everything=args.all, **options)
    return 1 if args.strict and not passed else 0


def report_on(
    before: Any,
    after: Any,
    console: Console,
    figures: dict[str, Any],
    *,
    everything: bool = False,
    **options: Any,
) -> bool:
    """Check a result, print the table, and record it with other figures.

    Parameters
    ----------
    before, after : CCDData
        The input and the result.
    console : Console
        Where to report.
    figures : dict
        What goes before the audit in the JSON object.
    everything : bool
        List all sources that fail a check.
    **options
        Of `audit`.

    Returns
    -------
    bool
        Whether all checks pass.
    """
    found = asr.audit(before, after, **options)
    console.record(**figures, audit=found.to_dict())
    console.say(found.to_text(everything=everything))
    for sentence in found.failed:
        console.warn(f"a check failed: {sentence}")
    return found.passed
