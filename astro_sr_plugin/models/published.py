"""Published architectures that this project trained, shipped with their cards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from astro_sr_plugin.models.checkpoint import load_network, read_card
from astro_sr_plugin.models.spec import Entry, Model, refuse_condition

__all__ = ["PUBLISHED", "PublishedNetworks"]

PUBLISHED = Path(__file__).resolve().parents[1] / "weights" / "published"
"""Folder of their weights and cards."""


class PublishedNetworks:
    """Small networks for display images: for comparison, and for what no house network does."""

    def entries(self) -> list[Entry]:
        """Return the shipped ones.

        Raises
        ------
        ModelError
            If a card is damaged.
        """
        cards = sorted(PUBLISHED.glob("*.toml"))
        return [Entry(read_card(card), partial(_load, card)) for card in cards]

    def detect(self, path: Path) -> bool:
        """Return that no file is for this provider: the house networks' one reads them all."""
        del path
        return False

    def load(self, path: Path, condition: Path | None = None) -> list[Entry]:
        """Return the model of a weights file with a card beside it."""
        refuse_condition(condition, "a network of this project")
        card = path.with_suffix(".toml")
        return [Entry(read_card(card), partial(_load, card))]


def _load(card: Path) -> Model:
    return load_network(card.with_suffix(".safetensors"), read_card(card))
