"""The sky position of every image point is the same before and after scaling."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable

from astro_sr_plugin.data.formats.header import quiet
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.wcs import scale_wcs, scale_wcs_header
from astro_sr_plugin.data.wcs_keywords import store_wcs
from astro_sr_plugin.exceptions import AstroSRWarning, InputError

SHAPE = (400, 500)
BASE = {"CRVAL1": 202.47, "CRVAL2": 47.2, "CRPIX1": 240.3, "CRPIX2": 211.9}
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
CD = {"CD1_1": -3.1e-4, "CD1_2": 2.2e-5, "CD2_1": 2.1e-5, "CD2_2": 3.0e-4}
FORMS = {
    "cd": TAN | CD,
    "pc": TAN
    | {"PC1_1": 0.9, "PC1_2": -0.1, "PC2_1": 0.1, "PC2_2": 0.95, "CDELT1": -3e-4}
    | {"CDELT2": 3e-4},
    "cdelt": TAN | {"CDELT1": -3e-4, "CDELT2": 3e-4},
    "pc without cdelt": TAN | {"PC1_1": -3e-4, "PC1_2": 1e-5, "PC2_1": 1e-5, "PC2_2": 3e-4},
    "crota": TAN | {"CDELT1": -3e-4, "CDELT2": 3e-4, "CROTA2": 31.0},
    "sip": {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    | CD
    | {"A_ORDER": 3, "A_2_0": 2e-5, "A_1_1": -1e-5, "A_0_2": 3e-6, "A_3_0": 4e-8}
    | {"B_ORDER": 2, "B_2_0": -1e-5, "B_1_1": 2e-5, "B_0_2": 5e-6, "A_DMAX": 1.5}
    | {"AP_ORDER": 2, "AP_2_0": -2e-5, "AP_1_1": 1e-5, "AP_1_0": 1e-6}
    | {"BP_ORDER": 2, "BP_2_0": 1e-5, "BP_1_1": -2e-5},
    "tpv": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
    | CD
    | {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_4": 2e-2, "PV2_1": 0.999, "PV2_5": 1e-2},
    "tpv with pc": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
    | {"PC1_1": 0.9, "PC1_2": -0.1, "PC2_1": 0.1, "PC2_2": 0.95, "CDELT1": -3e-4, "CDELT2": 3e-4}
    | {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_4": 2e-2, "PV2_1": 0.999, "PV2_5": 1e-2},
    "tpv with cdelt": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CDELT1": -3e-4, "CDELT2": 3e-4}
    | {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_4": 2e-2, "PV2_1": 0.999, "PV2_5": 1e-2},
    "tpv with crota": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CDELT1": -3e-4, "CDELT2": 3e-4}
    | {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_4": 2e-2, "PV2_1": 0.999, "CROTA2": 31.0},
    "galactic zea": {"CTYPE1": "GLON-ZEA", "CTYPE2": "GLAT-ZEA"} | CD,
    "latitude first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 47.2, "CRVAL2": 202.0}
    | CD,
}


def header_of(cards):
    header = fits.Header()
    header.update(BASE | cards)
    return header


def largest_error(before, after, scale):
    """Difference on the sky at matching points, in output pixels."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.5, [SHAPE[1] - 0.5, SHAPE[0] - 0.5], (200, 2))
    moved = (points + 0.5) * scale - 0.5
    here = before.all_pix2world(points, 0)
    there = after.all_pix2world(moved, 0)
    pixel = np.abs(after.all_pix2world(moved + 1, 0) - there).max()
    return np.abs(here - there).max() / pixel


@pytest.mark.parametrize("scale", [2, 3.0, 1.5, 0.5])
@pytest.mark.parametrize("form", FORMS)
def test_positions_stay(form, scale):
    header = header_of(FORMS[form])
    with quiet():
        before = WCS(header)
        assert largest_error(before, WCS(scale_wcs_header(header, scale)), scale) < 1e-6
        assert largest_error(before, scale_wcs(before, scale), scale) < 1e-6


def test_inputs_are_left_alone():
    header = header_of(FORMS["sip"])
    with quiet():
        wcs = WCS(header)
        copy, crpix = header.tostring(), wcs.wcs.crpix.copy()
        scale_wcs_header(header, 2)
        scale_wcs(wcs, 2)
    assert header.tostring() == copy
    np.testing.assert_array_equal(wcs.wcs.crpix, crpix)
    assert wcs.sip.a[2, 0] == 2e-5


