"""Choice of calibration frames by their headers, and the arithmetic on frames of known truth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.nddata import CCDData

from astro_sr_plugin.data.frame_header import FrameHeader, read_frame_header
from astro_sr_plugin.data.frames import FrameSequence
from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from astro_sr_plugin.stacking.calibration import CalibrationSet, plan_calibration
from astro_sr_plugin.stacking.masters import MasterMaker

NIGHT = datetime(2026, 1, 1, 22, tzinfo=UTC)
LIGHT = FrameHeader(
    kind="light",
    shape=(40, 60),
    exptime=60.0,
    temperature=-10.0,
    gain=100.0,
    offset=50.0,
    filter="HA",
    binning=(1, 1),
    camera="ASI533",
    start=NIGHT,
)
DARK = replace(LIGHT, kind="dark", filter="")
BIAS = replace(LIGHT, kind="bias", filter="", exptime=0.0)
FLAT = replace(LIGHT, kind="flat", exptime=2.0)


def plan(*library: FrameHeader, light: FrameHeader = LIGHT, required=()):
    named = [(f"/cal/{header.kind}_{k}.fits", header) for k, header in enumerate(library)]
    return plan_calibration([("/night/light_1.fits", light)], named, required=required)


def test_frames_of_one_kind_and_one_setting_form_a_set() -> None:
    found = plan(DARK, DARK, replace(DARK, exptime=120.0), BIAS, FLAT, replace(FLAT, filter="OIII"))
    chosen = found.calibrations[0]
    assert chosen.dark is not None
    assert chosen.dark.names == ("/cal/dark_0.fits", "/cal/dark_1.fits")
    assert chosen.flat is not None
    assert chosen.flat.header.filter == "HA"
    assert chosen.flat_dark == chosen.bias
    assert found.notes == ()


def test_the_plan_can_be_read() -> None:
    text = plan(DARK, DARK, FLAT, BIAS).to_text()
    assert text.splitlines() == [
        "1 light:",
        "  dark: 2 frames from dark_0.fits (60 s, -10 °C, gain 100)",
        "  flat: flat_2.fits (2 s, -10 °C, gain 100, filter HA), less bias_3.fits "
        "(-10 °C, gain 100)",
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"camera": "QHY268"}, "camera ASI533 against QHY268"),
        ({"gain": 200.0}, "gain 100 against 200"),
        ({"offset": 10.0}, "offset 50 against 10"),
        ({"binning": (2, 2)}, "binning 1x1 against 2x2"),
        ({"shape": (20, 30)}, "size 60x40 against 30x20"),
        ({"readout_mode": "fast"}, "read mode normal against fast"),
        ({"corner": (8, 0)}, "corner 0x0 against 8x0"),
        ({"exptime": 30.0}, "exposure 60 s against 30 s"),
        ({"exptime": 90.0}, "no bias to scale it by"),
        ({"temperature": -2.0}, "temperature -10 °C against -2 °C"),
    ],
)
def test_a_dark_that_differs_is_refused_with_the_reason(change: dict, text: str) -> None:
    light = replace(LIGHT, readout_mode="normal", corner=(0, 0))
    dark = replace(light, kind="dark", **change)
    with pytest.raises(InputError, match=text):
        plan(dark, light=light, required=["dark"])
    found = plan(dark, light=light)
    assert found.calibrations[0].dark is None
    assert text in found.notes[0]


def test_settings_that_a_header_does_not_have_are_not_compared() -> None:
    bare = FrameHeader(kind="dark", shape=(40, 60), exptime=60.0)
    found = plan(bare, required=["dark"])
    assert "does not give the temperature" in found.notes[0]
    assert len(found.notes) == 1


def test_temperatures_that_are_near_match_and_farther_ones_with_a_note() -> None:
    assert plan(replace(DARK, temperature=-9.6)).notes == ()
    found = plan(replace(DARK, temperature=-6.0))
    assert found.calibrations[0].dark is not None
    assert found.notes == ("dark dark_0.fits differs from the lights by 4.0 °C",)


def test_a_broken_set_temperature_is_no_key() -> None:
    header = read_frame_header({"IMAGETYP": "dark", "SET-TEMP": -1.8e308, "CCD-TEMP": -10.2})
    assert header.temperature == -10.2
    dark = replace(header, shape=(40, 60), exptime=60.0)
    assert plan(dark, required=["dark"]).notes == ()


def test_a_longer_dark_is_scaled_with_a_bias() -> None:
    found = plan(replace(DARK, exptime=120.0), BIAS).calibrations[0]
    assert found.dark_scale == pytest.approx(0.5)


def test_flats_are_those_of_the_nearest_night_and_of_the_rotator() -> None:
    old = replace(FLAT, start=NIGHT - timedelta(days=20))
    new = replace(FLAT, start=NIGHT + timedelta(days=1))
    chosen = plan(old, new, BIAS).calibrations[0].flat
    assert chosen is not None
    assert chosen.names == ("/cal/flat_1.fits",)
    turned = replace(FLAT, rotator=120.0)
    light = replace(LIGHT, rotator=30.2)
    assert plan(turned, BIAS, light=light).calibrations[0].flat is None
    assert plan(replace(turned, rotator=30.0), BIAS, light=light).calibrations[0].flat is not None


def test_dark_flats_are_preferred_to_a_bias_and_not_used_as_darks() -> None:
    darkflat = replace(DARK, kind="darkflat", exptime=2.0)
    chosen = plan(FLAT, darkflat, BIAS).calibrations[0]
    assert chosen.flat_dark is not None
    assert chosen.flat_dark.kind == "darkflat"
    assert chosen.dark is None


# Truth: bias 500 with a pattern, dark current, a flat with vignetting, hot pixels, a light of 1000.
RNG = np.random.default_rng(5)
Y, X = np.mgrid[:40, :60]
PATTERN = 500 + 3 * np.sin(X / 5)
CURRENT = 0.5 * RNG.exponential(1, (40, 60))
RESPONSE = 1 - 0.3 * ((X - 30) ** 2 + (Y - 20) ** 2) / 1300
RESPONSE /= np.median(RESPONSE)


def exposure(seconds: float, light: float = 0.0, sigma: float = 1.0, **cards):
    data = PATTERN + CURRENT * seconds + light * RESPONSE + RNG.normal(0, sigma, PATTERN.shape)
    return CCDData(data, unit="adu", meta=Header(cards))


def calibrated(frames: dict[str, list[CCDData]], light: CCDData, **light_header):
    """Calibrate a light by frames given by kind and exposure time, such as ``dark 60``."""
    images = {f"{kind}_{k}": f for kind, many in frames.items() for k, f in enumerate(many)}
    library = []
    for name in images:
        kind, seconds = name.split("_")[0].split(" ")
        library.append((name, replace(LIGHT, kind=kind, exptime=float(seconds), **light_header)))
    own = replace(LIGHT, **light_header)
    chosen = plan_calibration([("light", own)], library).calibrations[0]
    maker = MasterMaker(lambda names: FrameSequence([images[name] for name in names]))
    masters = maker.masters(chosen)
    rows = light.data.astype(np.float32)
    strips = [masters.apply(rows[first : first + 7], first) for first in range(0, 40, 7)]
    return np.concatenate(strips), chosen


def many(seconds: float, number: int = 16, light: float = 0.0) -> list[CCDData]:
    return [exposure(seconds, light) for _ in range(number)]


def error(result: np.ndarray, truth: float = 1000.0) -> float:
    return float(np.nanmedian(np.abs(result - truth)))


def test_bias_dark_and_flat_are_taken_out() -> None:
    light = exposure(60, 1000, sigma=0)
    library = {"bias 0": many(0), "dark 60": many(60), "flat 2": many(2, light=20000)}
    result, chosen = calibrated(library, light)
    assert chosen.dark is not None
    assert len(chosen.dark.names) == 16
    assert result.dtype == np.float32
    assert error(result) < 0.4


def test_the_bias_in_a_master_dark_is_subtracted_once() -> None:
    light = exposure(60, 1000, sigma=0)
    truth = 1000 * RESPONSE
    with_bias = {"bias 0": many(0), "dark 60": many(60)}
    assert error(calibrated(with_bias, light)[0] - truth, 0) < 0.4
    without = [CCDData(f.data - PATTERN, unit="adu") for f in with_bias["dark 60"]]
    result, _ = calibrated({"bias 0": with_bias["bias 0"], "dark 60": without}, light)
    assert error(result - truth, 0) < 0.5


def test_a_scaled_dark_keeps_the_bias_apart() -> None:
    light = exposure(60, 1000, sigma=0)
    library = {"bias 0": many(0), "dark 120": many(120)}
    result, chosen = calibrated(library, light)
    assert chosen.dark_scale == pytest.approx(0.5)
    assert error(result - 1000 * RESPONSE, 0) < 0.4


def test_glow_of_the_amplifier_is_named_where_a_dark_is_scaled() -> None:
    glow = 400 * np.exp(-np.hypot(X, Y) / 8)
    darks = [CCDData(dark.data + glow, unit="adu") for dark in many(120)]
    light = exposure(60, 1000, sigma=0)
    with pytest.warns(AstroSRWarning, match="shows glow, which does not grow with the exposure"):
        calibrated({"bias 0": many(0), "dark 120": darks}, light)
    same = [CCDData(dark.data + glow, unit="adu") for dark in many(60)]
    light.data += glow
    result, _ = calibrated({"bias 0": many(0), "dark 60": same}, light)
    assert error(result - 1000 * RESPONSE, 0) < 0.4


def test_hot_pixels_of_the_dark_and_dead_ones_of_the_flat_have_no_value() -> None:
    darks, flats = many(60), many(2, light=20000)
    for frame in darks:
        frame.data[3, 4] += 5000
    for frame in flats:
        frame.data[6, 7] = 500
    library = {"bias 0": many(0), "dark 60": darks, "flat 2": flats}
    result, _ = calibrated(library, exposure(60, 1000))
    assert np.argwhere(np.isnan(result)).tolist() == [[3, 4], [6, 7]]


def test_flats_of_a_mosaic_keep_the_colour_of_the_sensor() -> None:
    colour = np.ones((40, 60))
    colour[::2, ::2], colour[1::2, 1::2] = 0.5, 0.7
    flats = many(2, light=20000)
    for frame in flats:
        frame.data = PATTERN + CURRENT * 2 + 20000 * RESPONSE * colour
        frame.meta["BAYERPAT"] = "RGGB"
    result, _ = calibrated({"bias 0": many(0), "flat 2": flats}, exposure(60, 1000, sigma=0))
    corrected = result - CURRENT * 60
    assert np.median(corrected[::2, ::2]) == pytest.approx(1000, rel=0.04)
    assert np.median(corrected[::2, 1::2]) == pytest.approx(1000, rel=0.04)


def test_negative_values_stay() -> None:
    result, _ = calibrated({"bias 0": many(0)}, exposure(0, -50, sigma=5))
    assert (result < 0).mean() > 0.99


def test_a_set_is_described_with_what_it_was_matched_by() -> None:
    flats = CalibrationSet("flat", ("/a/f1.fits", "/a/f2.fits"), FLAT)
    assert flats.describe() == "2 frames from f1.fits (2 s, -10 °C, gain 100, filter HA)"
