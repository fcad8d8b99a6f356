"""Recipes: what is read, what is refused, what they do, and what makes two of them different."""

from __future__ import annotations

import inspect
import pickle
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.batch.recipe import Step
from astro_sr_plugin.batch.verbs import VERBS

TOML = """
[[step]]
verb = "denoise"
strength = 0.8

[[step]]
verb = "deconvolve"
target-fwhm = 2.2
psf = [3.2, 3.0]
force = true
"""


def read(tmp_path: Path, text: str) -> asr.Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return asr.Recipe.read(path)


def test_a_recipe_does_what_the_verbs_do(tmp_path: Path, field: np.ndarray) -> None:
    recipe = read(tmp_path, TOML)
    image = CCDData(field, unit="adu")
    by_hand = asr.deconvolve(
        asr.denoise(image, strength=0.8), target_fwhm=2.2, psf=(3.2, 3.0), force=True
    )
    result = recipe.apply(image)
    np.testing.assert_array_equal(result.data, by_hand.data)
    assert result.data.dtype == np.float32
    assert result.meta["ASRTASK"] == "deconvolve"
    assert recipe.ending == "denoised_sharp"


def test_every_verb_is_a_function_of_the_package() -> None:
    for name, verb in VERBS.items():
        assert callable(verb.function), name
        assert {"image", "out", "runtime"}.isdisjoint(verb.options()), name
        assert verb.main is None or verb.main in verb.options(), name


def test_every_verb_of_the_package_can_be_a_step() -> None:
    functions = {name: getattr(asr, name) for name in asr.__all__}
    verbs = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function)
        and {"image", "runtime"} <= set(inspect.signature(function).parameters)
    }
    assert {"denoise", "deconvolve"} <= verbs
    assert verbs <= {verb.name for verb in VERBS.values()}


def test_stretch_and_back(field: np.ndarray) -> None:
    image = CCDData(field, unit="adu")
    recipe = asr.Recipe(({"verb": "stretch", "name": "asinh", "linked": False}, "unstretch"))
    np.testing.assert_allclose(recipe.apply(image).data, field, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no steps"]),
        ("[[step]]\nstrength = 1", ["no verb"]),
        ('[[step]]\nverb = "measure"', ["measure", "denoise"]),
        ('[[step]]\nverb = "denoise"\nstars = 1', ["denoise", "stars", "strength"]),
        ('[[step]]\nverb = "denoise"\nstrength = 1.5', ["strength=1.5", "0", "1"]),
        ('[[step]]\nverb = "denoise"\nstrength = "much"', ["strength='much'", "number"]),
        ('[[step]]\nverb = "denoise"\nmodel = "no-such"', ["no-such"]),
        ('[[step]]\nverb = "super-resolve"\nscale = 7', ["scale=7"]),
        ('[[step]]\nverb = "unstretch"\ncolour = 3', ["unstretch", "none"]),
        ("step = 3", ["step"]),
        ("[denoise]\nstrength = 1", ["denoise", "[[step]]"]),
        ("not toml at all", ["not TOML"]),
    ],
)
def test_what_is_refused(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(asr.InputError) as caught:
        read(tmp_path, text)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value).strip()


def test_a_missing_file() -> None:
    with pytest.raises(asr.InputError, match=r"nowhere\.toml"):
        asr.Recipe.read("nowhere.toml")


def test_what_makes_recipes_different() -> None:
    plain = asr.Recipe(("denoise",)).identity()
    assert asr.Recipe(({"verb": "denoise", "strength": 1.0},)).identity() == plain
    assert asr.Recipe(({"verb": "denoise", "strength": 0.9},)).identity() != plain
    assert asr.Recipe(({"verb": "denoise", "model": "wiener"},)).identity() != plain
    assert asr.Recipe(("denoise", "denoise")).identity() != plain


def test_weights_count_by_content_and_their_path_by_the_recipe(tmp_path: Path) -> None:
    shipped = Path(str(files("astro_sr_plugin"))) / "weights" / "denoise-fast.safetensors"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(shipped, tmp_path / folder / "mine.safetensors")
    text = '[[step]]\nverb = "denoise"\nmodel = "mine.safetensors"\n'
    first, second = (read(tmp_path / folder, text) for folder in ("a", "b"))
    assert Path(first.steps[0].options["model"]).is_absolute()
    assert first.identity() == second.identity()
    assert first.identity() != asr.Recipe(({"verb": "denoise", "model": "wiener"},)).identity()


def test_recipes_travel_between_processes() -> None:
    recipe = asr.Recipe((Step("deconvolve", {"stars": 0.5, "psf": [3.0, 2.5]}),))
    assert pickle.loads(pickle.dumps(recipe)) == recipe
