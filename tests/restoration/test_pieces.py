"""What was changed in a piece is looked at again in windows of it."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.restoration.pieces import CELL, windows_around

PIECE = (896, 1700, 0, 896)


@pytest.mark.parametrize(
    "changed",
    [
        [(1300.0, 450.0, 9.0)],
        [(897.0, 3.0, 20.0), (1690.0, 890.0, 20.0)],
        [(1300.0, 450.0, 9.0), (1300.0, 600.0, 9.0)],
    ],
)
def test_windows_hold_what_depends_on_the_changes(changed: list[tuple[float, ...]]) -> None:
    seen = np.zeros((1700, 896), dtype=bool)
    for y0, y1, x0, x1 in windows_around(PIECE, changed):
        assert (y0 - PIECE[0]) % CELL == x0 % CELL == 0
        seen[y0:y1, x0:x1] = True
    y, x = np.mgrid[:1700, :896]
    for row, column, half in changed:
        near = np.maximum(abs(y - row), abs(x - column)) <= half + REACH
        assert seen[near & (y >= PIECE[0])].all()
    assert not seen[: PIECE[0]].any()
    assert seen.sum() < 0.5 * 804 * 896


def test_a_change_outside_needs_no_window_and_many_the_whole_piece() -> None:
    assert windows_around(PIECE, [(300.0, 300.0, 20.0)]) == []
    many = [(float(y), float(x), 5.0) for y in range(900, 1700, 100) for x in range(0, 900, 100)]
    assert windows_around(PIECE, many) == [PIECE]
