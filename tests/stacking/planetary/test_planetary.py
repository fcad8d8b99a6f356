"""Stacks of videos: ranking, alignment, combination, drizzle, and frames that cannot be used."""

from __future__ import annotations

import json
import resource
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import gaussian_filter, shift
from scipy.stats import spearmanr

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import AstroSRWarning, InputError, OutputError
from astro_sr_plugin.stacking.planetary.alignment import Reference

from .conftest import SIZE, Simulated, draw_planet

INNER = np.s_[20:-20, 20:-20]


def residual(image: np.ndarray, truth: np.ndarray) -> float:
    """RMS difference after the best shift and the best linear relation of the values."""
    filled = np.nan_to_num(image, nan=12.0).astype(np.float32)
    found = Reference(truth.astype(np.float32)).find_shift(filled, points=False)
    moved = shift(filled, (-found.y, -found.x), order=3, mode="nearest")[INNER].ravel()
    wanted = truth[INNER].ravel()
    return float(np.std(wanted - np.polyval(np.polyfit(moved, wanted, 1), moved)))


@pytest.fixture(scope="module")
def stacked(jupiter: Simulated) -> asr.PlanetaryResult:
    return asr.stack_planetary(jupiter.frames)


def test_the_table_holds_disc_quality_and_use(
    jupiter: Simulated, stacked: asr.PlanetaryResult
) -> None:
    table = stacked.table
    good = np.arange(48) != 20
    error = np.hypot(table["disc_x"] - jupiter.x, table["disc_y"] - jupiter.y)[good]
    # The warp moves the disc as a whole, too.
    assert np.median(error) < 0.8
    assert spearmanr(table["quality"][good], -jupiter.blur[good])[0] > 0.9
    assert (table["reason"][20], table["weight"][20]) == ("it is blank", 0)
    # The worst frames, whose weights together are 1 % of the sum, are left out.
    kept = table["weight"] > 0
    assert 30 < stacked.used == kept.sum() < 47
    assert table["quality"][kept].min() > table["quality"][~kept].max()
    home = stacked.reference
    moved = table["shift_x"][good] - (jupiter.x - jupiter.x[home])[good]
    assert np.std(moved) < 0.6


def test_the_stack_beats_the_best_frame_and_the_plain_mean(
    jupiter: Simulated, stacked: asr.PlanetaryResult
) -> None:
    best = residual(jupiter.frames[np.argmin(jupiter.blur)], jupiter.truth)
    plain = residual(jupiter.frames.mean(0), jupiter.truth)
    whole = residual(asr.stack_planetary(jupiter.frames, points="off").image.data, jupiter.truth)
    found = residual(stacked.image.data, jupiter.truth)
    assert found < 0.75 * min(best, plain)
    assert found < whole


def test_the_stack_is_linear_and_says_what_it_is(
    jupiter: Simulated, stacked: asr.PlanetaryResult
) -> None:
    header = stacked.image.meta
    assert (header["NFRAMES"], header["ROWORDER"]) == (48, "TOP-DOWN")
    assert header["NCOMBINE"] == stacked.used
    assert header["DISCR"] == pytest.approx(36, abs=1.5)
    doubled = asr.stack_planetary(2.0 * jupiter.frames[:12])
    single = asr.stack_planetary(1.0 * jupiter.frames[:12])
    np.testing.assert_allclose(doubled.image.data, 2 * single.image.data, rtol=2e-3, atol=0.3)


