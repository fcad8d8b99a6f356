"""Every kind of image goes through the door, and comes out as the kind it was."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS

from astro_sr_plugin.data.formats.registry import write_image
from astro_sr_plugin.data.nddata import iter_planes, repack, unpack
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError, InputError

RNG = np.random.default_rng(2)
DATA = RNG.normal(size=(6, 8)).astype("f4")


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [10, 20], [4, 3], [-1e-3, 1e-3]
    return wcs


@pytest.mark.parametrize("dtype", ["f4", ">f4", ">f8", "u1", ">i2", "u2", "f2"])
def test_arrays_come_through_uncopied(dtype):
    data = np.arange(48).reshape(6, 8).astype(dtype)
    data.flags.writeable = False
    parts = unpack(data)
    assert parts.data is data
    assert (parts.container, parts.mask, parts.unit, parts.wcs) == ("array", None, None, None)
    assert repack(parts, data * 2, mask=None) is not None
    assert type(repack(parts, np.ones((2, 2)))) is np.ndarray


def test_masks_are_merged():
    own, extra = DATA > 1, DATA < -1
    ccd = CCDData(DATA, unit="adu", mask=own.copy())
    np.testing.assert_array_equal(unpack(ccd, mask=extra).mask, own | extra)
    np.testing.assert_array_equal(ccd.mask, own)
    masked = np.ma.MaskedArray(DATA, own)
    parts = unpack(masked, mask=extra.astype(int))
    np.testing.assert_array_equal(parts.mask, own | extra)
    assert type(parts.data) is np.ndarray
    assert np.shares_memory(parts.data, DATA)
    cube = np.stack([DATA] * 3)
    parts = unpack(cube, mask=extra)
    assert parts.mask.shape == cube.shape
    np.testing.assert_array_equal(parts.mask[2], extra)


@pytest.mark.parametrize("kind", [CCDData, NDData])
def test_all_parts_travel(kind):
    meta = fits.Header([("OBJECT", "M 1")])
    deviation = StdDevUncertainty(np.abs(DATA))
    given = kind(DATA, unit="Jy", uncertainty=deviation, wcs=sky(), meta=meta)
    parts = unpack(given)
    assert np.shares_memory(parts.data, DATA)
    assert parts.container == kind.__name__.lower()
    assert parts.unit == u.Jy
    np.testing.assert_array_equal(parts.uncertainty.array, np.abs(DATA))
    parts.meta["OBJECT"] = "changed"
    assert given.meta["OBJECT"] == "M 1"
    np.testing.assert_allclose(parts.wcs.all_pix2world([[3, 2]], 0), [[10, 20]])
    back = repack(
        parts, DATA * 2, mask=DATA > 1, uncertainty=np.ones_like(DATA), wcs=parts.wcs, meta=meta
    )
    assert type(back) is CCDData
    assert back.unit == u.Jy
    assert type(back.uncertainty) is StdDevUncertainty
    np.testing.assert_array_equal(back.data, DATA * 2)


def test_dict_metadata_quantities_and_missing_units():
    parts = unpack(NDData(DATA, meta={"a": [1]}))
    assert parts.meta == {"a": [1]}
    assert repack(parts, DATA, meta=parts.meta).unit == u.dimensionless_unscaled
    parts = unpack(DATA * u.electron)
    assert (parts.unit, parts.container) == (u.electron, "nddata")


def test_files(tmp_path):
    path = write_image(CCDData(DATA, unit="electron", wcs=sky()), tmp_path / "a.fits")
    for name in (path, str(path)):
        parts = unpack(name, hdu=0)
        assert parts.container == "ccddata"
        assert isinstance(parts.data, np.memmap)
        np.testing.assert_array_equal(parts.data, DATA)
        assert parts.unit == u.electron
    with pytest.raises(InputError, match="hdu=0 is only for files"):
        unpack(DATA, hdu=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda data, header: fits.PrimaryHDU(data, header),
        lambda data, header: fits.ImageHDU(data, header),
        lambda data, header: fits.CompImageHDU(data, header),
        lambda data, header: fits.HDUList([fits.PrimaryHDU(data, header)]),
        lambda data, header: fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header)]),
    ],
)
def test_hdus_are_read_as_their_file_would_be(make):
    header = sky().to_header()
    header["BUNIT"], header["OBJECT"] = "electron", "M 1"
    given = make(DATA.copy(), header)
    parts = unpack(given)
    assert parts.container == "ccddata"
    np.testing.assert_array_equal(parts.data, DATA)
    assert (parts.unit, parts.meta["OBJECT"]) == (u.electron, "M 1")
    np.testing.assert_allclose(parts.wcs.all_pix2world([[3, 2]], 0), [[10, 20]])
    image = given[-1] if isinstance(given, fits.HDUList) else given
    np.testing.assert_array_equal(image.data, DATA)
    assert type(repack(parts, DATA)) is CCDData


def test_an_extension_of_an_hdulist_is_chosen_with_its_mask():
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])]),
            fits.ImageHDU(DATA * 2, name="OTHER"),
            fits.ImageHDU(DATA, name="SCI"),
            fits.ImageHDU((DATA > 1).astype("u1"), name="MASK"),
        ]
    )
    parts = unpack(hdus, hdu="SCI")
    np.testing.assert_array_equal(parts.data, DATA)
    np.testing.assert_array_equal(parts.mask, DATA > 1)
    np.testing.assert_array_equal(unpack(hdus, hdu=2).data, DATA * 2)
    assert len(hdus) == 5
    with pytest.raises(ImageReadError, match="cannot read the HDUs: .*'NONE'"):
        unpack(hdus, hdu="NONE")
    with pytest.raises(InputError, match="hdu=3 is only for files and HDULists"):
        unpack(hdus[3], hdu=3)
    with pytest.raises(ImageReadError, match="cannot read the HDUs"):
        unpack(fits.HDUList([fits.PrimaryHDU()]))


def test_integers_of_hdus_are_the_pixels_that_the_file_would_give():
    counts = np.arange(48, dtype="u2").reshape(6, 8) + 40000
    hdu = fits.PrimaryHDU(counts)
    np.testing.assert_array_equal(unpack(hdu).data, counts)
    np.testing.assert_array_equal(hdu.data, counts)


@pytest.mark.parametrize("library", ["dask.array", "xarray"])
def test_arrays_of_other_libraries_become_arrays(library):
    module = pytest.importorskip(library)
    given = module.DataArray(DATA) if library == "xarray" else module.from_array(DATA, chunks=4)
    parts = unpack(given)
    assert type(parts.data) is np.ndarray
    np.testing.assert_array_equal(parts.data, DATA)
    assert type(repack(parts, parts.data)) is np.ndarray


def test_coordinates_of_ndata_slices_and_others():
    part = NDData(DATA, wcs=SlicedLowLevelWCS(sky(), (slice(2, 6), slice(1, 5))))
    np.testing.assert_allclose(
        unpack(part).wcs.all_pix2world([[0, 0]], 0), sky().all_pix2world([[1, 2]], 0)
    )
    with pytest.warns(AstroSRWarning, match="coordinates of the image"):
        assert unpack(NDData(DATA[0:1], wcs=SlicedLowLevelWCS(sky(), (0,)))).wcs is None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.float64(3), "is a float64"),
        (np.array(3.0), "0 axes"),
        (np.ones(5), "1 axes"),
        (np.ones((2, 2, 2, 2)), "4 axes"),
        (np.ones((0, 5)), "zero pixels"),
        (np.ones((3, 0, 5)), "zero pixels"),
        (np.ones((4, 4), complex), "dtype complex128"),
        (np.ones((4, 4), bool), "dtype bool"),
        (np.full((4, 4), "a"), "dtype <U1"),
        (np.full((4, 4), None), "dtype object"),
        (np.full((4, 4), np.nan), "no finite pixel"),
        (np.full((4, 4), -np.inf), "no finite pixel"),
        (np.ma.masked_all((4, 4)), "no usable pixel"),
        (np.ones((40, 50, 3)), "colour comes first"),
        ([[1, 2]], "is a list"),
        (None, "is a NoneType"),
    ],
)
def test_what_is_no_image(image, reason):
    with pytest.raises(InputError, match=reason):
        unpack(image)


def test_parts_that_do_not_fit():
    with pytest.raises(InputError, match=r"mask has shape \(3, 3\); allowed"):
        unpack(DATA, mask=np.ones((3, 3), bool))
    with pytest.raises(InputError, match="mask has dtype <U1"):
        unpack(DATA, mask=np.full((6, 8), "a"))
    with pytest.raises(InputError, match="uncertainty has shape"):
        unpack(NDData(DATA, uncertainty=StdDevUncertainty(np.ones((2, 2)))))


def test_constant_images_are_images():
    assert unpack(np.zeros((4, 4))).data.shape == (4, 4)


def test_planes():
    out = np.zeros((3, 6, 8))
    for index, plane in iter_planes(np.stack([DATA, 2 * DATA, 3 * DATA])):
        out[index] = plane
    np.testing.assert_array_equal(out[2], 3 * DATA)
    single = np.zeros((6, 8))
    for index, plane in iter_planes(DATA):
        single[index] = plane
    np.testing.assert_array_equal(single, DATA)
