"""The update repository for PixInsight."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import astro_sr_plugin as asr

SCRIPTS = Path(__file__).parents[2] / "pixinsight_scripts"
DATE = datetime.date(2026, 3, 4)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("builder", SCRIPTS / "build_repository.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_command_builds_it(tmp_path: Path) -> None:
    output = tmp_path / "new" / "repository"
    command = [sys.executable, SCRIPTS / "build_repository.py", "--output", output]
    done = subprocess.run([*command, "--date", "20260304"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(str(path) for path in output.iterdir())
    root = ElementTree.parse(output / "updates.xri").getroot()
    assert (root.tag, root.attrib) == ("xri", {"version": "1.0"})
    platform = root.find("platform")
    assert platform.attrib == {"os": "all", "arch": "noarch", "version": "1.9.4:1.9.10"}
    (package,) = platform.findall("package")
    assert package.get("type") == "script"
    assert package.get("releaseDate") == "20260304"
    content = (output / package.get("fileName")).read_bytes()
    assert package.get("sha1") == hashlib.sha1(content).hexdigest()
    assert asr.__version__ in package.findtext("title")
    scripts = list(SCRIPTS.glob("AstroSR[A-Z]*.js"))
    assert len(package.findall("description/ul/li")) == len(scripts) >= 8


def test_the_package_is_complete(builder: ModuleType, tmp_path: Path) -> None:
    with zipfile.ZipFile(builder.build(tmp_path, DATE)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        scripts = [n for n in names if re.fullmatch(r"src/scripts/AstroSR/AstroSR[A-Z]\w*\.js", n)]
        assert len(scripts) >= 8
        for name in scripts:
            text = archive.read(name).decode("utf-8")
            for included in re.findall(r'^#include "(.+)"$', text, re.MULTILINE):
                assert f"src/scripts/AstroSR/{included}" in names
            stem = Path(name).stem
            icon = f"rsc/icons/script/{stem}/{stem}.svg"
            assert ElementTree.fromstring(archive.read(icon)).tag.endswith("svg")
        assert all(name.startswith(("src/scripts/AstroSR/", "rsc/icons/script/")) for name in names)


def test_the_same_sources_give_the_same_bytes(builder: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SCRIPTS, copy, copy_function=shutil.copyfile)
    first = builder.build(tmp_path / "a", DATE)
    second = builder.build(tmp_path / "b", DATE, copy)
    assert first.read_bytes() == second.read_bytes()
    (copy / "AstroSR-lib.js").write_text("// changed\n")
    assert builder.build(tmp_path / "c", DATE, copy).read_bytes() != first.read_bytes()


def test_signatures_are_packed_all_or_none(builder: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "copy")
    scripts = sorted((tmp_path / "copy").glob("AstroSR*.js"))
    scripts[0].with_suffix(".xsgn").write_text("<xsgn/>")
    with pytest.raises(ValueError, match=re.escape(scripts[-1].with_suffix(".xsgn").name)):
        builder.build(tmp_path / "a", DATE, tmp_path / "copy")
    assert not (tmp_path / "a").exists()
    for script in scripts:
        script.with_suffix(".xsgn").write_text("<xsgn/>")
    with zipfile.ZipFile(builder.build(tmp_path / "a", DATE, tmp_path / "copy")) as archive:
        assert sum(name.endswith(".xsgn") for name in archive.namelist()) == len(scripts)


@pytest.mark.parametrize("words", [["--date", "4.3.2026"], []])
def test_wrong_usage(
    words: list[str], builder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SystemExit) as leaving:
        builder.main(["--output", str(blocked), *words])
    assert leaving.value.code == 2
    assert ("YYYYMMDD" if words else str(blocked)) in capsys.readouterr().err


def test_the_date_of_a_reproducible_build(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert builder.main(["--output", str(tmp_path)]) == 0
    assert 'releaseDate="19700102"' in (tmp_path / "updates.xri").read_text()
