"""XISF and TIFF images in and out."""

import re
import struct
import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from astropy import units as u
from astropy.io.fits import Header
from astropy.nddata import CCDData
from astropy.wcs import WCS

from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError, InputError

RNG = np.random.default_rng(4)


def with_everything(shape):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.123456789012, 20], [4, 3]
    wcs.wcs.cdelt = [-1e-3, 1e-3]
    meta = Header([("OBJECT", "it's M 1", "a name"), ("GAIN", 1.234567890123), ("OK", True)])
    meta.update({"N": 3, "LONG": "x" * 100, "HIERARCH ESO A B C": 5})
    meta.add_comment("<a & b>")
    meta.add_history("first")
    meta.add_history("second")
    data = RNG.normal(0.3, 0.2, shape).astype("f4")
    return CCDData(data, unit="electron", wcs=wcs, meta=meta)


@pytest.mark.parametrize("suffix", [".xisf", ".tif", ".tiff"])
@pytest.mark.parametrize("shape", [(6, 8), (3, 6, 8), (5, 6, 8)])
def test_everything_travels(tmp_path, suffix, shape):
    given = with_everything(shape)
    back = read_image(write_image(given, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(back.data, given.data)
    for key in ("OBJECT", "GAIN", "OK", "N", "LONG", "ESO A B C"):
        assert back.meta[key] == given.meta[key]
    assert back.meta.comments["OBJECT"] == "a name"
    assert list(back.meta["HISTORY"]) == ["first", "second"]
    assert list(back.meta["COMMENT"]) == ["<a & b>"]
    assert back.unit == u.electron
    points = [[1, 2], [5, 3]]
    np.testing.assert_allclose(
        back.wcs.all_pix2world(points, 0), given.wcs.all_pix2world(points, 0), atol=1e-11
    )


@pytest.mark.parametrize("suffix", [".xisf", ".tif", ".fits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32", "float64"])
def test_original_type_comes_back_over_formats(tmp_path, suffix, dtype):
    data = RNG.integers(0, 200, (3, 6, 8)).astype(dtype)
    ccd = read_image(write_image(data, tmp_path / f"a{suffix}"))
    assert ccd.meta["ASRDTYPE"] == dtype
    np.testing.assert_array_equal(ccd.data, data)
    for other in (".xisf", ".tif", ".fits"):
        path = write_image(ccd, tmp_path / f"b{other}", dtype="original", overwrite=True)
        again = read_image(path)
        assert again.meta["ASRDTYPE"] == dtype
        np.testing.assert_array_equal(again.data, data)


@pytest.mark.parametrize("suffix", [".xisf", ".tif"])
def test_masks_stay_behind_with_a_warning_and_nan_needs_floats(tmp_path, suffix):
    data = np.array([[1.0, np.nan], [3.0, 4.0]])
    with pytest.warns(AstroSRWarning, match="no mask"):
        write_image(CCDData(data, unit="adu", mask=data > 3), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").data, data)
    with pytest.raises(InputError, match="1 pixels are NaN"):
        write_image(data, tmp_path / f"b{suffix}", dtype="uint16")
    with pytest.raises(InputError, match="cannot be written to"):
        write_image(np.ones((3, 3), "i8"), tmp_path / f"b{suffix}")
    assert not (tmp_path / f"b{suffix}").exists()


def xisf_file(path, block, **attributes):
    """A file as other programs write it."""
    base = {"geometry": "4:3:2", "sampleFormat": "UInt16", "colorSpace": "Gray"}
    base |= {"location": f"attachment:4096:{len(block)}"} | attributes
    inner = " ".join(f'{key}="{value}"' for key, value in base.items())
    xml = (
        '<?xml version="1.0"?><xisf version="1.0" xmlns="http://www.pixinsight.com/xisf">'
        f'<Image {inner}><FITSKeyword name="GAIN" value="1.5" comment="c"/>'
        "<FITSKeyword name='FILTER' value=\"'Ha      '\" comment=''/>"
        '<Property id="x" type="String">y</Property></Image><Metadata/></xisf>'
    ).encode()
    head = b"XISF0100" + struct.pack("<II", len(xml), 0) + xml
    path.write_bytes(head.ljust(4096, b"\0") + block)
    return path


PIXELS = np.arange(24, dtype="<u2").reshape(2, 3, 4) * 1000
SHUFFLED = np.frombuffer(PIXELS.tobytes(), "u1").reshape(-1, 2).T.tobytes()


@pytest.mark.parametrize(
    ("block", "attributes"),
    [
        (PIXELS.tobytes(), {}),
        (PIXELS.astype(">u2").tobytes(), {"byteOrder": "big"}),
        (np.moveaxis(PIXELS, 0, -1).tobytes(), {"pixelStorage": "Normal"}),
        (imagecodecs.zlib_encode(PIXELS.tobytes()), {"compression": "zlib:48"}),
        (imagecodecs.zlib_encode(SHUFFLED), {"compression": "zlib+sh:48:2"}),
        (imagecodecs.lz4_encode(SHUFFLED), {"compression": "lz4+sh:48:2"}),
        (imagecodecs.zstd_encode(PIXELS.tobytes()), {"compression": "zstd:48"}),
    ],
)
def test_xisf_of_other_programs(tmp_path, block, attributes):
    ccd = read_image(xisf_file(tmp_path / "a.xisf", block, **attributes))
    np.testing.assert_array_equal(ccd.data, PIXELS[:, ::-1])
    assert (ccd.meta["GAIN"], ccd.meta["FILTER"]) == (1.5, "Ha")


def test_xisf_subblocks(tmp_path):
    parts = [imagecodecs.zlib_encode(SHUFFLED[:30]), imagecodecs.zlib_encode(SHUFFLED[30:])]
    sizes = f"{len(parts[0])},30:{len(parts[1])},18"
    path = xisf_file(
        tmp_path / "a.xisf", b"".join(parts), compression="zlib+sh:48:2", subblocks=sizes
    )
    np.testing.assert_array_equal(read_image(path).data, PIXELS[:, ::-1])


@pytest.mark.parametrize(
    ("block", "attributes", "reason"),
    [
        (PIXELS.tobytes(), {"location": "attachment:4096:100"}, "truncated"),
        (PIXELS.tobytes()[:40], {}, "40 bytes instead of 48"),
        (PIXELS.tobytes(), {"checksum": "sha-1:" + "0" * 40}, "checksum"),
        (PIXELS.tobytes(), {"sampleFormat": "Complex32"}, "Complex32"),
        (PIXELS.tobytes(), {"geometry": "4:0:1"}, "zero pixels"),
        (PIXELS.tobytes(), {"geometry": "4:1"}, "1 axes"),
        (PIXELS.tobytes(), {"geometry": "a:b:c"}, "damaged"),
        (PIXELS.tobytes(), {"location": "inline:base64"}, "inline"),
        (PIXELS.tobytes(), {"compression": "rar:48"}, "'rar' is not known"),
        (PIXELS.tobytes(), {"compression": "zlib:48"}, "damaged"),
    ],
)
def test_xisf_that_cannot_be_read(tmp_path, block, attributes, reason):
    path = xisf_file(tmp_path / "a.xisf", block, **attributes)
    with pytest.raises(ImageReadError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_xisf_layout(tmp_path):
    data = RNG.normal(0.5, 0.1, (3, 40, 50)).astype("f4")
    path = write_image(data, tmp_path / "a.xisf")
    raw = path.read_bytes()
    assert raw.startswith(b"XISF0100")
    xml = raw[16 : 16 + struct.unpack("<I", raw[8:12])[0]].decode()
    assert 'geometry="50:40:3"' in xml
    assert 'colorSpace="RGB"' in xml
    assert 'bounds="0:1"' in xml
    place, size = map(int, re.search(r"attachment:(\d+):(\d+)", xml).groups())
    assert raw[place : place + size] == data[:, ::-1].tobytes()
    assert isinstance(read_image(path).data, np.memmap)
    ccd = read_image(write_image(data * 1000, tmp_path / "b.xisf"))
    low, high = map(float, ccd.meta["ASRBOUND"].split(":"))
    assert low <= ccd.data.min()
    assert high >= ccd.data.max() * (1 - 1e-6)
    damaged = bytearray(write_image(data, tmp_path / "c.xisf", dtype="float64").read_bytes())
    damaged[-5] ^= 1
    (tmp_path / "c.xisf").write_bytes(damaged)
    with pytest.raises(ImageReadError, match="checksum"):
        read_image(tmp_path / "c.xisf", memmap=False)
    (tmp_path / "d.xisf").write_bytes(raw[:100])
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(tmp_path / "d.xisf")
    with pytest.raises(ImageReadError, match="no image 4; it has 0 image"):
        read_image(path, hdu=4)


def test_xisf_rows_and_world_coordinates(tmp_path):
    # The file begins with the uppermost row, and its keywords count rows from the lowest one.
    pixels = np.zeros((2, 3, 4), "<u2")
    pixels[0, 0, 1] = 1000  # in the uppermost row: the third row of FITS
    path = xisf_file(tmp_path / "a.xisf", pixels.tobytes())
    raw = path.read_bytes()
    cards = {"CTYPE1": "'RA---TAN'", "CTYPE2": "'DEC--TAN'", "CRPIX1": 2, "CRPIX2": 3}
    cards |= {"CRVAL1": 10, "CRVAL2": 20, "CDELT1": -0.1, "CDELT2": 0.1, "ROWORDER": "'TOP-DOWN'"}
    added = "".join(f'<FITSKeyword name="{k}" value="{v}" comment=""/>' for k, v in cards.items())
    xml = raw[16:4096].rstrip(b"\0").replace(b"<Property", added.encode() + b"<Property")
    head = raw[:8] + struct.pack("<II", len(xml), 0) + xml
    path.write_bytes(head.ljust(4096, b"\0") + raw[4096:])
    ccd = read_image(path)
    channel, y, x = np.argwhere(ccd.data)[0]
    np.testing.assert_allclose(ccd.wcs.all_pix2world([[x, y]], 0), [[10, 20]])
    again = read_image(write_image(ccd, tmp_path / "b.fits"))
    np.testing.assert_array_equal(again.data, ccd.data)
    assert again.meta["ROWORDER"] == "BOTTOM-UP"
    back = write_image(again, tmp_path / "c.xisf", dtype="uint16")
    assert back.read_bytes()[-pixels.nbytes :] == pixels.tobytes()
    assert b"ROWORDER" not in back.read_bytes()


def test_tiff_of_other_programs(tmp_path):
    path = tmp_path / "a.tif"
    colour = RNG.integers(0, 65535, (6, 8, 3)).astype("u2")
    tifffile.imwrite(path, colour, photometric="rgb", description="Größe of things".encode())
    ccd = read_image(path)
    np.testing.assert_array_equal(ccd.data, np.moveaxis(colour, -1, 0))
    assert "Gro?e of things" in ccd.meta["COMMENT"][0]
    planar = np.moveaxis(colour, -1, 0).copy()
    tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate", compression="zlib")
    np.testing.assert_array_equal(read_image(path).data, planar)
    tifffile.imwrite(path, colour[..., 0], byteorder=">", compression="lzw", predictor=True)
    np.testing.assert_array_equal(read_image(path).data, colour[..., 0])
    half = colour[..., 0].astype("f2") / 100
    tifffile.imwrite(path, half)
    assert read_image(path).data.dtype == np.float32


def test_tiff_alpha_becomes_the_mask(tmp_path):
    path = tmp_path / "a.tif"
    colour = RNG.integers(1, 255, (6, 8, 4)).astype("u1")
    tifffile.imwrite(path, colour, photometric="rgb", extrasamples=["unassalpha"])
    ccd = read_image(path)
    assert ccd.shape == (3, 6, 8)
    assert ccd.mask is None
    colour[2, 3, 3] = 0
    tifffile.imwrite(path, colour, photometric="rgb", extrasamples=["unassalpha"])
    mask = read_image(path).mask
    assert mask.shape == (3, 6, 8)
    assert mask.sum() == 3
    assert mask[:, 2, 3].all()


def test_tiff_pages(tmp_path):
    path = tmp_path / "a.tif"
    pages = RNG.normal(size=(5, 6, 8)).astype("f4")
    tifffile.imwrite(path, pages, photometric="minisblack")
    np.testing.assert_array_equal(read_image(path).data, pages)
    np.testing.assert_array_equal(read_image(path, hdu=3).data, pages[3])
    with pytest.raises(ImageReadError, match="no page 7"):
        read_image(path, hdu=7)


def test_tiff_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((50, 50), "c8"))
    with pytest.raises(ImageReadError, match="complex64"):
        read_image(path)
    tifffile.imwrite(path, RNG.normal(size=(50, 50)), compression="zlib")
    raw = path.read_bytes()
    for cut in (6, 100, len(raw) - 500):
        path.write_bytes(raw[:cut])
        with warnings.catch_warnings(), pytest.raises(ImageReadError, match="cannot read"):
            read_image(path)