def test_results_do_not_depend_on_the_number_of_threads(jupiter: Simulated) -> None:
    one, two = (asr.stack_planetary(jupiter.frames[:10], jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.image.data, two.image.data)


@pytest.mark.parametrize("combine", ["median", "sigma"])
def test_outliers_are_left_out(jupiter: Simulated, tmp_path: Path, combine: str) -> None:
    frames = jupiter.frames[:16].copy()
    frames[3, 60, :] = 255
    effects = []
    for how in ("mean", combine):
        struck, clean = (
            asr.stack_planetary(video, weights="none", combine=how, scratch=tmp_path).image.data
            for video in (frames, jupiter.frames[:16])
        )
        effects.append(np.abs(struck - clean)[52:68, 20:-20].max(axis=0).mean())
    assert effects[1] < 0.7 * effects[0]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_file(tmp_path: Path, jupiter: Simulated) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(OutputError, match="not enough room"):
            asr.stack_planetary(jupiter.frames[:8], combine="median", scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


def test_fields_that_are_measured_again_are_the_same(
    jupiter: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = asr.stack_planetary(jupiter.frames[:12], combine="sigma")
    monkeypatch.setattr("astro_sr_plugin.stacking.planetary.frames._FIELD_BYTES", 0)
    again = asr.stack_planetary(jupiter.frames[:12], combine="sigma")
    np.testing.assert_array_equal(again.table["shift_x"], kept.table["shift_x"])


class Endless(Video):
    """A video of any length, of frames that are made when they are read."""

    def __init__(self, length: int) -> None:
        super().__init__("endless")
        self.shape, self.bits, self._length = (64, 64), 8, length
        self._planet = draw_planet(32, 32, 16, (64, 64))

    def __len__(self) -> int:
        return self._length

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in numbers:
            rng = np.random.default_rng(number)
            yield number, np.roll(self._planet, number % 5, axis=1) + rng.normal(0, 3, self.shape)


@pytest.mark.parametrize("combine", ["mean", "sigma"])
def test_the_memory_does_not_grow_with_the_number_of_frames(combine: str) -> None:
    """A frame more takes less than 1 kB, for what the table says of it: 8,000 take 8 MB."""
    peaks = []
    for length in (6, 6, 24):
        tracemalloc.start()
        assert asr.stack_planetary(Endless(length), points="off", combine=combine, jobs=1).used > 5
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / (24 - 6) < 1000


def test_the_noise_of_the_stack_is_known() -> None:
    rng = np.random.default_rng(2)
    planet = gaussian_filter(draw_planet(55, 55), 1.2)
    frames = np.stack([shift(planet, rng.uniform(-3, 3, 2), order=3) for _ in range(24)])
    noisy = frames + rng.normal(0, 3, frames.shape)
    image = asr.stack_planetary(noisy, weights="none", points="off").image
    sky = np.s_[6:14, 12:-12]
    measured = np.std(image.data[sky])
    assert measured == pytest.approx(3 / np.sqrt(24) * 0.863, rel=0.25)
    assert np.median(image.uncertainty.array[sky]) == pytest.approx(measured, rel=0.3)


def test_raw_colour_frames_keep_their_colours(jupiter: Simulated) -> None:
    frames = jupiter.frames[:12].copy()
    frames[:, 0::2, 0::2] = (frames[:, 0::2, 0::2] * 0.5).astype(np.uint8)
    for scale, shape in ((1.0, SIZE), (1.5, 1.5 * SIZE)):
        result = asr.stack_planetary(frames, pattern="RGGB", drizzle=scale)
        assert result.image.shape == (3, shape, shape)
        middle = int(shape / 2)
        red, green, blue = np.nanmean(
            result.image.data[:, middle - 12 : middle + 12, middle - 12 : middle + 12], axis=(1, 2)
        )
        assert red / green == pytest.approx(0.5, abs=0.03)
        assert blue / green == pytest.approx(1.0, abs=0.03)


def test_drizzle_keeps_surface_brightness(jupiter: Simulated) -> None:
    single = asr.stack_planetary(jupiter.frames[:16])
    double = asr.stack_planetary(jupiter.frames[:16], drizzle=2)
    assert double.image.shape == (2 * SIZE, 2 * SIZE)
    binned = double.image.data.reshape(SIZE, 2, SIZE, 2).mean((1, 3))
    np.testing.assert_allclose(binned[INNER], single.image.data[INNER], atol=6)
    sky = np.s_[4:40, 4:40]
    scatter = double.image.data[sky].std()
    assert np.median(double.image.uncertainty.array[sky]) == pytest.approx(scatter, rel=0.15)


def test_frames_whose_planet_is_cut_off_or_gone_are_left_out(jupiter: Simulated) -> None:
    frames = jupiter.frames[:12].copy()
    frames[4] = np.roll(frames[4], 40, axis=1)
    frames[4, :, :40] = 12
    frames[7] = np.random.default_rng(1).normal(12, 3, (SIZE, SIZE)).clip(0, 255)
    result = asr.stack_planetary(frames)
    assert set(np.flatnonzero(~result.table["used"])) == {4, 7}
    assert "cut off" in result.table["reason"][4]


def test_discs_are_scaled_to_the_largest() -> None:
    rng = np.random.default_rng(3)
    radii = [30, 32, 34, 36] * 2
    frames = [
        gaussian_filter(draw_planet(*rng.uniform(53, 58, 2), radius), 1.2)
        + rng.normal(0, 2, (SIZE, SIZE))
        for radius in radii
    ]
    result = asr.stack_planetary(frames, scale_to_largest=True)
    disc = asr.stack_planetary([result.image.data] * 2).table["disc_radius"][0]
    assert disc == pytest.approx(max(result.table["disc_radius"]), abs=0.5)


@pytest.mark.parametrize("side", [112, 113])
def test_a_surface_is_aligned_by_correlation(side: int) -> None:
    rng = np.random.default_rng(8)
    k = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.rfftfreq(160))
    k[0, 0] = np.inf
    terrain = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(160, 160))) * k**-1.5)
    terrain = gaussian_filter(100 + 30 * terrain / terrain.std(), 1.2)
    moves = rng.integers(-12, 13, (10, 2))
    frames = [
        np.roll(terrain, move, (0, 1))[24:, 24:][:side, :side] + rng.normal(0, 3, (side, side))
        for move in moves
    ]
    result = asr.stack_planetary(frames)
    assert np.isnan(result.table["disc_x"]).all()
    home = moves[result.reference]
    np.testing.assert_allclose(result.table["shift_y"], moves[:, 0] - home[0], atol=0.2)
    np.testing.assert_allclose(result.table["shift_x"], moves[:, 1] - home[1], atol=0.2)


