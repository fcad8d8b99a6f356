"""Results files say what they were made with, and the documentation shows those of the weights."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import astro_sr_plugin
import benchmarks
from benchmarks.figures.results import made_with, shipped_weights, write_results
from benchmarks.figures.tables import figures_table

ROOT = Path(benchmarks.__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.md"))
WITHOUT_WEIGHTS = {
    "planetary",
    "psf",
    "registration",
    "stacking",
    "stacking_time",
    "stacking_time_large",
}
"""Runs that use no network."""
PAGES = sorted((ROOT / "docs").glob("*.rst"))


def header_of(text: str) -> dict[str, str]:
    """Return the lines "- key: value" before the first paragraph or table of a report."""
    lines = text.split("\n\n")[1].splitlines()
    return dict(line.removeprefix("- ").split(": ", 1) for line in lines)


def weights_in(header: dict[str, str]) -> dict[str, str]:
    before = "weights of "
    return {k.removeprefix(before): v for k, v in header.items() if k.startswith(before)}


def shown_on(page: Path) -> list[str]:
    """Return the results that a page includes, or quotes as its line ``.. results:`` says."""
    text = page.read_text(encoding="utf-8")
    included = re.findall(r"literalinclude:: \.\./benchmarks/results/(\w+)\.md", text)
    quoted = re.findall(r"^\.\. results: (.+)$", text, flags=re.MULTILINE)
    return sorted({*included, *(name for line in quoted for name in line.split())})


def test_both_files_of_a_run_say_what_they_were_made_with(tmp_path) -> None:
    model = tmp_path / "mine.safetensors"
    model.write_bytes(b"weights")
    made = made_with(["denoise"], uncertainty=True, models=["denoise-quality", model])
    write_results(
        tmp_path, "some", title="Some", made=made, sections=["Words."], record={"a": float("nan")}
    )
    record = json.loads((tmp_path / "some.json").read_text())
    header = header_of((tmp_path / "some.md").read_text())
    assert record["a"] is None
    assert record["made_with"]["weights"] == weights_in(header) == made["weights"]
    assert set(made["weights"]) == {
        "denoise-fast",
        "denoise-fast uncertainty",
        "mine.safetensors",
    }
    assert header["version"] == astro_sr_plugin.__version__
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert header["commit"].removesuffix("-dirty") == head.strip() or header["commit"] == "unknown"


def test_a_task_names_its_own_weights() -> None:
    assert set(shipped_weights(["super-resolve-x4"])) == {"super-resolve-x2-fast"}
    assert {"super-resolve-x2-fast", "denoise-fast", "srcnn-x2"} <= set(shipped_weights())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_name_commit_version_and_weights(path: Path) -> None:
    header = header_of(path.read_text(encoding="utf-8"))
    made = json.loads(path.with_suffix(".json").read_text())["made_with"]
    assert header["commit"] == made["commit"]
    assert header["version"] == made["version"]
    assert weights_in(header) == made["weights"]
    assert (made["weights"] == {}) == (path.stem in WITHOUT_WEIGHTS)
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", made["commit"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_show_figures_of_the_weights_that_are_shipped(page: Path) -> None:
    """Figures of other weights fail, unless the page says that they are."""
    shipped = shipped_weights(uncertainty=True)
    others = set()
    for name in shown_on(page):
        header = header_of((ROOT / f"benchmarks/results/{name}.md").read_text(encoding="utf-8"))
        # Files, with their endings, are of networks of other projects.
        found = {k: v for k, v in weights_in(header).items() if not Path(k).suffix}
        assert set(found) <= set(shipped)
        if any(digest != shipped[model] for model, digest in found.items()):
            others.add(name)
    text = page.read_text(encoding="utf-8")
    stated = re.search(r"Measured with older weights: ([\w, ]+)\.", text)
    assert others == (set(stated[1].split(", ")) if stated else set())


def test_a_missing_figure_is_a_dash() -> None:
    columns = {"name": ("", ""), "db": ("dB", ".1f")}
    table = figures_table([{"name": "a", "db": 1.0}, {"name": "b"}], columns)
    assert table.splitlines()[2:] == ["| a | 1.0 |", "| b | – |"]
