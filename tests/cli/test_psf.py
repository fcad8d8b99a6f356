"""The command psf."""

from __future__ import annotations

import json

import numpy as np

import astro_sr_plugin as asr


def test_the_command_writes_the_file(astro_sr, field_path, tmp_path):
    output = tmp_path / "psf.fits"
    done = astro_sr("psf", field_path, "-o", output, "--json")
    record = json.loads(done.out)
    (figures,) = record["psf"]
    psf = asr.read_psf(output)
    assert psf.meta["nstars"] == figures["nstars"] > 0
    assert figures["fwhm"] > 1
    assert f"{figures['fwhm']:.2f}" in astro_sr("psf", field_path, "-o", output, "--overwrite").out


def test_the_file_serves_as_psf(astro_sr, field_path, tmp_path):
    astro_sr("psf", field_path, "-o", tmp_path / "psf.fits")
    words = ("deconvolve", field_path, "-o", tmp_path / "sharp.fits", "--model", "wiener")
    assert astro_sr(*words, "--psf", tmp_path / "psf.fits").code == 0
    assert np.isfinite(asr.read_image(tmp_path / "sharp.fits").data).all()