def test_inverse_sip_polynomial_is_scaled():
    with quiet():
        before = WCS(header_of(FORMS["sip"]))
        after = scale_wcs(before, 2)
        # Undistorted positions are counted from CRPIX here, so that they double.
        offset = np.array([[100.0, 150.0], [-200.0, 3.0]])
        old = before.sip_foc2pix(offset, 1)
        new = after.sip_foc2pix(offset * 2, 1)
    np.testing.assert_allclose(new, (old - 0.5) * 2 + 0.5, rtol=1e-12)


def test_first_pixel_edge_stays_at_one_half():
    scaled = scale_wcs_header(header_of({**FORMS["cd"], "CRPIX1": 0.5, "CRPIX2": 1.0}), 2)
    assert scaled["CRPIX1"] == 0.5
    assert scaled["CRPIX2"] == 1.5


def test_alternate_systems_and_missing_crpix():
    header = header_of(FORMS["cd"])
    header.update({"CTYPE1B": "GLON-TAN", "CTYPE2B": "GLAT-TAN", "CRVAL1B": 104.0})
    header.update({"CRVAL2B": 68.0, "CD1_1B": -3e-4, "CD2_2B": 3e-4, "CRPIX1B": 11.0})
    with quiet():
        before, after = WCS(header, key="B"), WCS(scale_wcs_header(header, 2), key="B")
        assert largest_error(before, after, 2) < 1e-6
        assert largest_error(before, scale_wcs(before, 2), 2) < 1e-6


def test_coordinates_that_are_no_sky():
    wcs = WCS(naxis=2)
    assert largest_error(wcs, scale_wcs(wcs, 2), 2) < 1e-6
    wcs.wcs.crpix, wcs.wcs.cdelt, wcs.wcs.crval = (3, 4), (0.5, 2.0), (100, -7)
    assert largest_error(wcs, scale_wcs(wcs, 2), 2) < 1e-6


def test_spectral_axis_of_a_cube_is_untouched():
    header = header_of(FORMS["pc"])
    header.update({"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": 5.0, "CDELT3": 1e6, "PC1_3": 0.2})
    scaled = scale_wcs_header(header, 2)
    with quiet():
        before, after = WCS(header), WCS(scaled)
        here = before.all_pix2world([[30, 40, 7]], 0)
        there = after.all_pix2world([[60.5, 80.5, 7]], 0)
    np.testing.assert_allclose(here, there, rtol=1e-12)
    assert scaled["CRPIX3"] == 5.0


def test_two_axes_of_the_header_of_a_cube():
    header = header_of(FORMS["cd"])
    header.update(NAXIS=3, NAXIS1=500, NAXIS2=400, NAXIS3=5)
    with quiet():
        wcs = WCS(header, naxis=2)
    assert scale_wcs(wcs, 2).pixel_shape == (1000, 800)


def test_plate_solution_of_dss_is_scaled():
    plate = {"PLTRAH": 13, "PLTRAM": 30, "PLTRAS": 1.0, "PLTDECSN": "+", "PLTDECD": 47}
    plate |= {"PLTDECM": 10, "PLTDECS": 2.0, "PLTSCALE": 67.2, "XPIXELSZ": 25.28, "YPIXELSZ": 25.28}
    plate |= {"CNPIX1": 6800, "CNPIX2": 7000, "PPO1": 0.0, "PPO2": 0.0, "PPO3": 177500.0}
    plate |= {"PPO4": 0.0, "PPO5": 0.0, "PPO6": 177500.0, "OBJECT": "M51", "PLATEID": "08YR"}
    plate |= {f"AMD{axis}{i}": 0.0 for axis in "XY" for i in range(1, 21)}
    plate |= {"AMDX1": 67.25, "AMDX2": 0.02, "AMDX3": -51.3, "AMDX4": 6e-6, "AMDX8": 2e-6}
    plate |= {"AMDY1": 67.27, "AMDY2": -0.02, "AMDY3": -186.0, "AMDY4": -2e-5, "AMDY8": 2e-6}
    header = fits.Header()
    header.update(plate)
    with quiet():
        before = WCS(header)
        assert before.wcs.ctype[0] == "RA---TAN"
        assert largest_error(before, WCS(scale_wcs_header(header, 2)), 2) < 1e-6
        assert largest_error(before, scale_wcs(before, 2), 2) < 1e-6


