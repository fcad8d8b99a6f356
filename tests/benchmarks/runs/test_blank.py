"""The count of what the verbs make of noise alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.runs.blank import count_peaks, make_noise


@pytest.mark.parametrize(("kind", "correlation"), [("white", 0.0), ("dithered", 0.3)])
def test_the_noise_is_as_stated(kind, correlation):
    noise = make_noise(kind, 400, 1).astype(float) - 500
    assert noise.std() == pytest.approx(5, rel=0.02)
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    assert neighbours == pytest.approx(correlation, abs=0.15 if correlation else 0.02)


def test_peaks_are_counted():
    sky = np.full((50, 50), 500.0)
    sky[10, 10], sky[30, 12], sky[40, 40] = 520, 511, 509
    assert count_peaks(sky, 10.0) == 2
