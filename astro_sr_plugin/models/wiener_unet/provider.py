"""The networks of this project: those that are shipped, and files of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import load_network, read_card
from astro_sr_plugin.models.classical.interpolated import InterpolatedModel, describe_doubled
from astro_sr_plugin.models.spec import Entry, Model, ModelSpec, refuse_condition
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.self_ensemble import ORIENTATIONS
from astro_sr_plugin.tasks import TASKS

__all__ = ["ERRORS", "WEIGHTS", "HouseNetworks"]

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
"""Folder of the shipped weights and their cards."""

ERRORS = WEIGHTS / "errors"
"""Folder of the networks that estimate uncertainties; each has the name of its model."""

_SUFFIX = ".safetensors"


class HouseNetworks:
    """Each network in up to four forms: plain, as a self-ensemble, and both at twice the scale."""

    def entries(self) -> list[Entry]:
        """Return the shipped models: first the trained networks, then those that follow from them.

        Raises
        ------
        ModelError
            If a shipped card is damaged.
        """
        forms = [list(_forms(card)) for card in sorted(WEIGHTS.glob("*.toml"))]
        return [entry for form in _group_forms(forms) for entry in form]

    def detect(self, path: Path) -> bool:
        """Return whether a path is that of a weights file of this project.

        A file of the right ending that is missing or damaged is taken for one, and refused when it
        is loaded.
        """
        if path.suffix != _SUFFIX or path.with_suffix(".toml").is_file():
            return path.suffix == _SUFFIX
        try:
            with safe_open(path, framework="pt") as stream:
                return "astro_sr" in (stream.metadata() or {})
        except (SafetensorError, OSError):
            return True

    def load(self, path: Path, condition: Path | None = None) -> list[Entry]:
        """Return the models of a weights file.

        Raises
        ------
        ModelError
            If the file is missing or damaged, or is not that of the card beside it.
        """
        refuse_condition(condition, "a network of this project")
        card = path.with_suffix(".toml")
        model = load_network(path, read_card(card) if card.is_file() else None)
        entries = [Entry(model.spec, lambda: model)]
        if isinstance(model, NetworkModel) and _can_be_doubled(model.spec):
            entries.append(_doubled(entries[0], f"{model.spec.name}-doubled"))
        return entries


def _group_forms(forms: list[list[Entry]]) -> list[list[Entry]]:
    """Group the forms of all networks by their place in the list of forms."""
    longest = max(map(len, forms), default=0)
    return [[form[k] for form in forms if len(form) > k] for k in range(longest)]


def _forms(card: Path) -> Iterator[Entry]:
    spec = read_card(card)
    weights, errors = card.with_suffix(_SUFFIX), ERRORS / card.with_suffix(_SUFFIX).name
    plain = Entry(spec, partial(_load, weights, errors))
    yield plain
    if "averaged" not in spec.variants:
        return
    text = f"{spec.description} Self-ensemble of {ORIENTATIONS} orientations: better, slower."
    averaged_spec = replace(spec, name=spec.variants["averaged"], description=text, default=False)
    averaged = Entry(averaged_spec, partial(_load_averaged, weights, errors, averaged_spec))
    yield averaged
    if _can_be_doubled(spec):
        yield _doubled(plain, spec.variants["doubled"])
        yield _doubled(averaged, spec.variants["averaged_doubled"])


def _can_be_doubled(spec: ModelSpec) -> bool:
    return 2 * spec.scale in TASKS[spec.task].scales


def _doubled(entry: Entry, name: str) -> Entry:
    spec = describe_doubled(entry.spec, name)
    return Entry(spec, lambda: InterpolatedModel(entry.load(), name))


def _load(weights: Path, errors: Path) -> Model:
    model = load_network(weights, read_card(weights.with_suffix(".toml")))
    if isinstance(model, NetworkModel) and errors.is_file():
        return replace(model, errors_path=errors)
    return model


def _load_averaged(weights: Path, errors: Path, spec: ModelSpec) -> Model:
    model = _load(weights, errors)
    if not isinstance(model, NetworkModel):
        msg = f"model {spec.name!r} is no network that could be averaged over orientations"
        raise ModelError(msg)
    return replace(model, spec=spec, orientations=ORIENTATIONS)
