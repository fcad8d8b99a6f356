"""Integers asked for whose steps the values do not use, and names near the limit in bytes."""

from itertools import product

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from astropy.nddata import CCDData

from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import AstroSRWarning, InputError

RNG = np.random.default_rng(12)


def faint_stack():
    """Values of a normalised stack: sky 300 and noise 8 in 65535."""
    image = RNG.normal(300, 8, (40, 50))
    image[10:13, 20:23] += 30000
    return (image / 65535).astype("f4")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *product(("a.fits", "a.fits.fz"), ("uint8", "int16", "uint16", "int32", "uint32", "int64")),
        *product(("a.tif",), ("uint8", "int16", "uint16", "int32", "uint32")),
        *product(("a.xisf",), ("uint8", "uint16", "uint32")),
    ],
)
def test_values_from_0_to_1_come_back_to_half_a_step(tmp_path, name, dtype):
    data = faint_stack()
    with pytest.warns(AstroSRWarning, match="do not fill dtype") as caught:
        path = write_image(data, tmp_path / name, dtype=dtype)
    assert len(caught) == 1
    back = read_image(path)
    info = np.iinfo(dtype)
    steps = min(info.max - info.min if ".fits" in name else info.max, 2**32 - 1) - 1
    assert np.abs(back.data - data).max() <= 0.5 / steps + 1e-7
    assert "ASRFACT" not in back.meta
    if name == "a.fits":
        stored = fits.getdata(path)  # astropy undoes BSCALE and BZERO as any reader does
        np.testing.assert_allclose(stored, data, atol=0.5 / steps + 1e-7)


def test_other_programs_see_numbers_over_the_full_range_and_the_factor(tmp_path):
    data = faint_stack()
    with pytest.warns(AstroSRWarning, match="multiplied by 65535"):
        path = write_image(data, tmp_path / "a.tif", dtype="uint16")
    stored = tifffile.imread(path)
    np.testing.assert_array_equal(stored, np.rint(data.astype("f8") * 65535).astype("u2"))
    with tifffile.TiffFile(path) as file:
        text = file.pages[0].description
    assert "ASRFACT =              65535.0" in text


@pytest.mark.parametrize("name", ["a.tif", "a.xisf"])
def test_a_factor_left_by_a_program_that_wrote_floats_does_not_count(tmp_path, name):
    given = CCDData(faint_stack(), unit="adu", meta=fits.Header([("ASRFACT", 65535.0)]))
    np.testing.assert_array_equal(read_image(write_image(given, tmp_path / name)).data, given.data)


@pytest.mark.parametrize(
    ("low", "high", "noise"), [(-0.02, 1.3, 0.01), (0.0, 300.0, 0.005), (-5e-9, 2e-9, 1e-10)]
)
def test_fine_steps_of_any_range_are_stored_by_bscale(tmp_path, low, high, noise):
    data = RNG.normal(low / 2, noise, (60, 60))
    data[3, 4], data[5, 6], data[7, 8] = low, high, np.nan
    with pytest.warns(AstroSRWarning, match="BSCALE"):
        path = write_image(data, tmp_path / "a.fits", dtype="int16")
    back = read_image(path)
    assert np.nanmax(np.abs(back.data - data)) <= 0.51 * (np.nanmax(data) - np.nanmin(data)) / 65534
    np.testing.assert_array_equal(np.isnan(back.data), np.isnan(data))
    for other in ("b.tif", "b.xisf"):
        with pytest.raises(InputError, match="only a few values of the image"):
            write_image(data[:3], tmp_path / other, dtype="uint16")
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]


def test_masks_counts_and_smooth_images_are_stored_as_they_are(tmp_path):
    for number, data in enumerate(
        (
            (RNG.random((30, 30)) > 0.9).astype("f4"),
            np.full((20, 20), 7.0),
            RNG.poisson(0.02, (50, 50)).astype("f8"),
            RNG.normal(300, 4, (50, 50)),
        )
    ):
        path = write_image(data, tmp_path / f"{number}.fits", dtype="int16")
        np.testing.assert_array_equal(fits.getdata(path), np.rint(data))


@pytest.mark.parametrize("letter", ["x", "é", "星", "🜨"])
def test_names_may_have_255_bytes(tmp_path, letter):
    for suffix in (".fits", ".fits.gz", ".fits.fz", ".xisf", ".tif"):
        name = letter * ((255 - len(suffix)) // len(letter.encode())) + suffix
        path = write_image(np.ones((4, 5)), tmp_path / name)
        assert read_image(path).shape == (4, 5)
        path.unlink()
    assert list(tmp_path.iterdir()) == []
