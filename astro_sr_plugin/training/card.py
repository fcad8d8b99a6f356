"""The card beside the weights of a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astro_sr_plugin.models.checkpoint import declaration
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.training.config import to_toml

__all__ = ["write_card"]


def write_card(
    spec: ModelSpec, path: Path, *, training: Mapping[str, Any], figures: Mapping[str, Any]
) -> None:
    """Write a card that `models.checkpoint.read_card` reads.

    Parameters
    ----------
    spec : ModelSpec
        Declaration of the network, with the checksum of its weights.
    path : Path
        The card.
    training, figures : mapping
        How the network was made, and what was measured of it.
    """
    card = declaration(spec) | {
        "sha256": spec.sha256,
        "training": dict(training),
        "figures": dict(figures),
    }
    path.write_text(to_toml(card), encoding="utf-8")
