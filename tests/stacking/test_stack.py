"""Stacks of simulated frames whose stars, noise and faults are known."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from tests.stacking.conftest import Field

SKY, NOISE = 200.0, 5.0


def inner(field, x, y, margin: float = 12.0):
    ny, nx = field.shape
    return (x > margin) & (x < nx - margin) & (y > margin) & (y < ny - margin)


def make_frames(field, number: int, *, seed: int = 0, noise: float = NOISE, **options):
    """Frames with dithers, turns, seeing and transparencies of their own."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(number):
        own = {
            "shift": tuple(rng.uniform(-6, 6, 2)) if k else (0.0, 0.0),
            "angle": rng.uniform(-1, 1) if k else 0.0,
            "fwhm": 3.0,
            **{key: value[k] for key, value in options.items()},
        }
        frames.append(field.render(**own) + SKY + rng.normal(0, noise, field.shape))
    return frames


def test_light_that_saturated_neighbours_lack_does_not_change_the_scale() -> None:
    """What is cut off depends on the seeing, in stars and in apertures that hold a part of them."""
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-8, 208, (2, 200))
    crowded = Field(x, y, np.exp(rng.uniform(np.log(1000), np.log(60000), x.size)), (200, 200))
    widths = [1.9, 2.2, 2.6, 3.0]
    frames = [np.minimum(frame, 4095) for frame in make_frames(crowded, 4, fwhm=widths)]
    scales = np.asarray(asr.stack(frames, reference=0, jobs=1).table["scale"])
    np.testing.assert_allclose(scales, 1, atol=0.012)


def test_the_stack_keeps_fluxes_and_places_and_lowers_the_noise(field, aperture_flux) -> None:
    scales = [1.0, 0.8, 1.1, 0.7, 1.0, 0.9, 1.05, 1.0]
    frames = make_frames(field, 8, scale=scales)
    result = asr.stack(frames, reference=0)
    image = result.image.data
    assert image.dtype == np.float32
    assert result.table["used"].all()
    assert np.abs(np.asarray(result.table["scale"]) * scales - 1).max() < 0.02
    good = inner(field, field.x, field.y)
    found = aperture_flux(image, field.x[good], field.y[good])
    single = aperture_flux(frames[0], field.x[good], field.y[good])
    # Common-star photometry scatters with the noise; the slope is that of the bright ones.
    truth = field.flux[good]
    slope = np.sum(found * truth) / np.sum(truth**2)
    assert slope == pytest.approx(np.sum(single * truth) / np.sum(truth**2), rel=0.003)
    assert slope == pytest.approx(1, rel=0.003)
    empty = result.n_used == 8
    assert np.nanmedian(image[empty]) == pytest.approx(SKY, abs=0.5)
    assert result.image.uncertainty.array[empty].mean() < NOISE / np.sqrt(8) * 1.05


def test_noise_of_equal_frames_is_what_theory_says(field) -> None:
    rng = np.random.default_rng(4)
    clean = field.render() + SKY
    frames = [clean + rng.normal(0, NOISE, field.shape) for _ in range(10)]
    result = asr.stack(frames, align=False)
    residual = result.image.data - clean
    residual -= residual.mean()
    assert residual.std() * np.sqrt(10) / NOISE < 1.012
    assert result.image.uncertainty.array.mean() == pytest.approx(residual.std(), rel=0.03)
    assert result.image.meta["NOISCORR"] == 1


