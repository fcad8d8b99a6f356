"""Commands that look at an image and leave it as it is: measure and star-mask."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.every_image import chosen_images, process_file, wants_all
from astro_sr_plugin.cli.options import (
    DTYPES,
    Commands,
    add_command,
    add_image_options,
    add_pixel_options,
    check_inputs,
    open_image,
)
from astro_sr_plugin.cli.outputs import name_outputs, plan_outputs
from astro_sr_plugin.cli.suggestion import suggest
from astro_sr_plugin.data.output import check_place
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add measure and star-mask."""
    parser = add_command(
        commands,
        "measure",
        _measure,
        usage="measure INPUT...",
        summary="Print star widths, background, noise, number of stars and sampling.",
        examples="  astro-sr measure stack.fits\n  astro-sr measure *.fits --json\n"
        "  astro-sr measure stack.fits --plot psf.png",
    )
    add_image_options(parser, output=None)
    add_pixel_options(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the PSF and the residuals of the stars: a .png file, or an existing folder",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    parser = add_command(
        commands,
        "star-mask",
        _star_mask,
        usage="star-mask INPUT... -o OUTPUT",
        summary="Write a mask of the stars: 1 in stars, 0 elsewhere.",
        examples="  astro-sr star-mask stack.fits -o mask.fits",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    parser.add_argument(
        "--dtype", choices=DTYPES, default="uint8", help="number format (default: uint8)"
    )


def _measure(args: argparse.Namespace, console: Console) -> None:
    check_inputs(args.inputs)
    plots = _plan_plots(args)
    for path in args.inputs:
        images = chosen_images(path, args)
        for hdu, name in images.items():
            start = time.perf_counter()
            image = open_image(path, args, hdu=hdu)
            quality = asr.measure(image, force=args.force)
            seconds = round(time.perf_counter() - start, 3)
            extension = {"hdu": name} if name else {}
            advice = suggest(quality, image.meta).to_text(path)
            figures = {**quality.to_dict(), "suggestion": advice}
            console.record(input=path, **extension, **figures, seconds=seconds)
            if len(args.inputs) > 1 or name:
                console.say(f"{path} {name}".rstrip() + ":")
            console.say(f"{quality.to_text()}\n\nTo run next: {advice}")
            if path in plots:
                _plot(quality, path, plots[path], args, console)


def _plot(
    quality: asr.Quality, path: Path, plot: Path, args: argparse.Namespace, console: Console
) -> None:
    from astro_sr_plugin.report.psf import write_psf_png

    try:
        write_psf_png(quality.planes, plot, overwrite=args.overwrite)
    except InputError as error:
        console.warn(f"{path}: {error}")
    else:
        console.say(f"{plot}: PSF, and residuals of the stars")


def _plan_plots(args: argparse.Namespace) -> dict[Path, Path]:
    """Decide the picture of each input, and check that it can be written."""
    if args.plot is None:
        return {}
    if wants_all(args):
        msg = "--plot draws one image; with --hdu all, run the command on each of them"
        raise InputError(msg)
    plots = name_outputs(args.inputs, args.plot, ending="psf", suffix=".png", option="--plot")
    for plot in plots:
        if plot.suffix.lower() != ".png":
            msg = f"--plot {str(plot)!r} must end in .png, or be an existing folder"
            raise InputError(msg)
        check_place(plot, overwrite=args.overwrite)
    return dict(zip(args.inputs, plots, strict=True))


def _star_mask(args: argparse.Namespace, console: Console) -> None:
    import numpy as np

    check_inputs(args.inputs)
    outputs = plan_outputs(args.inputs, args.output, ending="stars", overwrite=args.overwrite)
    for source, target in zip(args.inputs, outputs, strict=True):
        start = time.perf_counter()
        shares: list[float] = []

        def mask_stars(image: CCDData, shares: list[float] = shares) -> CCDData:
            mask = np.asarray(asr.star_mask(image, force=args.force))
            shares.append(float(mask.mean()))
            return image.__class__(mask.astype(np.uint8), unit="", wcs=image.wcs, meta=image.meta)

        process_file(mask_stars, source, target, args)
        covered = float(np.mean(shares))
        seconds = time.perf_counter() - start
        console.record(input=source, output=target, covered=covered, seconds=round(seconds, 3))
        console.say(f"{target}: {100 * covered:.2f} % of the image is stars, {seconds:.1f} s")