def test_a_small_planet_with_rings_needs_no_points() -> None:
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:48, :64]
    saturn = 120.0 * (np.hypot(x - 32, y - 24) < 6)
    ring = np.hypot((x - 32) / 14, (y - 24) / 5)
    saturn += 80.0 * ((ring < 1) & (ring > 0.7))
    frames = [
        shift(gaussian_filter(saturn, 1), move, order=1) + rng.normal(0, 3, saturn.shape)
        for move in rng.uniform(-3, 3, (12, 2))
    ]
    result = asr.stack_planetary(frames)
    assert result.used == 12
    assert np.nanmax(result.image.data) > 0.7 * np.max(gaussian_filter(saturn, 1))


def test_rotation_that_smears_is_said(jupiter: Simulated) -> None:
    video = asr.open_video(jupiter.frames[:8])
    video.header["OBJECT"] = "Jupiter"
    video.times = np.datetime64("2026-11-27T00:00") + np.arange(8) * np.timedelta64(60, "s")
    with pytest.warns(AstroSRWarning, match="the planet turns by"):
        asr.stack_planetary(video)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": 0}, "keep=0"),
        ({"keep": "120%"}, "keep='120%'"),
        ({"keep": "some"}, "keep='some'"),
        ({"weights": "best"}, "weights='best'"),
        ({"points": "all"}, "points='all'"),
        ({"combine": "sum"}, "combine='sum'"),
        ({"drizzle": 1.7}, "drizzle=1.7"),
        ({"drizzle": 2, "combine": "median"}, "allowed is mean"),
        ({"jobs": 0}, "jobs=0"),
    ],
)
def test_parameters_that_are_not_allowed(jupiter: Simulated, options: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        asr.stack_planetary(jupiter.frames[:3], **options)


def test_videos_without_a_usable_frame() -> None:
    with pytest.raises(InputError, match="no frame of the cube can be used: it is blank"):
        asr.stack_planetary(np.zeros((4, 40, 40), np.uint8))
    with pytest.raises(InputError, match="frames of 9 x 8 pixels are too small"):
        asr.stack_planetary(np.zeros((4, 8, 9), np.uint8))


def test_one_frame_is_its_own_stack(jupiter: Simulated) -> None:
    with pytest.warns(AstroSRWarning, match="one usable frame"):
        result = asr.stack_planetary(jupiter.frames[:1])
    assert result.image.uncertainty is None
    np.testing.assert_allclose(result.image.data[INNER], jupiter.frames[0][INNER], atol=1)


def test_the_command_writes_stack_copy_and_table(
    jupiter: Simulated, tmp_path: Path, capsys
) -> None:
    source, output, table = tmp_path / "j.fits", tmp_path / "out.fits", tmp_path / "f.csv"
    fits.writeto(source, jupiter.frames[16:28])
    words = ["planetary", str(source), "-o", str(output), "--keep", "50%", "--json"]
    more = ["--sharpen", "unsharp", "--table", str(table), "--study-count"]
    assert main([*words, *more]) == 0
    study = Table.read(tmp_path / "out_study.csv", format="ascii.csv")
    assert list(study["frames"]) == [4, 6, 8, 11]
    assert study["noise"][-1] < study["noise"][0]
    assert (study["noise_sharpened"] > study["noise"]).all()
    assert "<svg" in (tmp_path / "out_study.html").read_text()
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["left_out"]) == (12, {"it is blank": 1})
    assert 5 <= told["used"] <= 6
    rows = Table.read(table, format="ascii.csv")
    assert (rows["used"] == "True").sum() == told["used"]
    plain, sharp = fits.getdata(output), fits.getdata(tmp_path / "out_sharp.fits")
    assert np.nanstd(sharp[INNER]) > np.nanstd(plain[INNER])
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    for name in ("a.fits", output.name):
        command = ["planetary", str(tmp_path / "no.ser"), "-o", str(tmp_path / name), "--overwrite"]
        assert main(command) == 2
        assert "no such file" in capsys.readouterr().err