def test_distortion_tables_scale_with_the_object_and_leave_the_header_with_a_warning():
    with quiet():
        wcs = WCS(header_of(FORMS["cd"]))
        y, x = np.mgrid[0:9, 0:9].astype(np.float32)
        table = np.sin(x / 3) * np.cos(y / 4)
        wcs.cpdis1 = DistortionLookupTable(table, (1, 1), (1, 1), (64, 64))
        wcs.cpdis2 = DistortionLookupTable(0.5 * table, (1, 1), (1, 1), (64, 64))
        assert largest_error(wcs, scale_wcs(wcs, 2), 2) < 1e-6
        header = wcs.to_fits(relax=True)[0].header
    assert "DP1.EXTVER" in header
    with pytest.warns(AstroSRWarning, match="distortion tables"):
        scaled = scale_wcs_header(header, 2)
    assert not [key for key in scaled if key.startswith(("DP", "CPDIS"))]


def test_pixel_keywords_follow():
    header = fits.Header()
    header.update({"XPIXSZ": 3.76, "YPIXSZ": 3.76, "PIXSCALE": 1.2, "SECPIX1": 1.2, "XBINNING": 2})
    header.update({"SCALE": "1.2", "LTV1": -10.0, "LTM1_1": 1.0, "DATASEC": "[1:500,11:400]"})
    header.update({"CCDSEC": "[1:500,11:400]", "TRIMSEC": "[x]", "NAXIS1": 500, "NAXIS2": 400})
    scaled = scale_wcs_header(header, 2, shape=(800, 1000))
    assert scaled["XPIXSZ"] == scaled["YPIXSZ"] == 1.88
    assert scaled["PIXSCALE"] == scaled["SECPIX1"] == scaled["SCALE"] == 0.6
    assert scaled["XBINNING"] == 2
    assert scaled["DATASEC"] == "[1:1000,21:800]"
    assert scaled["CCDSEC"] == "[1:500,11:400]"
    assert scaled["TRIMSEC"] == "[x]"
    assert (scaled["NAXIS1"], scaled["NAXIS2"]) == (1000, 800)
    # Physical pixel 20 lay at image pixel 10; now at (10 - 0.5) * 2 + 0.5.
    assert scaled["LTM1_1"] * 20 + scaled["LTV1"] == pytest.approx(19.5)
    assert "DATASEC" not in scale_wcs_header(header, 1.03)


@pytest.mark.parametrize("scale", [0, -2, np.nan, np.inf])
def test_scale_out_of_range(scale):
    with pytest.raises(InputError, match="scale="):
        scale_wcs_header(fits.Header(), scale)
    with pytest.raises(InputError, match="scale="):
        scale_wcs(None, scale)


@pytest.mark.parametrize("form", FORMS)
def test_store_keeps_the_form_unless_the_wcs_differs(form):
    header = header_of(FORMS[form])
    with quiet():
        wcs = WCS(header)
        same = store_wcs(header, wcs, SHAPE)
        assert list(same.cards) == list(header.cards)
        cut = wcs.slice((slice(20, 300), slice(30, 400)))
        points = np.array([[3.0, 5.0], [200.0, 111.0]])
        stored = WCS(store_wcs(header, cut, (280, 370)))
        there = stored.all_pix2world(points, 0)
        np.testing.assert_allclose(wcs.all_pix2world(points + [30, 20], 0), there, atol=1e-9)


@pytest.mark.parametrize("bad", ["nan", "NaN", np.inf, "1E400", "x"])
@pytest.mark.parametrize(
    "keyword", ["XPIXSZ", "PIXSCALE", "LTV1", "LTM1_1", "CNPIX1", "A_DMAX", "CRPIX1"]
)
def test_numbers_that_are_not_finite_are_kept_as_they_are(keyword, bad):
    header = fits.Header()
    header[keyword] = str(bad)
    header["YPIXSZ"] = 4.0
    result = scale_wcs_header(header, 2)
    assert result[keyword] == str(bad)
    assert result["YPIXSZ"] == 2.0


