"""The scale of the uncertainties is found again from what they miss."""

from __future__ import annotations

import numpy as np

from astro_sr_plugin.models.wiener_unet.error_net import LEVELS
from astro_sr_plugin.training.calibrate import factors_of
from benchmarks.figures.coverage import coverage_table


def test_factors_make_the_coverages_right():
    rng = np.random.default_rng(1)
    level = np.exp(rng.uniform(np.log(0.1), np.log(3000), 400_000))
    true = np.linspace(0.5, 2.0, len(LEVELS))
    nodes = np.log(LEVELS)
    wrong = np.interp(np.log(level), nodes, true)
    pulls = rng.normal(size=level.size) * wrong
    factors = factors_of(pulls, level)
    np.testing.assert_allclose(factors, true, rtol=0.05)
    scaled = pulls / np.interp(np.log(level), nodes, factors)
    for row in coverage_table(scaled, level):
        for share in (68, 90, 95):
            assert abs(row[str(share)] - share) < 1.5
