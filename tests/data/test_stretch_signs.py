"""Stretched images are refused or pointed out, and linear ones are not."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_sr_plugin import apply_stretch, denoise, measure, star_mask, undo_stretch
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.stretch_signs import find_stretch_signs
from astro_sr_plugin.exceptions import AstroSRWarning, InputError

RNG = np.random.default_rng(31)
STRETCHES = ["mtf", "asinh", "ghs", "log"]


def field(sky=300.0, noise=8.0, full=65535.0, size=96):
    """A linear frame of stars, with the brightest one near the full range."""
    y, x = np.mgrid[:size, :size]
    image = RNG.normal(sky, noise, (size, size))
    for peak in (0.95 * (full - sky), *RNG.uniform(5, 100, 15) * noise):
        xc, yc = RNG.uniform(8, size - 8, 2)
        image += peak * (1 + ((x - xc) ** 2 + (y - yc) ** 2) / 6) ** -3.0
    return np.minimum(image, full)


@pytest.mark.parametrize("name", [*STRETCHES, "gamma"])
@pytest.mark.parametrize("verb", [denoise, measure, star_mask])
def test_own_stretches_are_refused_until_they_are_undone(name, verb):
    linear = CCDData(field(), unit="adu", meta=fits.Header())
    stretched = apply_stretch(linear, name)
    with pytest.raises(InputError, match=r"keyword ASRSTR = .*unstretch first"):
        verb(stretched)
    undone = undo_stretch(stretched)
    assert find_stretch_signs(undone.meta, undone.data) == ""
    assert star_mask(undone).any()


def test_own_stretches_are_refused_after_every_format(tmp_path):
    stretched = apply_stretch(CCDData(field(), unit="adu", meta=fits.Header()))
    for name in ("a.fits", "a.xisf", "a.tif"):
        path = write_image(stretched, tmp_path / name)
        with pytest.raises(InputError, match="unstretch first"):
            star_mask(path)
        assert star_mask(path, force=True).shape == (96, 96)


@pytest.mark.parametrize("name", STRETCHES)
@pytest.mark.parametrize("stored", ["float", "uint16", "uint8"])
def test_stretches_without_a_word_show_in_the_pixels(tmp_path, name, stored):
    shown = apply_stretch(field(), name)
    if stored != "float":
        top = np.iinfo(stored).max
        shown = np.rint(np.clip(shown, 0, 1) * top).astype(stored)
    path = write_image(shown, tmp_path / "a.fits")
    with pytest.warns(AstroSRWarning, match="seems to be stretched for display") as caught:
        star_mask(path)
    assert len(caught) == 1


@pytest.mark.parametrize(("sky", "noise"), [(300, 8), (1500, 40), (12000, 110), (30000, 180)])
@pytest.mark.parametrize("scale", ["uint16", "float", "normalised"])
def test_linear_frames_are_not_pointed_out(tmp_path, sky, noise, scale):
    light = field(sky, noise)
    data = {
        "uint16": np.rint(light).astype("u2"),
        "float": light,
        "normalised": (light / 65535).astype("f4"),
    }[scale]
    image = read_image(write_image(data, tmp_path / "a.fits"))
    assert find_stretch_signs(image.meta, image.data) == ""


@pytest.mark.parametrize(
    "line",
    [
        "Histogram Transf. (mid=0.008, lo=0.002, hi=1.000)",
        "Asinh Transformation: (stretch=120.0, bp=0.00312)",
        "AutoStretch (shadows: -2.80, target bg: 0.25, linked)",
        "GHS pivot: 0.001, amount: 5.0, local: 2.0",
        "PixInsight: HistogramTransformation module version 1.16",
        "CurvesTransformation",
        "MaskedStretch.targetBackground: 0.125",
        "ArcsinhStretch",
        "GeneralizedHyperbolicStretch",
        "Statistical Stretch target median 0.25",
    ],
)
def test_history_of_other_programs_is_read(line):
    image = CCDData(field(), unit="adu", meta=fits.Header())
    image.meta.add_history("Stacking result")
    image.meta.add_history(line)
    with pytest.warns(AstroSRWarning, match="its history says"):
        star_mask(image)


def test_history_of_linear_work_is_not_a_stretch():
    image = CCDData(field(), unit="adu", meta=fits.Header())
    for line in (
        "MTFLAG      MTFLAG    first",
        "'HISTOGRAM','I*4',1,256,'7I10'",
        "Background extraction (Correction: Subtraction)",
        "Photometric CC",
        "ImageIntegration.pixelCombination: Average",
        "astro_sr_plugin: stretched: MTFStretch(...)",
        "astro_sr_plugin: unstretched: MTFStretch(...)",
        "Deconvolution, HDRMultiscale not applied, STF computed",
    ):
        image.meta.add_history(line)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        star_mask(image)
