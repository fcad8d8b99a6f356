"""Gray display pictures in colours and twice the pixels, and how that is measured."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.evaluate import export_picture_model


@pytest.fixture(scope="module")
def picture():
    """Blobs of different colours on a dark sky."""
    y, x = np.mgrid[:64, :48]
    blobs = [np.exp(-((y - 20 * k - 12) ** 2 + (x - 24) ** 2) / 60) for k in range(3)]
    tones = 12 + 220 * np.stack([blobs[0], blobs[1] + 0.3 * blobs[0], blobs[2]], axis=-1)
    return tones.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def gray_network(tmp_path_factory):
    """A network for colours that returns gray, as all do before they are trained."""
    config = PictureConfig(
        "untrained",
        "colorize",
        "Colorizer",
        architecture={"widths": [4, 6]},
        stages=[{"steps": 1}],
    )
    return export_picture_model(config, "no run", tmp_path_factory.mktemp("weights"))


def size_of(path):
    with Image.open(path) as opened:
        return opened.size


def test_the_result_is_the_picture_with_twice_the_pixels(picture, gray_network):
    gray = picture.mean(-1).round().astype(np.uint8)
    before = gray.copy()
    result = asr.enhance_picture(gray)
    assert result.shape == (128, 96, 3)
    assert np.array_equal(gray, before)
    assert np.ptp(result.astype(int), axis=-1).max() == 0, "gray stays gray"
    small = np.asarray(Image.fromarray(result).resize((48, 64), Image.Resampling.BOX))[..., 0]
    assert np.abs(small.astype(int) - gray).max() < 12
    coloured = asr.enhance_picture(gray, colours=gray_network)
    assert np.abs(coloured.astype(int) - result).max() <= 1


def test_tiles_do_not_show(picture, gray_network):
    whole, tiled = (
        asr.enhance_picture(
            picture, colours=gray_network, runtime=asr.Runtime(device="cpu", tile_size=size)
        )
        for size in (None, 32)
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_the_similarity_is_that_of_the_protocol(picture):
    compared = asr.compare_picture(picture, bilateral=True)
    by_hand = structural_similarity(
        picture,
        compared.pixels,
        channel_axis=-1,
        data_range=255,
        win_size=11,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    scores = compared.scores
    assert scores["ssim"] == pytest.approx(by_hand)
    assert scores["bicubic"] > 0.9
    assert scores["gray"] < scores["bicubic"], "these colours are strong"
    assert set(scores) == {
        *("ssim", "bicubic", "gray", "smooth_ssim", "smooth_bicubic", "smooth_gray"),
        "smooth_filtered",
    }


def test_what_is_no_picture_is_refused(picture, gray_network):
    for wrong in (picture / 255, picture[:8], picture[..., :2]):
        with pytest.raises(InputError, match="picture of shape"):
            asr.enhance_picture(wrong)
    with pytest.raises(InputError, match="linear"):
        asr.enhance_picture(picture, model="bicubic")
    with pytest.raises(InputError, match="super-resolve"):
        asr.enhance_picture(picture, model=gray_network)


def test_the_command_does_a_folder(picture, gray_network, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(np.roll(picture, k, axis=0)).save(folder / f"{k}.png")
    (folder / "notes.txt").write_text("no picture")
    words = ["enhance-pictures", str(folder), "-o", str(out), "--colours", str(gray_network)]
    assert main([*words, "--compare", "--count", "2", "--json", "--progress", "none"]) == 0
    printed = json.loads(capsys.readouterr().out)
    with (out / "ssim.csv").open(newline="") as stream:
        rows = {row["picture"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["0", "2", "mean"]
    mean = (float(rows["0"]["ssim"]) + float(rows["2"]["ssim"])) / 2
    assert printed["ssim"] == pytest.approx(mean, abs=1e-4)
    assert size_of(out / "2.png") == (48, 64)
    assert main([*words, "--compare"]) == 2, "files are not overwritten"
    assert main([*words, "--overwrite", "--size", "40", "--quiet"]) == 0
    assert size_of(out / "1.png") == (80, 80)
    (folder / "3.png").write_bytes(b"damaged")
    assert main([*words, "--overwrite"]) == 2
    assert main(["enhance-pictures", str(tmp_path / "no"), "-o", str(out)]) == 2
    assert "3.png" in capsys.readouterr().err


def test_the_command_reads_galaxies(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["images"] = np.full((3, 40, 40, 3), 60, np.uint8)
        for name in ("ans", "ra", "dec", "redshift", "pxscale"):
            file[name] = np.zeros(3)
    words = ["enhance-pictures", str(tmp_path / "g.h5"), "-o", str(tmp_path / "out")]
    assert main([*words, "--count", "2", "--quiet"]) == 0
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["galaxy_00000.png", "galaxy_00002.png"]
