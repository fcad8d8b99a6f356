"""The network finds what is not of the sky, leaves stars alone, and nothing else is touched."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from scipy import ndimage

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import AstroSRWarning, InputError, ModelError
from astro_sr_plugin.restoration.contaminants import _RULES, _groups
from astro_sr_plugin.restoration.filling import fill_pixels

NOISE, SIDE = 2.0, 160
RAYS = ((30, 40), (95, 120), (120, 30))
COLUMN = 70


@pytest.fixture(scope="module")
def sky():
    """Stars of all brightness, with a FWHM of 3 pixels, on a level of 100."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(100.0, NOISE, (SIDE, SIDE))
    for _ in range(30):
        row, column = rng.uniform(5, SIDE - 5, 2)
        square = (y - row) ** 2 + (x - column) ** 2
        image += 10 ** rng.uniform(1.5, 4.0) * (1 + square / 6.9) ** -3.0
    return image


@pytest.fixture(scope="module")
def contaminants():
    """A trail, three cosmic rays, a hot column: light of each, in the unit of the image."""
    y, x = np.mgrid[:SIDE, :SIDE]
    trail = 30.0 * np.exp(-0.5 * ((0.5 * x + 0.866 * y - 110) / 1.3) ** 2)
    rays, column = np.zeros((2, SIDE, SIDE))
    for row, place in RAYS:
        for step in range(5):
            rays[row + step // 2, place + step] += 300.0
    column[20:, COLUMN] = 60.0
    return {"trail": trail, "cosmic-ray": rays, "column": column}


@pytest.fixture(scope="module")
def image(sky, contaminants):
    return sky + sum(contaminants.values())


@pytest.fixture(scope="module")
def clean(image):
    errors = StdDevUncertainty(np.full(image.shape, NOISE))
    return asr.remove_artifacts(CCDData(image, unit="adu", uncertainty=errors), method="unet")


def test_contaminants_are_filled_and_counted(clean, image, sky, contaminants):
    for kind, light in contaminants.items():
        spoiled = light > 10 * NOISE
        assert clean.mask[spoiled].mean() > 0.7, kind
        error = np.abs(clean.data - sky)[spoiled & clean.mask]
        assert np.median(error) < 0.2 * np.median(light[spoiled]), kind
    assert clean.meta["ASRCOSMI"] >= 2
    assert clean.meta["ASRTRAIL"] >= 1
    assert clean.meta["ASRARTIF"] == sum(
        clean.meta[key] for key in ("ASRTRAIL", "ASRCOSMI", "ASRCOLUM")
    )
    assert clean.meta["ASRMODEL"] == "remove-artifacts-unet"
    assert "ASRAGREE" not in clean.meta, "nothing is restored that could disagree"
    np.testing.assert_array_equal(clean.data[~clean.mask], image[~clean.mask])


def test_stars_stay(clean, sky, contaminants):
    light = sum(contaminants.values())
    bright = (sky > 100 + 15 * NOISE) & (light < 0.1 * NOISE)
    assert clean.mask[bright].mean() < 0.02


def test_the_uncertainty_of_filled_pixels_is_what_was_taken(clean, image):
    errors = clean.uncertainty.array
    assert (errors[~clean.mask] == NOISE).all()
    taken = np.abs(clean.data - image)[clean.mask]
    np.testing.assert_allclose(errors[clean.mask], np.maximum(taken, NOISE), rtol=1e-6)


def test_tiles_find_what_the_whole_image_holds(image, clean):
    runtime = asr.Runtime(device="cpu", tile_size=48)
    tiled = asr.remove_artifacts(CCDData(image, unit="adu"), method="unet", runtime=runtime)
    np.testing.assert_array_equal(tiled.mask, clean.mask)
    np.testing.assert_array_equal(tiled.data, clean.data)


def test_each_plane_has_its_own_and_nan_and_masked_pixels_stay(image, sky):
    planes = np.stack([sky, image])
    planes[:, 40:43, 100:103] = np.nan
    mask = np.zeros(planes.shape, bool)
    mask[1, RAYS[0][0], RAYS[0][1]] = True
    result = asr.remove_artifacts(CCDData(planes, unit="adu", mask=mask), method="unet")
    filled = result.mask & ~mask
    assert filled[0].mean() < 0.002
    assert filled[1, 60:, COLUMN].mean() > 0.8
    assert np.array_equal(np.isnan(result.data), np.isnan(planes))
    assert not filled[np.isnan(planes)].any()
    assert result.data[mask] == planes[mask]


def test_one_kind_alone_is_looked_for(image, clean):
    result = asr.remove_artifacts(CCDData(image, unit="adu"), method="unet", kinds="column")
    assert 0 < result.mask.sum() < clean.mask.sum()
    assert "ASRTRAIL" not in result.meta
    assert not np.delete(result.mask, range(COLUMN - 1, COLUMN + 2), axis=1).any()


def test_the_command_counts_kinds(image, tmp_path, capsys):
    source, target = tmp_path / "in.fits", tmp_path / "out.fits"
    asr.write_image(CCDData(image.astype(np.float32), unit="adu"), source)
    words = ["remove-artifacts", str(source), "-o", str(target), "--method", "unet", "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "remove-artifacts-unet"
    assert record["artifacts"] >= record["cosmic_rays"] + record["trails"]
    assert asr.read_image(target).mask.any()


def test_wrong_parameters_are_named(image):
    for words, named in (
        ({"method": "unet", "kinds": "comet"}, "kinds"),
        ({"method": "unet", "kinds": ()}, "kinds"),
        ({"method": "unet", "colour": (1, 0, 0)}, "colour"),
        ({"method": "template", "kinds": "trail"}, "kinds"),
        ({"method": "template", "model": "remove-artifacts-unet"}, "model"),
    ):
        with pytest.raises(InputError, match=named):
            asr.remove_artifacts(image, **words)
    with pytest.raises(ModelError, match="is for denoise"):
        asr.remove_artifacts(image, method="unet", model="denoise-fast")


def narrow_stars(sigma):
    """Stars as narrow as cosmic rays, without and with rays of one or two pixels beside them."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(100.0, NOISE, (SIDE, SIDE))
    for row, column in rng.uniform(8, SIDE - 8, (40, 2)):
        fine = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
        image += 10 ** rng.uniform(2.0, 3.5) * fine
    rays = np.zeros(image.shape, bool)
    for row, column in rng.integers(5, SIDE - 5, (25, 2)):
        rays[row, column : column + rng.integers(1, 3)] = True
    return image, image + 400.0 * rays, rays


def test_what_has_the_psf_is_a_star_also_where_stars_are_narrow():
    stars, image, rays = narrow_stars(0.65)
    mask = asr.remove_artifacts(CCDData(image, unit="adu"), method="unet").mask
    bright = (stars > 100 + 10 * NOISE) & ~ndimage.binary_dilation(rays, np.ones((3, 3)))
    assert bright.sum() > 200
    assert mask[bright].mean() < 0.01
    assert mask[rays].mean() > 0.7


def test_stars_narrower_than_cosmic_rays_are_warned_of():
    with pytest.warns(AstroSRWarning, match="narrower than"):
        asr.remove_artifacts(narrow_stars(0.5)[0], method="unet", kinds="column")


def test_arms_of_galaxies_are_no_trails():
    steps = np.zeros((300, 300), np.uint8)
    angle = np.linspace(0, 1.5 * np.pi, 4000)
    rows, columns = (150 + 100 * wave(angle) for wave in (np.sin, np.cos))
    steps[rows.astype(int), columns.astype(int)] = 2
    rule, nowhere = _RULES["trail"], np.zeros(steps.shape, bool)
    assert not _groups(steps, rule, nowhere)[0].any()
    line = np.eye(300, dtype=np.uint8) * 2
    found, count = _groups(line, rule, nowhere)
    assert count == 1
    assert found.sum() == 300


def test_a_few_pixels_in_a_line_are_no_column():
    steps = np.zeros((60, 60), np.uint8)
    steps[20:24, 30] = 2
    steps[40:52, 10] = 2
    found, count = _groups(steps, _RULES["column"], np.zeros(steps.shape, bool))
    assert count == 1
    assert found.sum() == 12


def test_long_holes_are_filled_without_seams():
    y, x = np.mgrid[:200, :200].astype(float)
    smooth = 3 + 0.02 * x - 0.01 * y
    hole = np.abs(y - x) < 4
    sink = np.where(hole, 1e5, smooth)
    fill_pixels(sink.copy(), hole, np.zeros(hole.shape, bool), sink)
    np.testing.assert_allclose(sink, smooth, atol=0.03)
