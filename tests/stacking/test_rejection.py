"""Rejection and combination of values whose noise and outliers are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stacking.combination import combine_values
from astro_sr_plugin.stacking.rejection import METHODS, reject

ONE = np.ones((1, 1, 1), np.float32)
NOTHING = np.zeros((1, 1, 1), bool)


def noise(n: int, side: int = 160) -> NDArray[np.float32]:
    return np.random.default_rng(n).normal(size=(n, side, side)).astype(np.float32)


def mean_of(values: NDArray[np.float32], method: str) -> NDArray[np.float64]:
    """Error of the mean after rejection, in units of the error that theory gives."""
    low, high = reject(values, method, sigma=ONE)
    combined = combine_values(values, low, high, variance=ONE)
    return combined.data.astype(float) * np.sqrt(len(values))


# Reference figures: loss of the clean mean [%], and bias after +10 sigma in one frame [sigma of
# the mean]; methods of scatter are known to lose noise, and not to reject where values are few.
@pytest.mark.parametrize(
    ("method", "n", "loss", "bias"),
    [
        ("noise", 5, 1.0, 0.05),
        ("noise", 10, 1.0, 0.05),
        ("noise", 20, 1.0, 0.05),
        ("noise", 50, 1.0, 0.05),
        ("sigma", 12, 1.5, 0.15),
        ("sigma", 40, 1.5, 0.05),
        ("winsorized", 8, 6.0, 0.1),
        ("winsorized", 20, 4.0, 0.05),
        ("mad", 12, 8.0, 0.1),
        ("mad", 40, 2.5, 0.05),
        ("linearfit", 12, 2.5, 0.4),
        ("gesd", 12, 6.0, 0.1),
        ("gesd", 20, 3.5, 0.05),
    ],
)
def test_noise_after_rejection_and_bias_by_an_outlier(
    method: str, n: int, loss: float, bias: float
) -> None:
    values = noise(n)
    # 25,600 pixels know a standard deviation to 0.45 %; twice that is allowed beside the loss.
    assert mean_of(values, method).std() < 1 + loss / 100 + 0.009
    values[0] += 10
    assert abs(mean_of(values, method).mean()) < bias + 0.02


def test_a_tenth_of_the_frames_may_be_outliers() -> None:
    values = noise(20)
    values[:2] += 10
    for method in ("noise", "sigma", "winsorized", "mad", "gesd"):
        assert abs(mean_of(values, method).mean()) < 0.25, method


def test_values_of_few_frames_are_rejected_by_the_known_noise() -> None:
    values = noise(3)
    values[1] += 12
    low, high = reject(values, "noise", sigma=ONE)
    assert high[1].mean() > 0.99
    assert low.sum() + high[[0, 2]].sum() < 30
    pair = values[:2]
    assert reject(pair, "noise", sigma=ONE)[1][1].mean() > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_every_pixel_keeps_a_value_and_nan_is_none(method: str) -> None:
    values = noise(9, 40) * 50
    values[:5, :, 3] = np.nan
    values[:, :, 7] = np.nan
    values[2:, :, 9] = np.nan
    low, high = reject(values, method, sigma=ONE)
    combined = combine_values(values, low, high, variance=ONE)
    assert not (low | high)[np.isnan(values)].any()
    assert not (low & high).any()
    assert np.isnan(combined.data[:, 7]).all()
    assert np.isfinite(np.delete(combined.data, 7, axis=1)).all()
    total = combined.used.astype(int) + combined.low + combined.high
    assert (total == np.isfinite(values).sum(0)).all()


def test_the_smallest_and_largest_values_are_dropped() -> None:
    values = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    low, high = reject(values, "minmax", (1, 2))
    assert low[:, 0, 0].tolist() == [True, False, False, False, False, False]
    assert high[:, 0, 0].tolist() == [False, False, False, False, True, True]


def test_percentiles_are_fractions_of_the_median() -> None:
    values = np.array([70.0, 95, 100, 105, 115], np.float32)[:, None, None]
    low, high = reject(values, "percentile", (0.2, 0.1))
    assert (low.ravel().tolist(), high.ravel().tolist()) == (
        [True, False, False, False, False],
        [False, False, False, False, True],
    )


def test_a_tolerance_is_allowed_beside_the_noise() -> None:
    values = noise(10)
    values[0] += 20

    def allowed(number: int, index: np.ndarray) -> np.ndarray:
        return np.full(index.shape, 30 if number == 0 else 0, np.float32)

    low, high = reject(values, "noise", sigma=ONE, tolerance=allowed)
    assert not high[0].any()
    assert low[1:].mean() < 1e-3


def test_weights_are_normalised_where_values_are_missing_or_rejected() -> None:
    """A constant image stays constant under a mask, and under rejection."""
    values = np.ones((2, 8, 8), np.float32)
    values[0, :4, :4] = np.nan
    combined = combine_values(values, NOTHING, NOTHING, weights=np.ones(2), variance=ONE)
    assert (combined.data == 1).all()
    assert (combined.used[:4, :4] == 1).all()
    assert combined.variance[0, 0] == 1
    assert combined.variance[7, 7] == 0.5
    values = np.ones((4, 8, 8), np.float32)
    values[2, 5, 5] = 100
    low, high = reject(values, "noise", sigma=ONE)
    combined = combine_values(values, low, high, weights=np.array([1.0, 2, 3, 4]), variance=ONE)
    assert (combined.data == 1).all()
    assert combined.high[5, 5] == 1


def test_the_best_weights_give_the_least_noise_and_its_variance() -> None:
    sigma = np.array([1.0, 1, 2, 3])
    values = noise(4) * sigma[:, None, None].astype(np.float32)
    variance = sigma[:, None, None] ** 2
    combined = combine_values(values, NOTHING, NOTHING, weights=sigma**-2, variance=variance)
    expected = 1 / np.sum(sigma**-2)
    assert combined.variance[0, 0] == pytest.approx(expected)
    assert combined.data.var() == pytest.approx(expected, rel=0.03)
    estimated = combine_values(values, NOTHING, NOTHING, weights=sigma**-2)
    assert estimated.variance.mean() == pytest.approx(expected, rel=0.03)


def test_the_median_has_its_own_variance() -> None:
    values = noise(25)
    combined = combine_values(values, NOTHING, NOTHING, combine="median", variance=ONE)
    assert combined.data.var() == pytest.approx(combined.variance.mean(), rel=0.06)


@pytest.mark.parametrize(
    ("method", "limits", "text"),
    [("best", None, "allowed are noise"), ("sigma", (-1, 3), "from 0"), ("gesd", (2, 1), "to 1")],
)
def test_unusable_choices_are_refused(method: str, limits: tuple | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        reject(noise(5, 4), method, limits)
