"""astro-sr siril install and uninstall, in a home of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "siril_scripts"
NAMES = sorted(path.name for path in SOURCE.glob("AstroSR_*.py"))


def astro_sr(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "astro_sr_plugin", "siril", *words],
        env={**os.environ, "HOME": str(home), "APPDATA": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_scripts_go_where_siril_looks_and_leave_again(tmp_path: Path) -> None:
    folder = tmp_path / ("siril/scripts" if os.name == "nt" else ".siril/scripts")
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("print()\n")
    (folder / "AstroSR_Outdated.py").write_text("print()\n")
    done = astro_sr(tmp_path, "install", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["scripts"] == NAMES
    assert sorted(path.name for path in folder.glob("AstroSR_*")) == NAMES
    for path in SOURCE.rglob("*.py"):
        assert (folder / path.relative_to(SOURCE)).read_bytes() == path.read_bytes()
    command = (folder / "astro_sr_siril" / "command.txt").read_text()
    assert command == report["command"]
    assert shutil.which(command)
    assert not list(folder.rglob("__pycache__"))
    done = astro_sr(tmp_path, "uninstall")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["mine.py"]
    assert astro_sr(tmp_path, "uninstall").returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has one folder")
def test_the_folder_in_use_is_taken(tmp_path: Path) -> None:
    (tmp_path / "siril" / "scripts").mkdir(parents=True)
    assert astro_sr(tmp_path, "install").returncode == 0
    assert (tmp_path / "siril" / "scripts" / NAMES[0]).exists()
    assert not (tmp_path / ".siril").exists()


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    done = astro_sr(tmp_path, "install", "--folder", str(tmp_path / "my scripts"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my scripts" / NAMES[0]).exists()
    assert not (tmp_path / ".siril").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    done = astro_sr(tmp_path, "install", "--folder", str(tmp_path / "file" / "scripts"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr
    assert (tmp_path / "file").read_text() == "precious"
