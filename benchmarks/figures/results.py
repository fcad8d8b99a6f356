"""Results files: what a run found, and with which commit, version and weights."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import astro_sr_plugin as asr

__all__ = ["made_with", "plain", "say", "shipped_weights", "write_results"]

PACKAGE = Path(asr.__file__).parent

_MEASURED = ":/", ":(exclude,top)benchmarks/results"
"""Files of the checkout that figures depend on."""


def shipped_weights(
    tasks: Iterable[str] | None = None, *, uncertainty: bool = False
) -> dict[str, str]:
    """Return the sha256 of the weights of the package by name, as their cards state it.

    Parameters
    ----------
    tasks : iterable of str, optional
        Only those of the networks that the verbs for these tasks take by default; else all.
    uncertainty : bool
        Whether those of the networks of their uncertainty are returned too, as "NAME uncertainty".
    """
    cards = [
        tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted((PACKAGE / "weights").rglob("*.toml"))
    ]
    wanted = None if tasks is None else {task.removesuffix("-x4") for task in tasks}
    found = {
        card["name"]: card["sha256"]
        for card in cards
        if card["task"] != "uncertainty"
        and (wanted is None or (card["task"] in wanted and card.get("default", False)))
    }
    if uncertainty:
        found |= {
            f"{card['name']} uncertainty": card["sha256"]
            for card in cards
            if card["task"] == "uncertainty" and card["name"] in found
        }
    return found


def made_with(
    tasks: Iterable[str], *, uncertainty: bool = False, models: Iterable[str | Path] = ()
) -> dict[str, Any]:
    """Return what results are made with: commit, version of the package, sha256 of the weights.

    Parameters
    ----------
    tasks : iterable of str
        Tasks that the run's verbs are for.
    uncertainty : bool
        Whether uncertainties are looked at.
    models : iterable of str or path
        Names of models and files of weights that the run was given.

    Returns
    -------
    dict
        ``commit`` ends with "-dirty" where files other than results differ from it, and is
        "unknown" outside of a checkout.
    """
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED):
        commit += "-dirty"
    models = tuple(models)
    weights = shipped_weights(tasks, uncertainty=uncertainty)
    weights |= {name: found for name, found in shipped_weights().items() if name in models}
    weights |= {
        Path(model).name: sha256(Path(model).read_bytes()).hexdigest()
        for model in models
        if Path(model).is_file()
    }
    return {"commit": commit or "unknown", "version": asr.__version__, "weights": weights}


def _git(*words: str) -> str:
    """Return what git says of the checkout; nothing outside of one."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


def write_results(
    out: str | Path,
    name: str,
    *,
    title: str,
    made: Mapping[str, Any],
    sections: Sequence[str],
    record: Mapping[str, Any],
) -> str:
    """Write NAME.md and NAME.json, both with what they were made with.

    Parameters
    ----------
    out : path
        Folder, made if missing.
    name : str
        Of the run.
    title : str
        First line of the report.
    made : mapping
        From `made_with`.
    sections : sequence of str
        Paragraphs and tables of the report.
    record : mapping
        The figures; numbers that are not finite are written as null.

    Returns
    -------
    str
        The report.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join([f"# {title}", made_with_list(made), *sections]) + "\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    content = plain({"made_with": made, **record})
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False))
    return text


def made_with_list(made: Mapping[str, Any]) -> str:
    """Return what results were made with, as lines that `docs` can be held against."""
    lines = [f"- commit: {made['commit']}", f"- version: {made['version']}"]
    lines += [f"- weights of {name}: {digest}" for name, digest in made["weights"].items()]
    return "\n".join(lines)


def plain(value: Any, digits: int = 6) -> Any:
    """Return the same for JSON, rounded, with None for figures that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, digits) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), digits) if np.isfinite(value) else None
    return value


def say(*words: object) -> None:
    """Print a line of progress on stderr."""
    print(*words, file=sys.stderr, flush=True)
