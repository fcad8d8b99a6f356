"""Say in the header what was done to the image: ASR keywords and HISTORY cards."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io.fits import Header

from astro_sr_plugin import __version__
from astro_sr_plugin.data.formats.header import card_value, quiet, to_ascii

__all__ = ["NOISE_KEYWORDS", "add_keywords"]

_COMMENTS = {
    "ASRVERS": "version of astro_sr_plugin",
    "ASRTASK": "what was done last",
    "ASRMODEL": "model that did it",
    "ASRHASH": "sha256 of its weights (start)",
    "ASRFWHMI": "[pix] FWHM of the input's PSF",
    "ASRFWHMO": "[pix] FWHM of the output's PSF",
    "ASRSCALE": "output pixels per input pixel",
    "ASRSTREN": "strength",
    "ASRNOISE": "noise sigma of the input, in units of data",
}
_HASH_LETTERS = 16
"""Hexadecimal digits of the SHA-256 of the weights that the header names."""
_WIDTH = 72
"""Letters of a HISTORY card."""
NOISE_KEYWORDS = ("NOISCORR", "NOISLAG1")
"""Correlation of the noise of a stack, which a later step changes."""
# Statistics that other programs left, and that no longer hold.
_STALE = (
    "DATAMIN",
    "DATAMAX",
    "DATAMEAN",
    "DATAMED",
    "DATASTD",
    "DATARMS",
    *NOISE_KEYWORDS,
)


def add_keywords(
    header: Header,
    *,
    task: str,
    model: str | None = None,
    weights_hash: str | None = None,
    fwhm_in: float | None = None,
    fwhm_out: float | None = None,
    scale: float | None = None,
    strength: float | None = None,
    noise: float | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Header:
    """Note a step of work in a header.

    The keywords describe the last step: those of an earlier one that this one has no value for
    are removed. HISTORY grows with every step and holds everything.

    Parameters
    ----------
    header : fits.Header
        Changed in place.
    task : str
        Name of the verb.
    model : str, optional
        Name of the model or method.
    weights_hash : str, optional
        SHA-256 of its weights; the keyword takes the first 16 letters, HISTORY all.
    fwhm_in, fwhm_out : float, optional
        FWHM of the PSF before and after, in pixels of the image before and after.
    scale : float, optional
        Output pixels per input pixel.
    strength : float, optional
        Strength of the work, 1 = in full.
    noise : float, optional
        Noise sigma of the input, in its unit.
    parameters : mapping, optional
        All parameters, for HISTORY.

    Returns
    -------
    astropy.io.fits.Header
        The same header. Values that are None or not finite are left out.
    """
    short_hash = None if weights_hash is None else weights_hash[:_HASH_LETTERS]
    values = {
        "ASRVERS": __version__,
        "ASRTASK": task,
        "ASRMODEL": model,
        "ASRHASH": short_hash,
        "ASRFWHMI": fwhm_in,
        "ASRFWHMO": fwhm_out,
        "ASRSCALE": scale,
        "ASRSTREN": strength,
        "ASRNOISE": noise,
    }
    for keyword in _STALE:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    for keyword, value in values.items():
        if _is_missing(value):
            header.remove(keyword, ignore_missing=True, remove_all=True)
        else:
            with quiet():
                header[keyword] = (_rounded(card_value(value)), _COMMENTS[keyword])
    entries = {"model": model, "sha256": weights_hash, **_named(values), **(parameters or {})}
    text = ", ".join(f"{k}={_text(v)}" for k, v in entries.items() if not _is_missing(v))
    text = to_ascii(f"astro_sr_plugin {__version__} {task}: {text}")
    for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False):
        header.add_history(line)
    return header


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "ASRFWHMI": "fwhm_in",
        "ASRFWHMO": "fwhm_out",
        "ASRSCALE": "scale",
        "ASRSTREN": "strength",
        "ASRNOISE": "noise",
    }
    return {name: values[keyword] for keyword, name in names.items()}


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, float | np.floating) and not np.isfinite(value)


def _rounded(value: Any) -> Any:
    """Round to eight digits, more than any figure is known to; they leave room for the comment."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.size <= 16 else f"array of shape {value.shape}"
    if isinstance(value, float | np.floating):
        return f"{float(value):.8g}"
    if isinstance(value, str | bool | int | np.integer):
        return str(value)
    return json.dumps(value, default=str)
