"""The header says what was done, again and again."""

import warnings

import numpy as np
from astropy.io import fits

from astro_sr_plugin import __version__
from astro_sr_plugin.data.provenance import add_keywords


def test_keywords_and_history():
    header = fits.Header([("OBJECT", "M 1"), ("DATAMAX", 7.0)])
    result = add_keywords(
        header,
        task="deconvolve",
        model="unet-deconvolve",
        weights_hash="0123456789abcdef" * 4,
        fwhm_in=3.25,
        fwhm_out=np.float32(2.0),
        scale=1,
        strength=0.5,
        noise=np.nan,
        parameters={"stars": 1.0, "psf": np.ones((40, 40)), "tiles": (3, 4), "gain": None},
    )
    assert result is header
    assert header["ASRVERS"] == __version__
    assert (header["ASRTASK"], header["ASRMODEL"]) == ("deconvolve", "unet-deconvolve")
    assert header["ASRHASH"] == "0123456789abcdef"
    assert (header["ASRFWHMI"], header["ASRFWHMO"]) == (3.25, 2.0)
    assert (header["ASRSCALE"], header["ASRSTREN"]) == (1, 0.5)
    assert "ASRNOISE" not in header
    assert "DATAMAX" not in header
    text = " ".join(line.strip() for line in header["HISTORY"])
    assert text.startswith(f"astro_sr_plugin {__version__} deconvolve: model=unet-deconvolve")
    for entry in ("sha256=" + "0123456789abcdef" * 4, "fwhm_in=3.25", "stars=1", "tiles=[3, 4]"):
        assert entry in text
    assert "psf=array of shape (40, 40)" in text
    assert "gain" not in text
    assert all(len(line) <= 72 for line in header["HISTORY"])


def test_second_step_updates_keywords_and_adds_history():
    header = fits.Header()
    add_keywords(header, task="super-resolve", model="a", scale=2, noise=3.0)
    lines = len(header["HISTORY"])
    add_keywords(header, task="denoise", model="b", noise=1.5, parameters={"note": "Größe"})
    assert (header["ASRTASK"], header["ASRMODEL"], header["ASRNOISE"]) == ("denoise", "b", 1.5)
    assert "ASRSCALE" not in header
    assert header.count("ASRTASK") == 1
    assert len(header["HISTORY"]) > lines
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits.PrimaryHDU(np.ones((2, 2)), header).verify("exception")
        assert all(len(card.image) == 80 for card in header.cards)
