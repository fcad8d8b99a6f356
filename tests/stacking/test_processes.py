"""Frames and bands in copies of the process: the same bytes, and errors that come back."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRError, InputError, UnchangedWarning, warn
from astro_sr_plugin.processes import can_fork
from astro_sr_plugin.stacking.workers import Workers


def complain(text: str, number: int) -> int:
    warn(f"{text} {number}", UnchangedWarning)
    return number


def where(numbers: dict[int, int], number: int) -> tuple[int, int]:
    """Return the process that works on a number, and what it finds for it."""
    if numbers[number] < 0:
        msg = f"{numbers[number]} is below 0"
        raise InputError(msg)
    if numbers[number] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), numbers[number]


def test_a_large_stack_does_not_depend_on_the_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:1000, :1300]
    stars = np.column_stack(
        [rng.uniform((30, 30), (1270, 970), (60, 2)), rng.uniform(200, 9000, 60)]
    )
    frames = []
    for k in range(8):
        frame = rng.normal(300, 5, y.shape)
        for u, v, light in stars:
            part = np.s_[int(v) - 9 : int(v) + 10, int(u) - 9 : int(u) + 10]
            away = (x[part] - u - 0.37 * k) ** 2 + (y[part] - v + 0.21 * k) ** 2
            frame[part] += light * np.exp(-away / 4)
        frames.append(tmp_path / f"light_{k}.fits")
        fits.writeto(frames[-1], frame.astype(np.int16))
    one, two = asr.stack(frames, jobs=1), asr.stack(frames, jobs=2)
    np.testing.assert_array_equal(one.image.data, two.image.data)
    np.testing.assert_array_equal(one.image.uncertainty.array, two.image.uncertainty.array)
    np.testing.assert_array_equal(one.n_used, two.n_used)
    np.testing.assert_array_equal(one.table["residual"], two.table["residual"])


def test_results_warnings_and_errors_come_back_from_copies(capfd) -> None:
    if not can_fork():
        pytest.skip("threads of other tests, or no Linux")
    workers = Workers(2, large=True)
    numbers = {k: 10 * (k + 1) for k in range(9)}
    found = list(workers.run(where, (numbers,), list(numbers), at_once=2))
    assert [(k, value) for k, (_, value) in found] == list(numbers.items())
    assert os.getpid() not in {process for _, (process, _) in found}
    with pytest.warns(UnchangedWarning, match="item"):
        assert list(workers.run(complain, ("item",), [0, 1], at_once=2)) == [(0, 0), (1, 1)]
    numbers[4] = -5
    with pytest.raises(InputError, match="-5 is below 0"):
        list(workers.run(where, (numbers,), list(numbers), at_once=2))
    numbers[4] = 0
    with pytest.raises(AstroSRError, match="a process of the stack was ended"):
        list(workers.run(where, (numbers,), list(numbers), at_once=2))
    # Whoever stops early leaves no process behind.
    results = workers.run(where, (numbers,), list(numbers), at_once=2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""
