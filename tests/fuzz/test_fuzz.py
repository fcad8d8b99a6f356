"""A repeatable share of the random files and images of ``python -m benchmarks fuzz``."""

import warnings

from hypothesis import HealthCheck, given, settings

from benchmarks.fuzz.case import Case
from benchmarks.fuzz.fits_files import fits_files
from benchmarks.fuzz.properties import check_file, check_model
from benchmarks.fuzz.round_trips import RoundTrip, check_round_trip, round_trips
from benchmarks.fuzz.tiff_files import tiff_files
from benchmarks.fuzz.weight_files import weight_files
from benchmarks.fuzz.xisf_files import xisf_files

REPEATABLE = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@REPEATABLE
@given(fits_files())
def test_fits_files_are_refused_or_read_right(tmp_path, case: Case):
    check_file(case, tmp_path / f"case{case.suffix}")


@REPEATABLE
@given(tiff_files())
def test_tiff_files_are_refused_or_read_right(tmp_path, case: Case):
    check_file(case, tmp_path / f"case{case.suffix}")


@REPEATABLE
@given(xisf_files())
def test_xisf_files_are_refused_or_read_right(tmp_path, case: Case):
    check_file(case, tmp_path / f"case{case.suffix}")


@REPEATABLE
@given(weight_files())
def test_files_of_weights_are_refused_or_read(tmp_path, case: Case):
    check_model(case, tmp_path / f"case{case.suffix}")


@REPEATABLE
@given(round_trips())
def test_images_survive_writing_and_reading(tmp_path, trip: RoundTrip):
    with warnings.catch_warnings():
        check_round_trip(trip, tmp_path)
