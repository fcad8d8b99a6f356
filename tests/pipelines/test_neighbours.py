"""The package among others: picklable, without global state, and with the threads it is given."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sep
import torch
from astropy.nddata import CCDData

import astro_sr_plugin as asr


def make_field(seed: int, size: int = 96, fwhm: float = 3.2) -> np.ndarray:
    """Return a small field of Moffat stars with noise, in adu."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 3.0) - 1)
    image = rng.normal(500.0, 8.0, (size, size))
    for _ in range(24):
        xc, yc = rng.uniform(6, size - 6, 2)
        image += rng.uniform(800, 5000) * (1 + ((x - xc) ** 2 + (y - yc) ** 2) / alpha**2) ** -3.0
    return image.astype(np.float32)


VERBS: dict[str, Callable[[Any], Any]] = {
    "denoise": asr.denoise,
    "deconvolve": asr.deconvolve,
    "super_resolve": asr.super_resolve,
    "remove_stars": lambda image: asr.remove_stars(image)[0],
    "apply_stretch": asr.apply_stretch,
    "star_mask": asr.star_mask,
}


@pytest.fixture(scope="module")
def image() -> CCDData:
    meta = {"OBJECT": "a field", "GAIN": 1.5, "BUNIT": "adu"}
    return CCDData(make_field(3), unit="adu", meta=meta)


def test_settings_measurements_and_bars_can_be_sent(image: CCDData) -> None:
    runtime = asr.Runtime(device="cpu", tile_size=64, progress=asr.ProgressBar())
    again = pickle.loads(pickle.dumps(runtime))
    assert (again.device, again.tile_size) == ("cpu", 64)
    again.progress(1, 1)
    plain = asr.Runtime(device="cpu", overlap=3)
    assert pickle.loads(pickle.dumps(plain)) == plain
    quality = asr.measure(image, psf_grid=(1, 1))
    assert pickle.loads(pickle.dumps(quality)).to_dict() == quality.to_dict()


def check_that_it_can_be_sent(result: Any) -> None:
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(result))
    if isinstance(result, CCDData):
        assert again.unit == result.unit
        assert dict(again.meta) == dict(result.meta)


def test_verbs_and_models_can_be_sent(image: CCDData) -> None:
    for name in ("denoise", "deconvolve", "super_resolve", "remove_stars", "measure", "star_mask"):
        assert pickle.loads(pickle.dumps(getattr(asr, name))) is getattr(asr, name)
    for spec in asr.list_models():
        assert pickle.loads(pickle.dumps(spec)) == spec


def test_errors_can_be_sent() -> None:
    for name in (name for name in asr.__all__ if name.endswith("Error")):
        error = pickle.loads(pickle.dumps(getattr(asr, name)("one sentence")))
        assert str(error) == "one sentence"
        assert error.exit_code in (1, 2)


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_outside_is_changed_and_results_can_be_sent(verb: str, image: CCDData) -> None:
    def outside() -> dict[str, Any]:
        return {
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "dtype": torch.get_default_dtype(),
            "torch chance": torch.get_rng_state().tolist(),
            "numpy chance": str(np.random.get_state()),  # noqa: NPY002
            "numpy errors": np.geterr(),
            "filters": list(warnings.filters),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
        }

    before, pixels, meta = outside(), image.data.copy(), dict(image.meta)
    result = VERBS[verb](image)
    assert outside() == before
    np.testing.assert_array_equal(image.data, pixels)
    assert dict(image.meta) == meta
    check_that_it_can_be_sent(result)


@pytest.mark.parametrize("limits", [(7_000_000, 50_000), (30_000, 100)])
def test_the_limits_of_sep_stay_as_the_host_has_set_them(
    image: CCDData, limits: tuple[int, int]
) -> None:
    stack, limit = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    try:
        sep.set_extract_pixstack(limits[0])
        sep.set_sub_object_limit(limits[1])
        asr.measure(image)
        assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == limits
    finally:
        sep.set_extract_pixstack(stack)
        sep.set_sub_object_limit(limit)


def test_threads_of_a_program_do_not_disturb_each_other() -> None:
    images = [make_field(seed) for seed in range(4)]
    one_by_one = [asr.denoise(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(asr.denoise, images))
    for expected, found in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux does")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_respected(threads: int) -> None:
    code = """
import os, sys
import numpy as np
import astro_sr_plugin as asr
rng = np.random.default_rng(1)
image = rng.normal(100, 5, (160, 160)).astype(np.float32)
asr.denoise(image, runtime=asr.Runtime(device="cpu"))
import torch
print(torch.get_num_threads(), len(os.listdir("/proc/self/task")))
"""
    limits = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=True,
    )
    reported, running = map(int, done.stdout.split())
    assert reported == threads
    if not torch.cuda.is_available():  # whose driver has threads of its own
        assert running == threads
