"""Bands: memory, files that are opened once, workers, and interrupted runs that go on."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin.data.frames import FrameSequence
from astro_sr_plugin.exceptions import InputError, UnchangedWarning, warn
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.bands import (
    Light,
    StackSettings,
    combine_band,
    iter_bands,
    margin_of,
    plan_bands,
)
from astro_sr_plugin.stacking.masters import Masters
from astro_sr_plugin.stacking.normalisation import Normalisation
from astro_sr_plugin.stacking.series import allow_open_files
from astro_sr_plugin.stacking.workers import Workers


@pytest.fixture
def write(tmp_path: Path):
    """What writes frames of noise of 5 about 300 as files of integers."""

    def make(number: int, shape: tuple[int, int]) -> list[Path]:
        rng = np.random.default_rng(2)
        paths = [tmp_path / f"light_{k:02d}.fits" for k in range(number)]
        for path in paths:
            fits.writeto(path, rng.normal(300, 5, shape).astype(np.int16))
        return paths

    return make


def make_lights(paths: list[Path], shift: float = 0.0) -> tuple[list[Light], StackSettings]:
    lights = []
    for k, frame in enumerate(FrameSequence(paths)):
        matrix = np.array([[1, 0, shift * k], [0, 1, -shift * k], [0, 0, 1.0]])
        lights.append(
            Light(
                frame,
                Masters(),
                np.array([], np.int64),
                Transform.from_matrix(matrix, frame.shape),
                Normalisation(1.0, 0.01, 10, np.zeros((1, 6))),
                np.array([5.0]),
                None,
                3.0,
                1.0,
            )
        )
    factors = np.ones((2, len(lights), 1))
    return lights, StackSettings(frame.shape, 1, None, np.array([300.0]), *factors)


def test_200_frames_of_24_megapixels_fit_into_4_gigabytes() -> None:
    settings = StackSettings((4000, 6000), 1, None, np.zeros(1), *np.ones((2, 200, 1)))
    memory, margin = 4 * 10**9 - 18 * 24 * 10**6, 24
    rows, workers, columns = plan_bands(200, settings, margin, memory)
    height = rows + 2 * margin
    cube = 4 * 200 * height * 6000
    work = 32 * 200 * height * (columns + 2 * margin)
    assert workers * (cube + work) < memory
    assert rows >= 128
    assert workers >= 2


def test_memory_holds_and_each_file_is_opened_once(write) -> None:
    paths = write(40, (200, 320))
    lights, settings = make_lights(paths, shift=0.1)
    # The files are gone: bands are read from what is open.
    for path in paths:
        path.unlink()
    memory, margin = 15 * 10**6, margin_of(lights, settings)
    rows, workers, columns = plan_bands(len(lights), settings, margin, memory)
    settings = replace(settings, columns=columns)
    bands = list(iter_bands(200, rows))
    assert len(bands) > 3
    tracemalloc.start()
    found = Workers().run(combine_band, (lights, settings), bands, at_once=workers)
    results = [planes[0] for _, planes in found]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory
    assert sum(len(result.data) for result in results) == 200


def test_bands_and_columns_do_not_show_in_the_result(write) -> None:
    lights, settings = make_lights(write(8, (150, 160)))
    whole = combine_band(lights, settings, (0, 150))[0]
    parts = [
        combine_band(lights, replace(settings, columns=64), band)[0] for band in iter_bands(150, 40)
    ]
    for name in whole._fields:
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(found, getattr(whole, name))


def test_frames_travel_as_the_names_of_their_files(write) -> None:
    lights, settings = make_lights(write(2, (300, 400)))
    sent = pickle.dumps((lights, settings))
    assert len(sent) < 30000
    again, same = pickle.loads(sent)
    np.testing.assert_array_equal(
        combine_band(again, same, (10, 20))[0].data,
        combine_band(lights, settings, (10, 20))[0].data,
    )


def complain(text: str, number: int) -> int:
    warn(f"{text} {number}", UnchangedWarning)
    return number


def test_a_dask_scheduler_gives_the_same_bytes_and_warnings(write) -> None:
    distributed = pytest.importorskip("distributed")
    paths = write(3, (90, 100))
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        remote = asr.stack(paths, align=False, scheduler=client)
        with pytest.warns(UnchangedWarning, match="item 7"), Workers(1, client) as workers:
            assert list(workers.run(complain, ("item",), [7])) == [(7, 7)]
    local = asr.stack(paths, align=False, jobs=1)
    np.testing.assert_array_equal(remote.image.data, local.image.data)
    np.testing.assert_array_equal(remote.image.uncertainty.array, local.image.uncertainty.array)
    np.testing.assert_array_equal(remote.table["sky"], local.table["sky"])


def test_an_interrupted_stack_goes_on(write, tmp_path: Path) -> None:
    paths, kept = write(4, (80, 90)), tmp_path / "kept"
    expected = asr.stack(paths, align=False)

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asr.stack(paths, align=False, resume=kept, progress=interrupt)
    finished = {path: path.stat().st_mtime_ns for path in kept.glob("frame_*.npz")}
    assert len(finished) == 3

    def look(done: int, total: int) -> None:
        if done == 4:
            for path, time in finished.items():
                assert path.stat().st_mtime_ns == time

    result = asr.stack(paths, align=False, resume=kept, progress=look)
    np.testing.assert_array_equal(result.image.data, expected.image.data)
    np.testing.assert_array_equal(result.table["sky"], expected.table["sky"])
    assert not kept.exists()


def test_steps_of_other_settings_are_not_used(write, tmp_path: Path) -> None:
    paths, kept = write(3, (80, 90)), tmp_path / "kept"

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asr.stack(paths, align=False, combine="median", resume=kept, progress=interrupt)
    result = asr.stack(paths, align=False, resume=kept)
    expected = asr.stack(paths, align=False)
    np.testing.assert_array_equal(result.image.data, expected.image.data)


def test_many_frames_need_many_open_files(write) -> None:
    resource = pytest.importorskip("resource")
    paths = write(30, (64, 64))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # The limit of the user is raised, up to that of the system.
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
        assert asr.stack(paths, align=False).table["used"].all()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 90
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(InputError, match="open files, but the system allows"):
        allow_open_files(10 * hard)
