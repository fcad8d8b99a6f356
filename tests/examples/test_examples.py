"""The examples of the documentation, each run in an empty folder.

Those that start processes are run as a user would run them, the other scripts in this process.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
WITH_PROCESSES = {"dask_workers.py", "processes.py"}
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the examples and nothing else."""
    for path in EXAMPLES.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    """Run a command with this environment's Python and astro-sr first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - WITH_PROCESSES))
def test_scripts(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    # The one in this folder is meant.
    sys.modules.pop("frames", None)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        runpy.run_path(name, run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(WITH_PROCESSES))
def test_scripts_that_start_processes(name: str, folder: Path) -> None:
    assert run([sys.executable, name], folder)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_night_in_the_shell(folder: Path) -> None:
    run(["bash", "batch_night.sh"], folder)
    record = json.loads((folder / "results.json").read_text())
    assert record["counts"]["skipped"] == 4
    assert (folder / "frame_1.html").stat().st_size > 1000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks(name: str, folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(folder / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are kept stripped"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    shown = [
        output.get("data", {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert sum("<table>" in table for table in tables) == 3
    assert any("image/png" in data for data in shown)
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
