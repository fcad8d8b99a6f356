"""The weights of a trained network, and the card beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from astro_sr_plugin.models.checkpoint import declaration, save_network
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.training.config import to_toml

__all__ = ["write_model"]


def write_model(
    net: nn.Module,
    spec: ModelSpec,
    folder: str | Path,
    *,
    training: Mapping[str, Any],
    figures: Mapping[str, Any] | None,
) -> Path:
    """Write weights, and a card that `models.checkpoint.read_card` reads.

    Parameters
    ----------
    net : torch.nn.Module
        The network.
    spec : ModelSpec
        Its declaration.
    folder : str or Path
        Where ``<name>.safetensors`` and ``<name>.toml`` go; made if it is missing.
    training, figures : mapping
        How the network was made, and what was measured of it.

    Returns
    -------
    Path
        The weights file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}.safetensors"
    spec = replace(spec, sha256=save_network(net, spec, path))
    card = declaration(spec) | {
        "sha256": spec.sha256,
        "training": dict(training),
        "figures": dict(figures or {}),
    }
    path.with_suffix(".toml").write_text(to_toml(card), encoding="utf-8")
    return path
