"""What headers of exposures say, as programs write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from astropy.io.fits import Header

from astro_sr_plugin.data.frame_header import read_frame_header

SEESTAR = {
    "IMAGETYP": "Light",
    "EXPOSURE": 10.0,
    "EXPTIME": 10.0,
    "CCD-TEMP": 25.125,
    "FILTER": "IRCUT",
    "INSTRUME": "Seestar S50",
    "GAIN": 80,
    "XBINNING": 1,
    "YBINNING": 1,
    "DATE-OBS": "2025-03-27T01:20:32.955368",
}


def test_a_plain_light_frame() -> None:
    frame = read_frame_header(Header(SEESTAR), shape=(1080, 1080))
    assert (frame.kind, frame.exptime, frame.gain, frame.filter) == ("light", 10.0, 80.0, "IRCUT")
    assert (frame.temperature, frame.binning, frame.shape) == (25.125, (1, 1), (1080, 1080))
    assert frame.start == datetime(2025, 3, 27, 1, 20, 32, 955368, tzinfo=UTC)
    assert frame.end == datetime(2025, 3, 27, 1, 20, 42, 955368, tzinfo=UTC)
    assert frame.ignored == ()


def test_a_decimal_comma_is_read() -> None:
    frame = read_frame_header({"EXPTIME": "6,4E-05 ", "EXPOINUS": 64})
    assert frame.exptime == pytest.approx(64e-6)


def test_microseconds_stand_in_for_seconds() -> None:
    assert read_frame_header({"EXPOINUS": 64}).exptime == pytest.approx(64e-6)


def test_a_set_temperature_that_no_cooler_has_is_ignored_by_name() -> None:
    frame = read_frame_header({"SET-TEMP": "-1.8e308", "CCD-TEMP": -9.6})
    assert frame.temperature == -9.6
    assert frame.ignored == ("SET-TEMP=-1.8e308",)
    assert read_frame_header({"SET-TEMP": -10.0, "CCD-TEMP": -9.6}).temperature == -10.0


def test_kelvin_become_degrees_celsius() -> None:
    assert read_frame_header({"CAMTEMP": 271.0}).temperature == pytest.approx(-2.15)


def test_times_with_a_zone_become_utc() -> None:
    frame = read_frame_header(
        {"DATE-OBS": "2017-12-19T19:03:12.855-0700", "DATE-END": "2017-12-19T19:04:14.810-0700"}
    )
    assert frame.start == datetime(2017, 12, 20, 2, 3, 12, 855000, tzinfo=UTC)
    assert frame.end == datetime(2017, 12, 20, 2, 4, 14, 810000, tzinfo=UTC)


def test_a_date_may_have_its_time_in_another_keyword_or_as_a_number_of_days() -> None:
    frame = read_frame_header({"DATE-OBS": "2020-01-02", "TIME-OBS": "03:04:05"})
    assert frame.start == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    frame = read_frame_header({"DATE-OBS": "Tuesday", "MJD-OBS": 58849.5})
    assert frame.start == datetime(2020, 1, 1, 12, tzinfo=UTC)
    assert frame.ignored == ("DATE-OBS=Tuesday",)


@pytest.mark.parametrize(
    ("text", "kind", "master"),
    [
        ("Light Frame", "light", False),
        ("LIGHT", "light", False),
        ("object", "light", False),
        ("Master Dark", "dark", True),
        ("Bias Frame", "bias", False),
        ("zero", "bias", False),
        ("DARKFLAT", "darkflat", False),
        ("Flat Dark", "darkflat", False),
        ("Flat Field", "flat", False),
        ("masterFlat", "flat", True),
        ("Tricolor Image", "", False),
    ],
)
def test_kinds_as_programs_spell_them(text: str, kind: str, master: bool) -> None:
    frame = read_frame_header({"IMAGETYP": text})
    assert (frame.kind, frame.is_master) == (kind, master)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/night/darks/img_0001.fit", "dark"),
        ("/night/bias_Bias_ASIImg_frame0001.fit.fz", "bias"),
        ("/night/dark10s_Dark_ASIImg.fit.fz", "dark"),
        ("/night/master_flat_Ha.fits", "flat"),
        ("/night/dark_flat_3s.fits", "darkflat"),
        ("/night/M31_0001.fits", ""),
        ("/night/lights/dust_dark_nebula.fits", "light"),
    ],
)
def test_the_name_says_the_kind_where_the_header_does_not(name: str, kind: str) -> None:
    assert read_frame_header({}, name=name).kind == kind


def test_a_stack_says_how_many_frames_it_holds() -> None:
    frame = read_frame_header({"STACKCNT": 12, "LIVETIME": 720.0, "EXPTIME": 60.0})
    assert (frame.count, frame.livetime, frame.is_master) == (12, 720.0, True)
