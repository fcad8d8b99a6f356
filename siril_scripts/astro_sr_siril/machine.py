"""The model that works, and where it runs."""

from __future__ import annotations

from astro_sr_siril.verb import Verb

__all__ = ["DEVICES", "machine_flags"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def machine_flags(verb: Verb, model: str | None, device: str | None) -> list[str]:
    """Return the options of ``astro-sr`` for model and device."""
    words = []
    if verb.network and model:
        words += ["--model", model]
    if verb.network and device and device != "auto":
        words += ["--device", device]
    return words