def test_outliers_trails_and_hot_pixels_are_gone(field) -> None:
    """Hot pixels stay at their places on the detector, while the field moves."""
    rng = np.random.default_rng(9)
    shifts = [(5.3 * (k % 3 - 1), 4.6 * (k // 3 - 1)) for k in range(10)]
    frames = make_frames(field, 10, angle=[0.0] * 10, shift=shifts)
    y, x = rng.integers(8, 190, 80), rng.integers(8, 210, 80)
    for frame in frames:
        for dy, dx in np.ndindex(2, 3):
            frame[y + dy, x + dx] += 900
    v, u = np.mgrid[:200, :220]
    frames[4] += 60 * np.exp(-((u - 0.9 * v - 20) ** 2) / 4)
    result = asr.stack(frames, reference=4)
    assert result.table["used"].all()
    np.testing.assert_allclose(-result.table["shift_x"], np.array(shifts)[:, 0], atol=0.1)
    clean = field.render() + SKY
    # Beside the cores of stars, which an error of the registration of 0.01 pixels changes.
    full = (result.n_used >= 5) & (clean < SKY + 20)
    residual = (result.image.data - clean) / result.image.uncertainty.array
    assert full.mean() > 0.6
    assert np.abs(residual[full]).max() < 8
    trail = full & (np.abs(u - 0.9 * v - 20) < 2)
    assert abs(np.mean(residual[trail])) < 1


def test_star_cores_stay_when_the_seeing_changes(field, aperture_flux) -> None:
    """A satellite that crosses stars is removed all the same."""
    widths = np.linspace(2, 5, 12)
    frames = make_frames(field, 12, fwhm=widths, angle=[0.0] * 12, shift=[(0.0, 0.0)] * 12)
    v, u = np.mgrid[:200, :220]
    bright = int(np.argmax(np.where(inner(field, field.x, field.y, 30), field.flux, 0)))
    x, y = field.x[bright], field.y[bright]
    frames[3] += 400 * np.exp(-((u - x - 0.6 * (v - y)) ** 2) / 3)
    result = asr.stack(frames, align=False, weights="none", reference=5)
    clean = [field.render(fwhm=width) for width in widths]
    mean = np.mean(clean, axis=0)
    good = inner(field, field.x, field.y) & (field.flux > 8000)
    core = 2.5
    found = aperture_flux(result.image.data, field.x[good], field.y[good], core)
    truth = aperture_flux(mean, field.x[good], field.y[good], core)
    assert np.median(found / truth) == pytest.approx(1, abs=0.005)
    # Where the frame of the satellite is left out, the seeing is that of the others.
    others = np.mean([*clean[:3], *clean[4:]], axis=0)
    truth = aperture_flux(np.where(result.n_used == 12, mean, others), [x], [y], core)
    crossed = aperture_flux(result.image.data, [x], [y], core)
    assert crossed / truth == pytest.approx(1, abs=0.005)


def test_black_and_empty_frames_are_left_out_and_change_nothing(field) -> None:
    frames = make_frames(field, 5, shift=[(0.0, 0.0)] * 5, angle=[0.0] * 5)
    expected = asr.stack(frames, align=False, reference=0)
    spoilt = [*frames[:3], np.zeros(field.shape), np.full(field.shape, np.nan), *frames[3:]]
    with pytest.warns(AstroSRWarning, match="2 of 7 frames are left out"):
        result = asr.stack(spoilt, align=False, reference=0)
    assert result.left_out == {
        "frame 4": "every pixel is 0",
        "frame 5": "no pixel has a value",
    }
    np.testing.assert_array_equal(result.image.data, expected.image.data)
    with pytest.raises(InputError, match="2 of 7 frames are left out"):
        asr.stack(spoilt, align=False, strict=True)


def test_frames_that_do_not_belong_together_are_left_out(field, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    frames: list = make_frames(field, 4)
    frames = [CCDData(f, unit="adu", meta=Header({"FILTER": "HA"})) for f in frames]
    other = type(field)(
        rng.uniform(10, 210, 60), rng.uniform(10, 190, 60), field.flux[:60], field.shape
    )
    frames.append(CCDData(make_frames(other, 1)[0], unit="adu", meta=Header({"FILTER": "HA"})))
    frames.append(CCDData(frames[0].data, unit="adu", meta=Header({"FILTER": "OIII"})))
    frames.append(CCDData(frames[0].data[:100], unit="adu", meta=Header({"FILTER": "HA"})))
    frames.append(CCDData(frames[0].data, unit="adu", meta=Header({"IMAGETYP": "Dark"})))
    broken = tmp_path / "broken.fits"
    fits.writeto(broken, frames[0].data)
    broken.write_bytes(broken.read_bytes()[:30000])
    frames.insert(2, broken)
    with pytest.warns(AstroSRWarning, match="5 of 9 frames are left out"):
        result = asr.stack(frames)
    reasons = list(result.left_out.values())
    assert "truncated" in reasons[0]
    assert "better than chance" in reasons[1]
    assert reasons[2] == "its filter is OIII, that of the others HA"
    assert reasons[3] == "its size is 220x100, that of the others 220x200"
    assert reasons[4] == "it is a dark frame"
    assert result.table["used"].sum() == 4


def test_nan_borders_and_native_or_big_endian_floats_do_not_matter(field) -> None:
    frames = make_frames(field, 3)
    expected = asr.stack(frames, reference=0).image.data
    assert np.isfinite(expected).all()
    frames = [frame.astype(">f4") for frame in frames]
    np.testing.assert_allclose(asr.stack(frames, reference=0).image.data, expected, atol=1e-3)
    frames[2][:, :40] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstroSRWarning)
        result = asr.stack(frames, reference=0)
    assert (result.n_used[20:180, :25] <= 2).all()
    assert np.isfinite(result.image.data[20:180]).all()


@pytest.mark.parametrize(
    ("cards", "height"),
    [
        ({"BAYERPAT": "RGGB"}, 200),
        ({"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"}, 200),
        ({"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"}, 199),
        ({"BAYERPAT": "RGGB", "XBAYROFF": 1, "YBAYROFF": 1}, 200),
        ({"BAYERPAT": "GRBG"}, 200),
    ],
)
def test_a_red_patch_stays_red(field, cards: dict, height: int) -> None:
    from astro_sr_plugin.data.cfa import find_cfa

    shape = (height, field.shape[1])
    cfa = find_cfa(cards, shape)
    assert cfa is not None
    filters = np.tile(cfa.filters, (100, 110))[:height]
    frames = []
    for k, frame in enumerate(make_frames(field, 3, shift=[(0.0, 0.0)] * 3, angle=[0.0] * 3)):
        raw = frame[:height] + np.where(filters == "G", 60, 0)
        patch = np.zeros(shape, bool)
        patch[60:140, 80:150] = True
        raw[patch & (filters == "R")] += 700
        frames.append(CCDData(raw.astype(np.float32), unit="adu", meta=Header(cards)))
        assert k < 3
    result = asr.stack(frames, align=False)
    assert result.image.shape == (3, *shape)
    red, green, blue = np.median(result.image.data[:, 64:136, 84:146], axis=(1, 2))
    assert red - SKY == pytest.approx(700, rel=0.02)
    assert green - SKY == pytest.approx(60, abs=5)
    assert blue - SKY == pytest.approx(0, abs=5)
    assert not set(cards) - {"ROWORDER"} & set(result.image.meta)


def test_gradients_leave_no_step_where_coverage_changes(field) -> None:
    v, u = np.mgrid[:200, :220]
    shifts = [(0, 0), (0, 0), (60, 0), (60, 0), (-60, 0), (-60, 0)]
    frames = make_frames(field, 6, angle=[0.0] * 6, shift=shifts)
    for k, frame in enumerate(frames):
        frame += 0.15 * (k - 2) * u - 0.1 * k * v + 12 * k
    result = asr.stack(frames, reference=0)
    sky = result.image.data - field.render() - 0.15 * -2 * u
    profile = np.nanmedian(sky[20:180, 2:], axis=0)
    for edge in (58, 158):
        step = np.median(profile[edge + 3 : edge + 13]) - np.median(profile[edge - 13 : edge - 3])
        assert abs(step) < 0.3 * NOISE


def test_a_nebula_does_not_change_the_scale_of_a_frame(field) -> None:
    """Nor do borders without light: the scale is that of the stars."""
    v, u = np.mgrid[:200, :220]
    nebula = 600 * np.exp(-((u - 90) ** 2 + (v - 110) ** 2) / (2 * 45**2))
    scales, skies = (1.0, 0.6, 1.3), (0.0, 400.0, -50.0)
    still: dict = {"shift": [(0.0, 0.0)] * 3, "angle": [0.0] * 3}
    frames = make_frames(field, 3, scale=scales, noise=3.0, **still)
    for frame, scale, sky in zip(frames, scales, skies, strict=True):
        frame += scale * nebula + sky
    frames[1][:, :15] = 0
    result = asr.stack(frames, align=False, reference=0)
    np.testing.assert_allclose(np.asarray(result.table["scale"]) * scales, 1, atol=0.01)
    empty = (field.render() < 1) & (result.n_used == 3)
    light = result.image.data[empty] - SKY
    slope = np.sum(light * nebula[empty]) / np.sum(nebula[empty] ** 2)
    assert slope == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("weights", "power"), [("snr", 2), ("noise", 0), ("fwhm", 2)])
def test_the_widest_frame_keeps_its_weight(field, weights: str, power: int) -> None:
    frames = make_frames(field, 3, fwhm=[2.5, 3.0, 5.0], shift=[(0.0, 0.0)] * 3, angle=[0.0] * 3)
    table = asr.stack(frames, align=False, weights=weights).table
    found = table["weight"] / table["weight"][0]
    np.testing.assert_allclose(found, (table["fwhm"][0] / table["fwhm"]) ** power, rtol=0.05)
    assert found.min() > 0.2


def test_the_result_does_not_depend_on_bands_threads_or_workers(field, tmp_path: Path) -> None:
    paths = []
    for k, frame in enumerate(make_frames(field, 3)):
        paths.append(tmp_path / f"light_{k}.fits")
        fits.writeto(paths[-1], frame.astype(np.int16))
    one = asr.stack(paths, jobs=1)
    two = asr.stack(paths, jobs=2)
    np.testing.assert_array_equal(one.image.data, two.image.data)
    np.testing.assert_array_equal(one.n_used, two.n_used)


def test_the_header_says_what_the_stack_is(field, tmp_path: Path) -> None:
    frames = []
    for k, frame in enumerate(make_frames(field, 3)):
        cards = {"EXPTIME": 60.0, "DATE-OBS": f"2026-01-01T22:0{k}:00", "BAYOFFX": 0, "EGAIN": 2.0}
        frames.append(CCDData(frame, unit="adu", meta=Header(cards)))
    result = asr.stack(frames, reference=1)
    header = result.image.meta
    assert (header["NCOMBINE"], header["STACKCNT"], header["LIVETIME"]) == (3, 3, 180.0)
    assert header["DATE-OBS"] == "2026-01-01T22:00:00.000"
    assert header["DATE-END"] == "2026-01-01T22:03:00.000"
    assert header["DATE-AVG"] == "2026-01-01T22:01:30.000"
    assert header["TELAPSE"] == 180.0
    assert header["EXPEND"] - header["EXPSTART"] == pytest.approx(180 / 86400, abs=1e-7)
    assert header["EXPTIME"] == 60.0
    assert header["REFFRAME"] == "frame 2"
    assert header["EGAIN"] == pytest.approx(6, rel=0.02)
    assert header["REJMETH"] == "noise"
    assert 1 < header["NOISCORR"] < 1.3
    path = result.write(tmp_path / "stack.fits")
    again = asr.read_image(path)
    np.testing.assert_array_equal(again.data, result.image.data)
    np.testing.assert_array_equal(again.uncertainty.array, result.image.uncertainty.array)
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus][1:] == ["UNCERT", "NUSED", "REJLOW", "REJHIGH", "FRAMES"]
        assert (hdus["NUSED"].data == result.n_used).all()
        assert hdus["FRAMES"].data["frame"].tolist() == ["frame 1", "frame 2", "frame 3"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"combine": "sum"}, "allowed are mean, median"),
        ({"weights": "best"}, "allowed are snr"),
        ({"normalise": "yes"}, "allowed are photometric"),
        ({"kernel": "cubic"}, "allowed are"),
        ({"rejection": "all"}, "allowed are noise"),
        ({"memory": "lots"}, "amounts such as 4GB"),
        ({"memory": "1MB"}, "from 100MB on"),
        ({"reference": 9}, "reference=9 is not one of the 2 frames"),
        ({"jobs": 0}, "jobs=0 is out of range"),
    ],
)
def test_unusable_choices_are_refused(field, options: dict, text: str) -> None:
    frames = make_frames(field, 2)
    with pytest.raises(InputError, match=text):
        asr.stack(frames, align=False, **options)


def test_too_few_frames_are_refused(field) -> None:
    with pytest.raises(InputError, match="no frame is given"):
        asr.stack([])
    with pytest.raises(InputError, match="two frames or more"):
        asr.stack(make_frames(field, 1), align=False)
