"""Which images words stand for, and what results are called."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import astro_sr_plugin as asr
from astro_sr_plugin.batch.inputs import find_inputs, name_outputs


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_holds_its_images_by_suffix(lights: Path) -> None:
    (lights / "notes.txt").write_text("clouds at two")
    (lights / ".hidden.fits").write_bytes(b"")
    (lights / "deeper").mkdir()
    (lights / "Z.FIT.FZ").write_bytes(b"")
    expected = ["Z.FIT.FZ", "light_1.fits", "light_2.fits", "light_3.fits"]
    assert names(find_inputs([lights])) == expected


def test_patterns_and_names_each_once(lights: Path) -> None:
    assert names(find_inputs([lights / "light_[12].fits"])) == ["light_1.fits", "light_2.fits"]
    assert len(find_inputs([lights / "*.fits", lights / "light_2.fits"])) == 3
    assert len(find_inputs([lights.parent / "**" / "*.fits"])) == 3


def test_a_name_with_brackets_is_a_name(lights: Path) -> None:
    path = lights / "M31 [Ha].fits"
    path.write_bytes((lights / "light_1.fits").read_bytes())
    assert find_inputs([path]) == [path]


@pytest.mark.parametrize("kind", ["night.txt", "@night", "-"])
def test_lists(kind: str, lights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# first night\nlights/light_2.fits\n\n  lights/light_1.fits \n"
    monkeypatch.chdir(lights.parent)
    if kind == "-":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    else:
        Path(kind.removeprefix("@")).write_text(text)
    assert names(find_inputs([kind])) == ["light_2.fits", "light_1.fits"]


NAMED = "lights/light_2.fits\r\nlights/light_1.fits\r\n"


@pytest.mark.parametrize(
    "content",
    [
        NAMED.encode("utf-8-sig"),
        NAMED.encode("utf-16"),
        NAMED.encode("utf-16-le"),
        NAMED.encode("utf-16-be"),
        b'"lights/light_2.fits"\r\n"lights/light_1.fits"\r\n',
        b"'lights/light_2.fits'\n'lights/light_1.fits'",
        NAMED.replace("/", "\\").encode(),
        b"lights/light_2.fits\0lights/light_1.fits\0",
        b"lights/light_2.fits\rlights/light_1.fits\r",
    ],
    ids=["bom", "utf16", "utf16le", "utf16be", "quotes", "single", "backslashes", "print0", "cr"],
)
def test_lists_of_other_systems(
    content: bytes, lights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lights.parent)
    Path("night.txt").write_bytes(content)
    assert names(find_inputs(["night.txt"])) == ["light_2.fits", "light_1.fits"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_lists_with_letters_that_are_not_ascii(
    encoding: str, lights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lights)
    (lights / "light_1.fits").rename("Königsstuhl.fits")
    Path("night.txt").write_bytes("Königsstuhl.fits\r\n".encode(encoding))
    assert find_inputs(["night.txt"]) == [Path("Königsstuhl.fits")]


def test_a_file_name_in_bytes_that_are_not_utf8(
    lights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lights)
    name = os.fsdecode(b"K\xf6nig.fits")
    (lights / "light_1.fits").rename(name)
    Path("night.txt").write_bytes(b"K\xf6nig.fits\n")
    assert find_inputs(["night.txt"]) == [Path(name)]


def test_a_quoted_name_in_a_list_is_reported_without_its_quotes(
    lights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lights)
    Path("night.txt").write_text('"no such file.fits"')
    assert find_inputs(["night.txt"]) == [Path("no such file.fits")]


def test_what_stands_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for word in ("no.fits", "*.fits", "", "empty.txt", "no.txt"):
        with pytest.raises(asr.ImageReadError, match="no|empty"):
            find_inputs([tmp_path / word])


def test_names_of_results(tmp_path: Path) -> None:
    inputs = [Path("a.fits"), Path("b.fits.fz"), Path("c.XISF"), Path("d")]
    found = names(name_outputs(inputs, tmp_path, ending="sharp"))
    assert found == ["a_sharp.fits", "b_sharp.fits.fz", "c_sharp.xisf", "d_sharp.fits"]
    for suffix in (".xisf", "XISF"):
        found = names(name_outputs(inputs, tmp_path, ending="sharp", suffix=suffix))
        assert found == ["a_sharp.xisf", "b_sharp.xisf", "c_sharp.xisf", "d_sharp.xisf"]


def test_names_that_collide(tmp_path: Path) -> None:
    with pytest.raises(asr.InputError, match="both become"):
        name_outputs([Path("x/a.fits"), Path("y/a.fits")], tmp_path, ending="sharp")
    inputs = [tmp_path / "a.fits", tmp_path / "a_sharp.fits"]
    with pytest.raises(asr.OutputError, match="is an input"):
        name_outputs(inputs, tmp_path, ending="sharp")
    for ending, suffix in (("", None), ("a/b", None), ("sharp", ".jpeg")):
        with pytest.raises(asr.InputError):
            name_outputs([Path("a.fits")], tmp_path, ending=ending, suffix=suffix)
