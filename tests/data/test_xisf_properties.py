"""What PixInsight writes as properties: the astrometric solution and the colour filter array."""

import base64
import struct
import warnings
import zlib
from xml.sax.saxutils import escape

import numpy as np
import pytest
from astropy.wcs import WCS

from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.stretch_signs import find_stretch_signs
from astro_sr_plugin.exceptions import AstroSRWarning

HEIGHT, WIDTH = 40, 50


def sky():
    """FITS coordinates of an image, rotated and not square, with the reference outside of it."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [83.6, -5.4]
    wcs.wcs.crpix = [61.25, -7.5]
    wcs.wcs.cd = [[-3e-4, 1e-4], [1.1e-4, 2.9e-4]]
    wcs.wcs.set()
    return wcs


def solution(*, pack=False, prefix="PCL:", **changes):
    """Properties of the image in the coordinates of PixInsight: from the upper left, y down."""
    wcs = sky()
    x, y = wcs.wcs.crpix[0] - 0.5, HEIGHT + 0.5 - wcs.wcs.crpix[1]
    matrix = wcs.wcs.cd * [1, -1]
    parts = {
        "ReferenceCelestialCoordinates": wcs.wcs.crval,
        "ReferenceImageCoordinates": np.array([x, y]),
        "LinearTransformationMatrix": matrix,
        "ReferenceNativeCoordinates": np.array([0.0, 90.0]),
        "CelestialPoleNativeCoordinates": np.array([180.0, 90.0]),
    } | changes
    name = f"{prefix}AstrometricSolution:"
    lines = [f'<Property id="{name}ProjectionSystem" type="String">Gnomonic</Property>']
    for key, value in parts.items():
        if value is None:
            continue
        raw = np.asarray(value, "<f8").tobytes()
        size = f'compression="zlib:{len(raw)}"' if pack else ""
        raw = zlib.compress(raw) if pack else raw
        kind = "F64Matrix" if np.ndim(value) == 2 else "F64Vector"
        lines.append(
            f'<Property id="{name}{key}" type="{kind}" {size} location="inline:base64">'
            f"{base64.b64encode(raw).decode()}</Property>"
        )
    return "\n".join(lines)


def xisf_file(path, inside, pixels=None):
    pixels = (
        np.arange(HEIGHT * WIDTH, dtype="<f4").reshape(HEIGHT, WIDTH) if pixels is None else pixels
    )
    head = (
        '<?xml version="1.0"?><xisf version="1.0" xmlns="http://www.pixinsight.com/xisf">'
        f'<Image geometry="{WIDTH}:{HEIGHT}:1" sampleFormat="Float32" colorSpace="Gray" '
        f'location="attachment:8192:{pixels.nbytes}">{inside}</Image></xisf>'
    ).encode()
    start = b"XISF0100" + struct.pack("<II", len(head), 0) + head
    path.write_bytes(start.ljust(8192, b"\0") + pixels.tobytes())
    return path


@pytest.mark.parametrize("kind", [{}, {"pack": True}, {"prefix": ""}])
def test_the_linear_solution_is_that_of_the_sky(tmp_path, kind):
    image = read_image(xisf_file(tmp_path / "a.xisf", solution(**kind)))
    points = [[0, 0], [49, 0], [20, 39]]
    there = sky().all_pix2world(points, 0)
    np.testing.assert_allclose(image.wcs.all_pix2world(points, 0), there, atol=1e-10)
    assert image.meta["RADESYS"] == "ICRS"
    for name in ("b.fits", "b.xisf", "b.tif"):
        again = read_image(write_image(image, tmp_path / name))
        np.testing.assert_allclose(again.wcs.all_pix2world(points, 0), there, atol=1e-10)


def test_values_may_be_attached(tmp_path):
    pixels = np.zeros((HEIGHT, WIDTH), "<f4")
    raw = np.asarray(sky().wcs.crval, "<f8").tobytes()
    pixels.reshape(-1)[:4] = np.frombuffer(raw, "<f4")  # somewhere in the file
    text = solution(ReferenceCelestialCoordinates=None) + (
        '<Property id="PCL:AstrometricSolution:ReferenceCelestialCoordinates" type="F64Vector" '
        'length="2" location="attachment:8192:16"/>'
    )
    image = read_image(xisf_file(tmp_path / "a.xisf", text, pixels))
    np.testing.assert_allclose(image.wcs.wcs.crval, sky().wcs.crval)


def test_keywords_of_the_file_go_first_and_splines_are_said_to_be_left_out(tmp_path):
    keywords = "".join(
        f'<FITSKeyword name="{key}" value="{value}" comment=""/>'
        for key, value in sky().to_header().items()
        if "'" not in str(value)
    ).replace('value="RA---TAN"', "value=\"'RA---TAN'\"")
    keywords = keywords.replace('value="DEC--TAN"', "value=\"'DEC--TAN'\"")
    wrong = solution(ReferenceCelestialCoordinates=np.array([1.0, 2.0]))
    image = read_image(xisf_file(tmp_path / "a.xisf", keywords + wrong))
    np.testing.assert_allclose(image.wcs.wcs.crval, sky().wcs.crval)
    spline = (
        '<Property id="PCL:AstrometricSolution:SplineWorldTransformation:RBFType" type="String">'
        "ThinPlateSpline</Property>"
    )
    with pytest.warns(AstroSRWarning, match=r"distortions \(splines\) are left out"):
        image = read_image(xisf_file(tmp_path / "b.xisf", solution() + spline))
    np.testing.assert_allclose(image.wcs.wcs.crval, sky().wcs.crval)


@pytest.mark.parametrize(
    "damage",
    [
        {"LinearTransformationMatrix": None},
        {"LinearTransformationMatrix": np.zeros(3)},
        {"ReferenceCelestialCoordinates": np.array([np.nan, 1.0])},
    ],
)
def test_damaged_solutions_are_left_out_with_a_warning(tmp_path, damage):
    with pytest.warns(AstroSRWarning, match="astrometric solution cannot be read"):
        image = read_image(xisf_file(tmp_path / "a.xisf", solution(**damage)))
    assert image.wcs is None


def test_filters_count_from_the_uppermost_row_and_other_elements_are_ignored(tmp_path):
    inside = (
        '<ColorFilterArray pattern="RGGB" width="2" height="2" name="Bayer"/>'
        '<FITSKeyword name="XBAYROFF" value="1" comment=""/>'
        '<Resolution horizontal="72" vertical="72" unit="inch"/>'
        '<DisplayFunction m="0.001:0.001:0.001:0.5" s="0:0:0:0" h="1:1:1:1"/>'
    )
    stored = np.zeros((HEIGHT, WIDTH), "<f4")
    stored[0::2, 0::2] = 1  # red, counted as in the file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(xisf_file(tmp_path / "a.xisf", inside, stored))
    filters = np.tile(find_cfa(image.meta, image.shape).filters, (20, 25))
    np.testing.assert_array_equal(filters == "R", image.data == 1)


def history(*processes, where="text"):
    """Give the processing history as PixInsight writes it: a document inside of the header."""
    instances = "".join(f'<instance class="{name}" version="256" id="x"/>' for name in processes)
    document = f'<?xml version="1.0"?><xpsm version="1.0">{instances}</xpsm>'
    name = '<Property id="PixInsight:ProcessingHistory" type="String"'
    if where == "text":
        return f"{name}>{escape(document)}</Property>"
    raw = zlib.compress(document.encode())
    size = f'compression="zlib:{len(document)}"'
    return f'{name} {size} location="inline:base64">{base64.b64encode(raw).decode()}</Property>'


@pytest.mark.parametrize("where", ["text", "packed"])
@pytest.mark.parametrize(
    ("processes", "stretched"),
    [
        (["ImageIntegration", "HistogramTransformation"], True),
        (["GeneralizedHyperbolicStretch"], True),
        (["CurvesTransformation", "PixelMath"], True),
        (["ImageIntegration", "GradientCorrection", "ImageIntegration"], False),
        # It changes what is shown, and no pixel.
        (["ScreenTransferFunction"], False),
    ],
)
def test_the_processing_history_tells_a_stretch(tmp_path, processes, stretched, where):
    image = read_image(xisf_file(tmp_path / "a.xisf", history(*processes, where=where)))
    found = [f"PixInsight process {name}" for name in dict.fromkeys(processes)]
    assert list(image.meta["HISTORY"]) == found
    assert bool(find_stretch_signs(image.meta, image.data)) == stretched


def test_a_damaged_processing_history_is_passed_over(tmp_path):
    text = (
        '<Property id="PixInsight:ProcessingHistory" type="String" compression="zlib:9" '
        'location="inline:base64">AAAA</Property>'
    )
    image = read_image(xisf_file(tmp_path / "a.xisf", text))
    assert "HISTORY" not in image.meta
