"""Super-resolution of many frames: gain, flux, noise, colours, outliers, tiles, no gain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import CCDData
from scipy.ndimage import zoom
from scipy.special import erf

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stacking import fine_samples, fine_tiles, super_resolution
from astro_sr_plugin.stacking.least_squares import Strength
from astro_sr_plugin.stacking.pixel_response import make_response, to_pixels

SKY, NOISE, SIZE, FWHM = 200.0, 5.0, 72, 1.6
INNER = np.s_[12:-12, 12:-12]


def star_places(size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    y, x = (place.ravel() for place in np.mgrid[8 : size - 8 : 6j, 8 : size - 8 : 6j])
    x, y = x + rng.uniform(-2, 2, x.size), y + rng.uniform(-2, 2, x.size)
    return x, y, np.exp(rng.uniform(np.log(800), np.log(12000), x.size))


def render(
    shift: tuple[float, float] = (0.0, 0.0), scale: int = 1, size: int = SIZE, fwhm: float = FWHM
) -> np.ndarray:
    """Stars integrated over the pixels exactly; surface brightness per pixel of a frame."""
    x, y, flux = star_places(size)
    edges = np.arange(size * scale + 1) / scale - 0.5
    width = np.sqrt(2) * fwhm / 2.3548
    across, down = (
        np.diff(erf((edges - (place + move)[:, None]) / width) / 2, axis=1)
        for place, move in ((x, shift[0]), (y, shift[1]))
    )
    return (down * flux[:, None]).T @ across * scale**2


def make_frames(
    number: int, size: int = SIZE, factor: float = 1.0, fwhm: float = FWHM
) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    shifts = [(0.0, 0.0), *rng.uniform(-2, 2, (number - 1, 2))]
    return [
        factor * render(s, size=size, fwhm=fwhm) + SKY + rng.normal(0, NOISE, (size, size))
        for s in shifts
    ]


def error_of(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - truth)[INNER] ** 2)))


@pytest.fixture(scope="module")
def result() -> asr.StackResult:
    return asr.super_resolve_stack(make_frames(12), reference=0, jobs=1)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return render(scale=2) + SKY


def test_it_is_nearer_the_truth_than_drizzle_and_the_mean(result, truth) -> None:
    pytest.importorskip("drizzle")
    frames = make_frames(12)
    drizzled = asr.stack(frames, reference=0, drizzle=2, pixfrac=0.5, jobs=1).image.data
    mean = zoom(asr.stack(frames, reference=0, jobs=1).image.data, 2, grid_mode=True, mode="mirror")
    drizzled = np.where(np.isfinite(drizzled), drizzled, SKY)
    own = error_of(result.image.data, truth)
    assert own < error_of(drizzled, truth) * 10 ** (-3 / 20)
    assert own < error_of(mean, truth) * 10 ** (-3 / 20)
    assert result.image.shape == truth.shape
    assert result.image.meta["NOISCORR"] > 1
    assert result.image.meta["ASRSCALE"] == 2


def test_flux_and_places_of_stars_are_kept(result, truth) -> None:
    x, y, flux = star_places()
    bright = flux > 3000
    found, expected, offsets = [], [], []
    for px, py in zip(2 * x[bright] + 0.5, 2 * y[bright] + 0.5, strict=True):
        part = np.s_[round(py) - 4 : round(py) + 5, round(px) - 4 : round(px) + 5]
        for image, sums in ((result.image.data, found), (truth, expected)):
            sums.append((image[part] - SKY).sum())
        row, column = np.mgrid[part]
        light = [image[part] - SKY for image in (result.image.data, truth)]
        places = [
            ((one * row).sum() / one.sum(), (one * column).sum() / one.sum()) for one in light
        ]
        offsets.append(np.subtract(*places))
    found, expected = np.array(found), np.array(expected)
    assert np.sum(found * expected) / np.sum(expected**2) == pytest.approx(1, abs=0.005)
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05


def test_the_noise_is_that_of_the_uncertainty(result, truth) -> None:
    dark = (truth - SKY < 1)[INNER]
    pull = ((result.image.data - truth) / result.image.uncertainty.array)[INNER][dark]
    assert pull.std() == pytest.approx(1, abs=0.2)
    assert abs(pull.mean()) < 0.3


def test_tiles_do_not_change_the_result(monkeypatch) -> None:
    """The strength of the regularisation is given, because it is chosen on tiles."""
    given = [Strength(3e-4, 0.1, 100.0)]
    monkeypatch.setattr(super_resolution, "choose_strengths", lambda problem: given)
    frames = make_frames(12)
    results = []
    for size in (256, 72):
        for module in (fine_samples, fine_tiles):
            monkeypatch.setattr(module, "TILE", size)
        results.append(asr.super_resolve_stack(frames, reference=0, jobs=1).image)
    whole, tiled = results
    deviation = np.abs((tiled.data - whole.data) / whole.uncertainty.array)
    assert np.quantile(deviation, 0.99) < 0.1
    ratio = tiled.uncertainty.array / whole.uncertainty.array
    assert np.median(ratio) == pytest.approx(1, abs=0.05)


def test_an_interrupted_run_goes_on_with_the_blocks_it_has(result, monkeypatch, tmp_path) -> None:
    kept, frames = tmp_path / "kept", make_frames(12)

    def interrupt(done: int, total: int) -> None:
        if list(kept.glob("block_*.npz")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asr.super_resolve_stack(frames, reference=0, jobs=1, resume=kept, progress=interrupt)
    solved = []
    solve = super_resolution.solve_block
    monkeypatch.setattr(
        super_resolution, "solve_block", lambda *job: solved.append(job[-1]) or solve(*job)
    )
    again = asr.super_resolve_stack(frames, reference=0, jobs=1, resume=kept).image
    assert len(solved) == 1
    np.testing.assert_array_equal(again.data, result.image.data)
    assert again.meta["NOISCORR"] == result.image.meta["NOISCORR"]
    assert not kept.exists()


def test_outliers_and_pixels_without_value_are_left_out(truth) -> None:
    frames = make_frames(12)
    rng = np.random.default_rng(2)
    for frame in frames:
        frame[rng.integers(0, SIZE, 12), rng.integers(0, SIZE, 12)] += 800
        frame[rng.integers(0, SIZE, 12), rng.integers(0, SIZE, 12)] = np.nan
    frames[3][30:40] = np.nan
    found = asr.super_resolve_stack(frames, reference=0, jobs=1).image
    pull = ((found.data - truth) / found.uncertainty.array)[INNER]
    dark = (truth - SKY < 1)[INNER]
    assert np.isfinite(pull).all()
    assert np.abs(pull[dark]).max() < 6


def test_no_rings_beside_saturated_stars() -> None:
    frames = [np.minimum(frame, 3000) for frame in make_frames(4, factor=4)]
    found = asr.super_resolve_stack(frames, reference=0, jobs=1).image
    assert found.data.min() > SKY - 0.01 * 3000
    assert found.data.max() < 1.2 * 3000


def test_no_dark_pixels_beside_stars_that_are_saturated_in_most_frames() -> None:
    """Undersampled stars are averaged in the stack, which shows no plateau then."""
    full, fwhm = 1500.0, 1.1
    frames = make_frames(12, fwhm=fwhm)
    saturated = np.mean([(frame >= full).sum() for frame in frames])
    assert saturated > 8
    found = asr.super_resolve_stack([np.minimum(f, full) for f in frames], reference=0, jobs=1)
    stack = asr.stack([np.minimum(f, full) for f in frames], reference=0, jobs=1)
    assert stack.image.data.max() < full
    assert found.image.data.min() > SKY - 3 * NOISE
    x, y, flux = star_places()
    light, expected = found.image.data - SKY, render(scale=2, fwhm=fwhm)
    own, true = [], []
    for px, py in zip(2 * x[flux < 2500] + 0.5, 2 * y[flux < 2500] + 0.5, strict=True):
        part = np.s_[round(py) - 4 : round(py) + 5, round(px) - 4 : round(px) + 5]
        own.append(light[part].sum())
        true.append(expected[part].sum())
    assert np.dot(own, true) / np.dot(true, true) == pytest.approx(1, abs=0.01)


def test_there_is_no_value_where_no_frame_has_one() -> None:
    frames = make_frames(12)
    for frame in frames:
        frame[:, 60:] = np.nan
    found = asr.super_resolve_stack(frames, reference=0, jobs=1)
    assert np.isnan(found.image.data[:, 130:]).all()
    assert np.isnan(found.image.uncertainty.array[:, 130:]).all()
    assert (found.n_used[:, 130:] == 0).all()
    assert np.isfinite(found.image.data[:, :110]).all()


def test_mosaics_are_solved_for_colour_by_colour(monkeypatch) -> None:
    given = [Strength(1e-3, 0.05, 100.0)] * 3
    monkeypatch.setattr(super_resolution, "choose_strengths", lambda problem: given)
    frames = []
    for frame in make_frames(8, size=88, factor=2.0):
        raw = frame.astype(np.float32)
        raw[::2, ::2] += 300
        raw[1::2, 1::2] += 100
        frames.append(CCDData(raw, unit="adu", meta=Header({"BAYERPAT": "RGGB"})))
    found = asr.super_resolve_stack(frames, reference=0, jobs=1).image.data
    light = 2 * render(scale=2, size=88)
    assert found.shape == (3, *light.shape)
    for plane, added in zip(found, (300, 0, 100), strict=True):
        assert np.isfinite(plane[INNER]).all()
        expected = light + SKY + added
        assert np.median(plane[INNER] - expected[INNER]) == pytest.approx(0, abs=2)
        assert error_of(plane, expected) < 0.4 * np.std(expected[INNER])


def test_without_anything_to_gain_the_stack_is_enlarged() -> None:
    frames = make_frames(3)
    with pytest.warns(asr.UnchangedWarning, match="gains nothing: there are 3 frames"):
        few = asr.super_resolve_stack(frames, reference=0, jobs=1).image.data
    mean = zoom(asr.stack(frames, reference=0, jobs=1).image.data, 2, grid_mode=True, mode="mirror")
    np.testing.assert_allclose(few[INNER], mean[INNER], atol=0.1)
    rng = np.random.default_rng(1)
    still = [render() + SKY + rng.normal(0, NOISE, (SIZE, SIZE)) for _ in range(8)]
    with pytest.warns(asr.UnchangedWarning, match="not dithered by parts of a pixel"):
        asr.super_resolve_stack(still, align=False, jobs=1)


def test_unusable_input_is_refused(tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match="super_resolve=1.5 cannot be used; allowed are 2 and 3"):
        asr.super_resolve_stack(make_frames(4), scale=1.5)
    with pytest.raises(InputError, match="together with drizzle"):
        asr.super_resolve_stack(make_frames(4), combine="median")
    paths = [str(tmp_path / f"{k}.fits") for k in range(4)]
    for path, frame in zip(paths, make_frames(4), strict=True):
        fits.writeto(path, frame.astype(np.float32))
    output = tmp_path / "out.fits"
    assert main(["stack", *paths, "--super-resolve", "5", "-o", str(output)]) == 2
    assert "--super-resolve 5 cannot be used" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_a_pixel_records_its_share_of_the_image(angle: float) -> None:
    """A plane is recorded as it is, and a star is integrated over the pixel."""
    turn = np.radians(angle)
    jacobian = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    response = make_response(jacobian)
    shape = (40, 44)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(10, 30, (2, 50))
    row, column = np.mgrid[:40, :44]
    plane = 3.0 * column - 2.0 * row
    recorded = response.matrix(x, y, shape) @ plane.ravel()
    np.testing.assert_allclose(recorded, 3 * x - 2 * y, atol=0.1)
    point = np.zeros(shape)
    point[20, 20] = 1
    grid = np.mgrid[-12:12, -12:12].reshape(2, -1) + 0.3
    places = jacobian @ grid + 20
    ok = response.inside(*places, shape)
    total = (response.matrix(*places[:, ok], shape) @ point.ravel()).sum()
    assert total == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(to_pixels(plane)[2:-2, 2:-2], plane[2:-2, 2:-2])
