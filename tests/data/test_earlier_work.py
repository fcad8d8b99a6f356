"""What the header says of earlier steps, and which verbs may follow them."""

from __future__ import annotations

import warnings

import pytest
from astropy.io.fits import Header

import astro_sr_plugin as asr
from astro_sr_plugin.data.earlier_work import Work, check_earlier_work, find_earlier_work
from astro_sr_plugin.data.provenance import add_keywords


def done(*steps: tuple[str, float | None]) -> Header:
    header = Header()
    for task, strength in steps:
        model = "a-network-with-a-long-name-that-makes-the-history-wrap"
        add_keywords(header, task=task, strength=strength, model=model, fwhm_in=3.123456)
    return header


def test_all_steps_are_read_from_history() -> None:
    header = done(("denoise", 0.8), ("remove-stars", None), ("deconvolve", 1.0))
    expected = [Work("denoise", 0.8), Work("remove-stars"), Work("deconvolve")]
    assert find_earlier_work(header) == expected
    del header["HISTORY"]
    assert find_earlier_work(header) == [Work("deconvolve")]
    assert find_earlier_work({}) == []


def test_pixels_doubled_by_a_spline_are_not_sharpened() -> None:
    header = add_keywords(Header(), task="super-resolve", model="bicubic", scale=2)
    assert find_earlier_work(header) == []


@pytest.mark.parametrize(
    ("steps", "task"),
    [
        ([("denoise", 1.0)], "deconvolve"),
        ([("denoise", 0.5)], "super-resolve"),
        ([("deconvolve", 0.5)], "deconvolve"),
        ([("deconvolve", 1.0)], "super-resolve"),
        ([("super-resolve", None)], "deconvolve"),
        ([("denoise", 1.0), ("remove-stars", None)], "deconvolve"),
        ([("denoise", 1.0)], "remove-stars"),
    ],
)
def test_what_harms_is_refused(steps, task) -> None:
    with pytest.raises(asr.InputError, match="as it was before.*force=True"):
        check_earlier_work(done(*steps), task)
    check_earlier_work(done(*steps), task, force=True)


@pytest.mark.parametrize(
    ("steps", "task"),
    [
        ([("denoise", 0.3)], "deconvolve"),
        ([("denoise", 1.0)], "denoise"),
        ([("super-resolve", None)], "denoise"),
    ],
)
def test_what_harms_less_is_a_warning(steps, task) -> None:
    with pytest.warns(asr.AstroSRWarning, match="before"):
        check_earlier_work(done(*steps), task)


@pytest.mark.parametrize(
    ("steps", "task"),
    [
        ([("remove-stars", None)], "denoise"),
        ([("remove-stars", None)], "deconvolve"),
        ([("denoise", 0.0)], "deconvolve"),
        ([("deconvolve", 1.0)], "remove-stars"),
        ([], "deconvolve"),
    ],
)
def test_what_does_no_harm_is_silent(steps, task) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_earlier_work(done(*steps), task)


def test_history_of_other_programs_is_a_warning() -> None:
    header = Header()
    header.add_history("Stacking 120 frames, sigma clipping")
    check_earlier_work(header, "deconvolve")
    header.add_history("NoiseXTerminator (denoise=0.90)")
    with pytest.warns(asr.AstroSRWarning, match="HISTORY says 'NoiseXTerminator"):
        check_earlier_work(header, "deconvolve")


def test_recipes_whose_order_harms_are_refused_in_one_sentence() -> None:
    steps = ("denoise", {"verb": "deconvolve", "stars": 0.7})
    with pytest.raises(asr.InputError, match="step 2 of the recipe, 'deconvolve'.*force=true"):
        asr.Recipe(steps)
    asr.Recipe(("denoise", {"verb": "deconvolve", "force": True}))
    asr.Recipe(("remove-stars", "denoise"))