@pytest.mark.parametrize("keyword", ["CRPIX1", "CRVAL2", "CD1_1", "CD2_1", "A_2_0"])
def test_coordinates_with_numbers_that_are_not_finite_are_left_out(keyword):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0})
    header.update({"CRPIX1": 3.0, "CD1_1": 1e-4, "CD2_2": 1e-4, "CTYPE1A": "RA---TAN"})
    header.update({"CRPIX1A": 5.0, "RADESYS": "ICRS", "OBJECT": "M 51"})
    header[keyword] = "NaN"
    with pytest.warns(AstroSRWarning, match=f"{keyword} is no finite number: the world coord"):
        result = scale_wcs_header(header, 2)
    assert "CTYPE1" not in result
    assert keyword not in result
    assert (result["CRPIX1A"], result["CTYPE1A"], result["OBJECT"]) == (9.5, "RA---TAN", "M 51")


def test_a_wcs_with_numbers_that_are_not_finite_is_left_out():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = np.nan, 1
    with pytest.warns(AstroSRWarning, match="holds numbers that are not finite"):
        assert scale_wcs(wcs, 2) is None


@pytest.mark.parametrize("scale", [2, 4])
def test_pixels_that_are_not_square_stay_so(scale):
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 80.0, "CRVAL2": -30.0}
    )
    header.update({"CRPIX1": 20.5, "CRPIX2": 15.5, "CDELT1": -2e-4, "CDELT2": 5e-4, "CROTA2": 25.0})
    header.update({"XPIXSZ": 8.6, "YPIXSZ": 8.3})
    before = WCS(header)
    result = scale_wcs_header(header, scale)
    assert (result["XPIXSZ"], result["YPIXSZ"]) == (8.6 / scale, 8.3 / scale)
    corners = np.array([[-0.5, -0.5], [39.5, -0.5], [39.5, 29.5], [12.0, 7.0]])
    there = (corners + 0.5) * scale - 0.5
    expected = before.all_pix2world(corners, 0)
    np.testing.assert_allclose(WCS(result).all_pix2world(there, 0), expected, atol=1e-10)
    scaled = scale_wcs(before, scale)
    np.testing.assert_allclose(scaled.all_pix2world(there, 0), expected, atol=1e-10)


def test_invalid_coordinates_of_a_file_are_pointed_out_once(tmp_path):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0})
    header["CRPIX1"] = "NaN"
    fits.writeto(tmp_path / "a.fits", np.zeros((8, 9), np.float32), header)
    with pytest.warns(AstroSRWarning, match="CRPIX1"):
        image = read_image(tmp_path / "a.fits")
    # A second warning would be an error.
    assert "CTYPE1" not in scale_wcs_header(image.meta, 2)
    write_image(image, tmp_path / "b.fits")
    assert "ASRNOWCS" not in fits.getheader(tmp_path / "b.fits")


def test_the_coordinates_of_scanned_plates_can_be_written(tmp_path):
    """The name that wcslib gives to them holds bytes that are no text."""
    plate = {"PLTRAH": 17, "PLTRAM": 15, "PLTRAS": 19.7, "PLTDECSN": "-", "PLTDECD": 35}
    plate |= {"PLTDECM": 3, "PLTDECS": 21.3, "PLTSCALE": 67.2, "PLATEID": "06Q3"}
    plate |= {"CNPIX1": 4336, "CNPIX2": 5907, "XPIXELSZ": 25.28445, "YPIXELSZ": 25.28445}
    for axis, first in (("X", 67.22), ("Y", 67.21)):
        plate |= {f"AMD{axis}{k}": first if k == 1 else 0.0 for k in range(1, 21)}
    plate |= {f"PPO{k}": {3: 177500.0, 6: 177500.0}.get(k, 0.0) for k in range(1, 7)}
    pixels = np.ones((40, 50), np.float32)
    fits.PrimaryHDU(pixels, header=fits.Header(plate)).writeto(tmp_path / "plate.fits")
    image = read_image(tmp_path / "plate.fits")
    assert not image.wcs.wcs.name
    doubled = scale_wcs(image.wcs, 2)
    here, there = image.wcs.pixel_to_world(40, 30), doubled.pixel_to_world(80.5, 60.5)
    assert here.separation(there).arcsec < 1e-3
    write_image(image, tmp_path / "copy.fits")
