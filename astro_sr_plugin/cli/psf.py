"""Command that measures the point-spread function of an image: psf."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import (
    Commands,
    add_command,
    add_image_options,
    add_pixel_options,
    check_inputs,
    open_image,
)
from astro_sr_plugin.cli.outputs import plan_outputs

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_NAMES = ("fwhm", "beta", "ellip", "theta", "nstars", "resfrac", "resmoff", "resnoise")
"""Figures of a PSF that the JSON object lists."""


def add_commands(commands: Commands) -> None:
    """Add psf."""
    parser = add_command(
        commands,
        "psf",
        _measure_psf,
        usage="psf INPUT... -o OUTPUT",
        summary="Measure the point-spread function from the stars, pixel by pixel.",
        examples="  astro-sr psf stack.fits -o psf.fits\n"
        "  astro-sr deconvolve stack.fits -o sharp.fits --psf psf.fits",
    )
    add_image_options(parser)
    add_pixel_options(parser)


def _measure_psf(args: argparse.Namespace, console: Console) -> None:
    check_inputs(args.inputs)
    outputs = plan_outputs(
        args.inputs, args.output, ending="psf", overwrite=args.overwrite, suffix=".fits"
    )
    for source, target in zip(args.inputs, outputs, strict=True):
        start = time.perf_counter()
        psf = asr.measure_psf(open_image(source, args), force=args.force)
        asr.write_psf(psf, target, overwrite=args.overwrite)
        seconds = round(time.perf_counter() - start, 3)
        figures = [_figures(model) for model in (psf if isinstance(psf, list) else [psf])]
        console.record(input=source, output=target, psf=figures, seconds=seconds)
        for figure in figures:
            console.say(f"{target}: {_describe(**figure)}")


def _figures(model: Any) -> dict[str, Any]:
    known = {name: model.meta[name] for name in _NAMES if name in model.meta}
    return {"varies": len(getattr(model, "grid_xypos", "1")) > 1, **known}


def _describe(
    *, varies: bool, fwhm: float, nstars: int, resfrac: float, resmoff: float, **_: Any
) -> str:
    text = f"FWHM {fwhm:.2f} pixels from {nstars} stars"
    if nstars:
        text += (
            f"; of stars left out it leaves {100 * resfrac:.1f} %, "
            f"a Moffat profile {100 * resmoff:.1f} %"
        )
    return text + ("; it changes over the field" if varies else "")
