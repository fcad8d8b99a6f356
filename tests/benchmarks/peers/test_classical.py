"""The classical rivals do their best: right geometry, right inverse, nearer to the truth."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("galsim")

from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.peers.bench import Bench
from benchmarks.peers.classical import anscombe, inverse_anscombe, resize
from benchmarks.truth.scene import Scene
from benchmarks.truth.scenes import make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("star-field", 3, size=64)


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("peers"))


def test_anscombe_makes_the_noise_one_and_its_inverse_the_mean() -> None:
    rng = np.random.default_rng(1)
    poisson, sigma = 0.8, 20.0
    for level in (0.0, 300.0, 5000.0):
        noisy = level + rng.standard_normal(200_000) * np.sqrt(poisson * level + sigma**2)
        stable = anscombe(noisy, poisson, sigma)
        assert stable.std() == pytest.approx(1.0, rel=0.02)
        mean = inverse_anscombe(np.array(stable.mean()), poisson, sigma)
        assert mean == pytest.approx(level, abs=0.01 * sigma)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_enlarging_keeps_the_grid(method: str, factor: int) -> None:
    ramp = np.add.outer(3.0 * np.arange(24.0), np.arange(24.0))
    place = (np.arange(24 * factor) + 0.5) / factor - 0.5
    wanted = np.add.outer(3.0 * place, place)
    inner = slice(4 * factor, -4 * factor)
    assert resize(ramp, method, factor)[inner, inner] == pytest.approx(
        wanted[inner, inner], abs=0.1
    )


def test_skipped_peers_say_why(bench: Bench, scene: Scene) -> None:
    result = bench.run(scene, "denoise", "siril")
    assert result.image is None
    assert "--siril" in result.note


@pytest.mark.parametrize(
    ("task", "peer"), [("deconvolve", "wiener"), ("deconvolve", "rl"), ("super-resolve", "rl")]
)
def test_peers_come_nearer_to_the_truth_and_are_kept(
    bench: Bench, scene: Scene, task: str, peer: str
) -> None:
    result = bench.run(scene, task, peer)
    assert result.image is not None
    before = evaluate_outputs(scene, task, scene.untouched(task))
    after = evaluate_outputs(scene, task, result.image)
    assert after["db"] > before["db"] + 2.0
    again = bench.run(scene, task, peer).image
    assert again is not None
    assert np.allclose(again, result.image, rtol=1e-6)
