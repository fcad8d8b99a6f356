"""The validation scenes hold what they say, in flux, noise and geometry."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("galsim")

from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.truth.kinds import FWHM, KINDS
from benchmarks.truth.rendering import Content, gaussian, moffat, render
from benchmarks.truth.scene import ALL_TASKS, Scene
from benchmarks.truth.scenes import make_scene, with_truth_x4


@cache
def scene_of(kind: str) -> Scene:
    return make_scene(kind, 5, size=96)


@cache
def fine_scene_of(kind: str) -> Scene:
    return with_truth_x4(scene_of(kind))


def brightest(scene: Scene) -> int:
    """Return the index of the brightest isolated star inside the frame."""
    good = (np.abs(scene.x - 47.5) < 40) & (np.abs(scene.y - 47.5) < 40) & (scene.neighbour > 12)
    return int(np.where(good, scene.flux, 0.0).argmax())


@pytest.mark.parametrize(
    ("scale", "task"), [(1, "denoise"), (1, "deconvolve"), (2, "x2"), (4, "x4")]
)
def test_rendered_star_has_its_flux_and_place(scale: int, task: str) -> None:
    x, y, flux = 40.3, 52.6, 5e4
    content = Content(np.array([x]), np.array([y]), np.array([flux]))
    psf = moffat(3.0, 4.5, 0.1, 0.4) if task == "denoise" else gaussian(2.0)
    pixel = 1.0 if task == "denoise" else 0.0
    image = render(content, psf, (96, 96), fwhm=3.0, sigma=1e-4, step=1 / scale, pixel=pixel)
    rows, columns = np.indices(image.shape)
    assert image.sum() / scale**2 == pytest.approx(flux, rel=1e-3)
    assert (columns * image).sum() / image.sum() == pytest.approx((x + 0.5) * scale - 0.5, abs=0.02)
    assert (rows * image).sum() / image.sum() == pytest.approx((y + 0.5) * scale - 0.5, abs=0.02)


def test_catalogue_is_that_of_the_truths() -> None:
    scene = fine_scene_of("undersampled")
    star = brightest(scene)
    reach = 4
    for truth, background, scale in (
        (scene.truth_deconvolve, scene.background, 1),
        (scene.truth_x2, scene.background_x2, 2),
        (scene.truth_x4, scene.background_x4, 4),
    ):
        x, y = (scene.x[star] + 0.5) * scale - 0.5, (scene.y[star] + 0.5) * scale - 0.5
        rows, columns = np.indices(truth.shape)
        distance = np.hypot(columns - x, rows - y) / scale
        light = (truth - background).astype(float)
        light -= np.median(light[(distance > reach) & (distance < 1.5 * reach)])
        light[distance > reach] = 0.0
        assert light.sum() / scale**2 == pytest.approx(scene.flux[star], rel=0.03)
        assert (columns * light).sum() / light.sum() == pytest.approx(x, abs=0.1 * scale)
        assert (rows * light).sum() / light.sum() == pytest.approx(y, abs=0.1 * scale)


@pytest.mark.parametrize("kind", ["star-field", "colour-nebula"])
def test_noise_is_as_stated(kind: str) -> None:
    scene = scene_of(kind)
    noise = (scene.observed - scene.truth_denoise).astype(float)
    signal = np.clip(scene.truth_denoise - scene.background, 0.0, None)
    width = np.sqrt(scene.sigma[..., None, None] ** 2 + scene.poisson[..., None, None] * signal)
    assert (noise / width).std() == pytest.approx(1.0, abs=0.04)
    assert abs((noise / width).mean()) < 0.05
    neighbours = np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]
    assert scene.correlated == (neighbours > 0.1)


def test_psf_images_agree_with_the_observation() -> None:
    scene = scene_of("oversampled")
    assert scene.psf.sum() == pytest.approx(1.0)
    assert scene.psf_x2.sum() == pytest.approx(1.0)
    # A coarse pixel is the mean of 2 x 2 fine ones around it.
    half, fine = scene.psf.shape[0] // 2, scene.psf_x2.shape[0] // 2
    assert scene.psf[half, half] == pytest.approx(4 * scene.psf_x2[fine, fine], rel=0.02)


@pytest.mark.parametrize("kind", ["oversampled", "nebula-stack"])
def test_psf_at_scale_4_is_that_of_scale_2_on_finer_pixels(kind: str) -> None:
    scene = fine_scene_of(kind)
    coarse, fine = scene.psf_at(2), scene.psf_at(4)
    assert fine.sum() == pytest.approx(1.0)
    middle, half = fine.shape[0] // 2, coarse.shape[0] // 2
    # A pixel of scale 2 holds two by two of scale 4, and lies half a pixel beside its own.
    means = (fine[1:, 1:] + fine[1:, :-1] + fine[:-1, 1:] + fine[:-1, :-1]) / 4
    around = means[middle - 1 : middle + 1, middle - 1 : middle + 1]
    assert np.ptp(around) < 0.06 * around.max()
    assert coarse[half, half] == pytest.approx(4 * fine[middle, middle], rel=0.02)
    reach = slice(middle - 8, middle + 9)
    own = slice(half - 4, half + 5)
    assert 4 * fine[reach, reach][::2, ::2] == pytest.approx(coarse[own, own], rel=0.03, abs=1e-4)


def test_the_truth_at_scale_4_is_kept_apart(tmp_path: Path) -> None:
    scene = make_scene("undersampled", 7, size=64, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    before = kept.read_bytes()
    with pytest.raises(ValueError, match="with_truth_x4"):
        scene.truth("super-resolve-x4")
    first = with_truth_x4(scene, cache=tmp_path)
    again = with_truth_x4(scene, cache=tmp_path)
    for name in ("truth_x4", "background_x4", "psf_x4"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.truth("super-resolve-x4").shape == (256, 256)
    assert kept.read_bytes() == before
    assert make_scene("undersampled", 7, size=64, cache=tmp_path).truth_x4 is None
    assert len(list(tmp_path.iterdir())) == 2


def test_saturation_is_excluded() -> None:
    scene = scene_of("spikes")
    top = scene.observed.max()
    assert scene.truth_denoise.max() > top
    assert scene.excluded[scene.observed >= top].all()
    assert 0.0 < scene.excluded.mean() < 0.5


def test_integer_scene_has_whole_numbers() -> None:
    scene = scene_of("integer-gradient")
    assert np.array_equal(scene.observed, np.rint(scene.observed))
    assert scene.background.max() > 1.3 * scene.background.min()


def test_seed_decides(tmp_path: Path) -> None:
    first = make_scene("star-field", 7, size=64, cache=tmp_path)
    kept = make_scene("star-field", 7, size=64, cache=tmp_path)
    again = make_scene("star-field", 7, size=64)
    other = make_scene("star-field", 8, size=64)
    for field in dataclasses.fields(Scene):
        assert np.array_equal(getattr(first, field.name), getattr(kept, field.name))
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.observed, other.observed)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="star-field"):
        make_scene("comet", 1)


def test_every_kind_has_its_fwhm() -> None:
    assert set(KINDS) == set(FWHM)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_truth_scores_perfectly_and_the_observation_does_not(task: str) -> None:
    scene = fine_scene_of("star-field")
    perfect = evaluate_outputs(scene, task, scene.truth(task))
    raw = evaluate_outputs(scene, task, scene.untouched(task))
    assert perfect["db"] > 100.0
    assert perfect["invented"] == perfect["clear_invented"] == perfect["clear_false"] == 0.0
    assert perfect["completeness"] == 1.0
    assert raw["db"] < 12.0
    assert raw["flux_ratio"] == pytest.approx(1.0)
