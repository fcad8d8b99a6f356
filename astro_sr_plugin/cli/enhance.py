"""Commands that change pixels with a model: denoise, deconvolve, super-resolve, remove-stars."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.audit import add_report_options, report_on
from astro_sr_plugin.cli.every_image import process_file, wants_all
from astro_sr_plugin.cli.figures import describe_result, figures_of, name_device
from astro_sr_plugin.cli.options import (
    Commands,
    add_command,
    add_image_options,
    add_model_options,
    add_pixel_options,
    check_inputs,
    chosen_model,
    make_runtime,
    open_image,
    psf_argument,
)
from astro_sr_plugin.cli.outputs import plan_outputs
from astro_sr_plugin.data.output import PLAIN_FITS
from astro_sr_plugin.exceptions import InputError, OutputError

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands", "add_uncertainty_option", "check_uncertainty", "enhance_file"]


def add_commands(commands: Commands) -> None:
    """Add denoise, deconvolve, super-resolve and remove-stars."""
    _add_denoise(commands)
    _add_deconvolve(commands)
    _add_super_resolve(commands)
    _add_remove_stars(commands)


def _add_denoise(commands: Commands) -> None:
    parser = add_command(
        commands,
        "denoise",
        _denoise,
        usage="denoise INPUT... -o OUTPUT",
        summary="Take away noise; stars and structure keep their shape and flux.",
        examples="  astro-sr denoise stack.fits -o clean.fits\n"
        "  astro-sr denoise stack.fits -o clean.fits --strength 0.7\n"
        "  astro-sr denoise night1.fits night2.fits -o cleaned/ --json",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    group = parser.add_argument_group("denoising")
    group.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="0 returns the input, 1 the full effect (default: 1)",
    )
    _add_psf_option(group)
    add_uncertainty_option(parser)
    add_report_options(parser)
    add_model_options(parser, classical="'wiener'")


def _add_deconvolve(commands: Commands) -> None:
    parser = add_command(
        commands,
        "deconvolve",
        _deconvolve,
        usage="deconvolve INPUT... -o OUTPUT",
        summary="Sharpen stars and extended structure to a smaller, round star profile.",
        details="The width of the stars is measured in the image, and the result is brought to a\n"
        "Gaussian of --target-fwhm pixels (default: half the measured width, at least 2).",
        examples="  astro-sr deconvolve stack.fits -o sharp.fits\n"
        "  astro-sr deconvolve stack.fits -o sharp.fits --stars 0.5 --extended 1\n"
        "  astro-sr deconvolve stack.fits -o sharp.fits --psf 3.4,2.8\n"
        "  astro-sr deconvolve stack.fits -o sharp.fits --model richardson-lucy",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    group = parser.add_argument_group("sharpening")
    group.add_argument(
        "--stars", type=float, default=1.0, help="strength for stars, 0 to 1 (default: 1)"
    )
    group.add_argument(
        "--extended",
        type=float,
        default=1.0,
        help="strength for everything else, 0 to 1 (default: 1)",
    )
    _add_target_options(group)
    group.add_argument(
        "--correct-only",
        action="store_true",
        help="keep the mean width of the stars: make them round and equal over the field, and take "
        "the noise away",
    )
    add_uncertainty_option(parser)
    add_report_options(parser)
    add_model_options(parser, classical="'richardson-lucy' or 'wiener'")


def _add_super_resolve(commands: Commands) -> None:
    parser = add_command(
        commands,
        "super-resolve",
        _super_resolve,
        usage="super-resolve INPUT... -o OUTPUT",
        summary="Upscale and sharpen; the world coordinates follow the new pixels.",
        examples="  astro-sr super-resolve stack.fits -o big.fits\n"
        "  astro-sr super-resolve stack.fits -o big.fits --scale 4 --conserve-flux\n"
        "  astro-sr super-resolve stack.fits -o big.fits --model bicubic",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    group = parser.add_argument_group("upscaling")
    group.add_argument(
        "--scale",
        type=int,
        default=2,
        help="enlargement, 2 or 4 (default: 2); 4 shows no finer detail than 2; with a network of "
        "another project its own",
    )
    group.add_argument(
        "--conserve-flux",
        action="store_true",
        help="keep the sum of the pixels instead of the surface brightness",
    )
    _add_target_options(group)
    group.add_argument(
        "--workflow",
        metavar="crush[:NOISE,BLUR]",
        help="for a network of another project: it sees the image reduced, with noise (in units of "
        "that of the image) and blur (pixels) added, and runs twice; for wide stars and coarse "
        "noise (see the documentation for when it helps)",
    )
    group.add_argument(
        "--sampling",
        metavar="NAME=VALUE,...",
        help="for a diffusion model such as sr3-x2: 'samples' (default: 8), whose mean is the "
        "result, 'steps' of each (4), 'sampler' (ddim or ddpm), 'seed' (1), 'bilateral' (0: no "
        "filter; up to 1)",
    )
    add_uncertainty_option(parser)
    add_report_options(parser)
    add_model_options(parser, classical="'bicubic' or 'wiener'")


def _add_remove_stars(commands: Commands) -> None:
    parser = add_command(
        commands,
        "remove-stars",
        _remove_stars,
        usage="remove-stars INPUT... -o OUTPUT",
        summary="Take the stars out of an image; nebulae and galaxies stay.",
        details="The starless image keeps its own pixels, noise included, wherever there was no\n"
        "starlight. Starless image and stars add up to the input.",
        examples="  astro-sr remove-stars stack.fits -o starless.fits\n"
        "  astro-sr remove-stars stack.fits -o starless.fits --stars-output stars.fits",
    )
    add_image_options(parser)
    add_pixel_options(parser)
    group = parser.add_argument_group("stars")
    group.add_argument(
        "--stars-output",
        type=Path,
        metavar="STARS",
        help="write the stars too: a file, or an existing folder if there are several inputs",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if no star was found to take out; the result is written all the same",
    )
    _add_psf_option(group)
    add_uncertainty_option(parser)
    add_model_options(parser)


def add_uncertainty_option(parser: argparse.ArgumentParser) -> None:
    """Add --uncertainty."""
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="write the standard deviation of every pixel too, as the extension UNCERT (FITS only)",
    )


def check_uncertainty(args: argparse.Namespace, outputs: list[Path]) -> None:
    """Refuse formats that hold no uncertainty before the work begins."""
    for path in outputs:
        if args.uncertainty and not {s.lower() for s in path.suffixes} & set(PLAIN_FITS):
            msg = f"--uncertainty: {str(path)!r} cannot hold an uncertainty; write a FITS file"
            raise InputError(msg)


def _add_target_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--target-fwhm",
        type=float,
        metavar="PX",
        help="width of stars in the result, in its pixels (default: by the measured width)",
    )
    _add_psf_option(group)
    group.add_argument(
        "--auto-scale",
        action="store_true",
        help="if stars are wider than 6 pixels, reduce the image by a whole number first",
    )
    group.add_argument(
        "--luminance-only",
        action="store_true",
        help="colour images: the model restores the luminance alone, and its light is shared out "
        "in the colours of the input",
    )


def _add_psf_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--psf",
        type=psf_argument,
        metavar="FWHM[,BETA[,ELLIPTICITY,THETA]]|FILE",
        help="star profile of the input instead of the measured one: a Moffat profile (pixels, "
        "theta in radians from +x), or a file: an image of it, or what 'astro-sr psf' wrote",
    )


def _denoise(args: argparse.Namespace, console: Console) -> int:
    return _run(args, console, "denoise", "denoised", strength=args.strength, psf=args.psf)


def _deconvolve(args: argparse.Namespace, console: Console) -> int:
    if (args.report or args.strict) and not args.stars == args.extended == 1.0:
        msg = (
            f"--report and --strict check results of full strength; --stars is {args.stars:g} and "
            f"--extended {args.extended:g}, allowed is 1 for both"
        )
        raise InputError(msg)
    if args.correct_only and args.target_fwhm is not None:
        given = f"--target-fwhm {args.target_fwhm:g}"
        msg = f"--correct-only keeps the width of the stars; leave out {given}"
        raise InputError(msg)
    return _run(
        args,
        console,
        "deconvolve",
        "sharp",
        stars=args.stars,
        extended=args.extended,
        target_fwhm="input" if args.correct_only else args.target_fwhm,
        psf=args.psf,
        auto_scale=args.auto_scale,
        luminance_only=args.luminance_only,
    )


def _super_resolve(args: argparse.Namespace, console: Console) -> int:
    return _run(
        args,
        console,
        "super_resolve",
        f"x{args.scale}",
        scale=args.scale,
        target_fwhm=args.target_fwhm,
        psf=args.psf,
        auto_scale=args.auto_scale,
        luminance_only=args.luminance_only,
        conserve_flux=args.conserve_flux,
        workflow=args.workflow,
        sampling=args.sampling,
    )


def _remove_stars(args: argparse.Namespace, console: Console) -> int:
    check_inputs(args.inputs)
    plan = {"overwrite": args.overwrite}
    outputs = plan_outputs(args.inputs, args.output, ending="starless", **plan)
    check_uncertainty(args, outputs)
    stars: list[Path | None] = [None] * len(outputs)
    if args.stars_output is not None:
        stars = [*plan_outputs(args.inputs, args.stars_output, ending="stars", **plan)]
        if set(stars) & set(outputs):
            msg = f"--stars-output {str(args.stars_output)!r} is the place of the starless image"
            raise OutputError(msg)
    for source, target, stars_target in zip(args.inputs, outputs, stars, strict=True):
        start = time.perf_counter()
        taken: list[CCDData] = []
        found: list[dict[str, Any]] = []

        def remove(
            image: CCDData, taken: list[CCDData] = taken, found: list[Any] = found
        ) -> CCDData:
            starless, light = asr.remove_stars(
                image,
                psf=args.psf,
                uncertainty=args.uncertainty,
                force=args.force,
                model=chosen_model(args),
                runtime=make_runtime(args, console),
            )
            taken.append(light)
            found.append(figures_of(starless) | {"device": name_device(args)})
            return starless

        names = process_file(remove, source, target, args)
        if stars_target is not None:
            lights = iter(taken)
            process_file(lambda _image: next(lights), source, stars_target, args)  # noqa: B023
        seconds = time.perf_counter() - start
        report = {"input": source, "output": target, "stars_output": stars_target}
        _report_images(names, found, report, seconds, console)
    return _strict_code(args, console)


def _run(args: argparse.Namespace, console: Console, verb: str, ending: str, **options: Any) -> int:
    check_inputs(args.inputs)
    outputs = plan_outputs(args.inputs, args.output, ending=ending, overwrite=args.overwrite)
    check_uncertainty(args, outputs)
    kept = [
        enhance_file(source, target, verb, args, console, **options)
        for source, target in zip(args.inputs, outputs, strict=True)
    ]
    return _strict_code(args, console, kept=all(kept))


def _strict_code(args: argparse.Namespace, console: Console, *, kept: bool = True) -> int:
    """Return 1 if --strict is given and a result is not as it should be, else 0."""
    return 1 if args.strict and (console.unchanged or not kept) else 0


def enhance_file(
    source: Path,
    target: Path,
    verb: str,
    args: argparse.Namespace,
    console: Console,
    **options: Any,
) -> bool:
    """Run one verb from file to file and report it.

    Parameters
    ----------
    source, target : Path
        Input and output file; a plain FITS output is streamed, so that large images fit in memory.
    verb : {'denoise', 'deconvolve', 'super_resolve'}
        Public function of the package.
    args : argparse.Namespace
        With ``hdu, overwrite, dtype, model``, the kind of pixels and the run-time options.
    console : Console
        Where to report.
    **options
        Keywords of the verb.

    Returns
    -------
    bool
        Whether all checks pass; True if nothing was to be checked.
    """
    start = time.perf_counter()
    every = wants_all(args)
    options |= {"model": chosen_model(args), "force": args.force}
    if hasattr(args, "uncertainty"):
        options["uncertainty"] = args.uncertainty
    if every:
        return _enhance_every_image(source, target, verb, args, console, **options)
    # Read once: the input may be a pipe.
    image = open_image(source, args)
    streamed = target.suffix.lower() in PLAIN_FITS and args.dtype is None
    options["runtime"] = make_runtime(args, console)
    if streamed:
        options |= {"out": target, "overwrite": args.overwrite}
    result = getattr(asr, verb)(image, **options)
    if not streamed:
        asr.write_image(result, target, dtype=args.dtype, overwrite=args.overwrite)
    seconds = time.perf_counter() - start
    figures = figures_of(result) | {"device": name_device(args)}
    report = {"input": source, "output": target, **figures, "seconds": round(seconds, 3)}
    console.say(describe_result(target, figures, seconds))
    if not (getattr(args, "report", False) or getattr(args, "strict", False)):
        console.record(**report)
        return True
    flux = {"conserve_flux": options.get("conserve_flux", False)}
    return report_on(image, result, console, report, **flux)


def _enhance_every_image(
    source: Path,
    target: Path,
    verb: str,
    args: argparse.Namespace,
    console: Console,
    **options: Any,
) -> bool:
    """Run one verb on every image of a file."""
    start = time.perf_counter()
    found: list[dict[str, Any]] = []

    def work(image: CCDData) -> CCDData:
        result: CCDData = getattr(asr, verb)(image, runtime=make_runtime(args, console), **options)
        found.append(figures_of(result) | {"device": name_device(args)})
        return result

    names = process_file(work, source, target, args)
    seconds = time.perf_counter() - start
    _report_images(names, found, {"input": source, "output": target}, seconds, console)
    return True


def _report_images(
    names: Iterable[str],
    found: list[dict[str, Any]],
    report: dict[str, Any],
    seconds: float,
    console: Console,
) -> None:
    """Report the results of one file, image by image."""
    for name, figures in zip(names, found, strict=True):
        extension = {"hdu": name} if name else {}
        console.record(**report, **extension, **figures, seconds=round(seconds, 3))
        console.say(describe_result(f"{report['output']} {name}".rstrip(), figures, seconds))
