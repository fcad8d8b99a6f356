"""What the header of a result says was measured and done, for messages and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = ["FIGURES", "describe_result", "figures_of", "name_device"]

FIGURES = {
    "ASRTASK": "task",
    "ASRMODEL": "model",
    "ASRHASH": "model_hash",
    "ASRFWHMI": "fwhm_in",
    "ASRFWHMO": "fwhm_out",
    "ASRSCALE": "scale",
    "ASRSTREN": "strength",
    "ASRNOISE": "noise",
    "ASRVERS": "version",
}
"""Header keywords of a result and the names of these figures in the JSON output."""


def name_device(args: argparse.Namespace) -> str:
    """Name the device that ``--device auto`` stands for, or the one asked for."""
    from astro_sr_plugin.inference.predictor import choose_device

    return choose_device(args.device)


def figures_of(image: CCDData) -> dict[str, Any]:
    """Return what the header of a result says was measured and done, and the shape."""
    figures = {name: image.meta[key] for key, name in FIGURES.items() if key in image.meta}
    from astro_sr_plugin.measurement.sampling import measure_pixel_scale

    arcsec = measure_pixel_scale(image.wcs, image.meta)
    if arcsec is not None and "fwhm_out" in figures:
        figures["fwhm_in_arcsec"] = figures["fwhm_in"] * figures.get("scale", 1) * arcsec
        figures["fwhm_out_arcsec"] = figures["fwhm_out"] * arcsec
    return {"shape": list(image.shape), **figures}


def describe_result(target: Path | str, figures: dict[str, Any], seconds: float) -> str:
    """Return one sentence about a result: its file, size, stars, model, device and time."""
    parts = [f"{target}: {figures['shape'][-1]} x {figures['shape'][-2]} pixels"]
    if "fwhm_out" in figures:
        parts.append(_describe_widths(figures))
    if "model" in figures:
        parts.append(f"model {figures['model']}")
    return ", ".join([*parts, f"on {figures['device']}", f"{seconds:.1f} s"])


def _describe_widths(figures: dict[str, Any]) -> str:
    """Say how wide the stars were and are, in pixels of the input and on the sky."""
    scale = figures.get("scale", 1)
    text = f"stars {figures['fwhm_in']:.2f} -> {figures['fwhm_out'] / scale:.2f} px FWHM"
    if scale > 1:
        text += f" of the input ({figures['fwhm_out']:.2f} px of the result)"
    if "fwhm_out_arcsec" in figures:
        text += f", {figures['fwhm_in_arcsec']:.2f} -> {figures['fwhm_out_arcsec']:.2f} arcsec"
    return text
