"""The public face: names, version, metadata, shipped files."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import astro_sr_plugin as asr

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", asr.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(asr, name).__doc__


def test_names_are_listed_and_strangers_refused() -> None:
    assert set(asr.__all__) <= set(dir(asr))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = asr.no_such_name


def test_no_public_name_is_a_module() -> None:
    modules = {path.stem for path in Path(asr.__file__).parent.iterdir()}
    assert not modules & set(asr.__all__)


RESULTS = {
    "audit": "Audit",
    "measure": "Quality",
    "run_batch": "BatchSummary",
    "load_model": "Model",
}


@pytest.mark.parametrize(("function", "result"), RESULTS.items())
def test_what_functions_return_can_be_imported(function: str, result: str) -> None:
    annotation = getattr(asr, function).__annotations__["return"]
    assert annotation == result
    assert isinstance(getattr(asr, result), type)


def test_version_and_metadata_agree() -> None:
    assert metadata.version("astro_sr_plugin") == asr.__version__
    commands = metadata.entry_points(group="console_scripts", name="astro-sr")
    assert [command.value for command in commands] == ["astro_sr_plugin.cli:main"]


def test_the_sample_is_valid(sample_path: Path) -> None:
    from astropy.io import fits

    with fits.open(sample_path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].data.shape == (700, 700)
        assert hdus[0].header["BUNIT"] == "adu"
    assert "MIT License" in (sample_path.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_holds_what_is_needed(tmp_path: Path) -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the tests run outside the source tree")
    pytest.importorskip("setuptools")
    build = (
        "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    )
    source = tmp_path / "source"
    _copy_tracked(source)
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for module in (source / "astro_sr_plugin").rglob("*.py"):
        assert str(module.relative_to(source)) in names
    assert "astro_sr_plugin/py.typed" in names
    assert "astro_sr_plugin/__init__.pyi" in names
    assert "astro_sr_plugin/data/samples/abell671_crop.fits" in names
    assert "astro_sr_plugin/data/samples/README.md" in names
    for path in (source / "astro_sr_plugin" / "weights").glob("*.*"):
        if path.suffix in (".safetensors", ".toml"):
            assert str(path.relative_to(source)) in names
    for folder in ("siril_scripts", "pixinsight_scripts"):
        for path in (source / folder).rglob("*.*"):
            assert f"astro_sr_plugin/{path.relative_to(source).as_posix()}" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    assert tomllib.loads((source / "pyproject.toml").read_text())["project"]["license"]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def _copy_tracked(target: Path) -> None:
    import shutil

    target.mkdir()
    for name in ("pyproject.toml", "setup.py", "setup.cfg", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("astro_sr_plugin", "siril_scripts", "pixinsight_scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
