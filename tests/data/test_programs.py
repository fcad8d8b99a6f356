"""Files of capture and stacking programs, with the keywords that these programs write.

Taken from files and fixtures that people have published: which keywords, which values, which
integers. The pixels are simulated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin import InputError
from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.data.nddata import unpack
from astro_sr_plugin.data.pixel_kind import check_linear

SIDE = 48
FILTERS = {"R": 60.0, "G": 160.0, "B": 100.0}
"""Sky behind each filter of a mosaic, above a bias of 500."""


class Written(NamedTuple):
    """Keywords of a file, the filters of its first four pixels, and how its pixels are stored."""

    cards: dict[str, Any]
    mosaic: str = ""
    planes: int = 1
    dtype: str = "uint16"


FILES = {
    "N.I.N.A. colour": Written(
        {
            "IMAGETYP": "LIGHT",
            "EGAIN": 1.00224268436432,
            "OFFSET": 30,
            "XPIXSZ": 4.63,
            "BAYERPAT": "RGGB",
            "XBAYROFF": 0,
            "YBAYROFF": 0,
            "ROWORDER": "TOP-DOWN",
            "SWCREATE": "N.I.N.A. 1.10.2.90",
        },
        mosaic="RGGB",
    ),
    "N.I.N.A. mono": Written(
        {
            "IMAGETYP": "LIGHT",
            "OFFSET": 50,
            "FILTER": "L",
            "ROWORDER": "TOP-DOWN",
            "SWCREATE": "N.I.N.A. 3.2.0.9001 (x64)",
        }
    ),
    "ASIAIR colour": Written(
        {
            "CREATOR": "ZWO ASIAIR Plus",
            "IMAGETYP": "Light",
            "GAIN": 100,
            "OFFSET": 50,
            "BAYERPAT": "RGGB",
        },
        mosaic="RGGB",
    ),
    "ASIImg": Written(
        {
            "SWCREATE": "ASIImg",
            "BAYERPAT": "GRBG",
            "COLORTYP": "RAW16",
            "PEDESTAL": 0,
            "CBLACK": 0,
            "CWHITE": 65535,
        },
        mosaic="GRBG",
    ),
    "SharpCap colour, upside down": Written(
        {
            "SWCREATE": "SharpCap v4.1.12100.0, 64 bit",
            "BAYERPAT": "RGGB",
            "COLORTYP": "RGGB",
            "ROWORDER": "BOTTOM-UP",
            "BLKLEVEL": 50,
        },
        mosaic="GBRG",
    ),
    "SharpCap mono": Written(
        {
            "SWCREATE": "SharpCap v4.1.12637.0, 64 bit",
            "ROWORDER": "TOP-DOWN",
            "BLKLEVEL": 30,
            "OFFSET": 30,
        }
    ),
    "SharpCap live stack": Written(
        {"SWCREATE": "SharpCap v4.1.12946.0, 64 bit", "COLORTYP": "RGB", "RDNOISE": 1.7}, planes=3
    ),
    "Seestar light": Written(
        {"CREATOR": "ZWO Seestar S50", "PROGRAM": "4.27", "BAYERPAT": "GRBG"}, mosaic="GRBG"
    ),
    # The stack has kept the keyword of its raw frames.
    "Seestar stack": Written(
        {"CREATOR": "ZWO Seestar S50", "BAYERPAT": "GRBG", "STACKCNT": 180}, planes=3
    ),
    "MaxIm DL": Written(
        {
            "SWCREATE": "MaxIm DL Version 5.24 140126 0KJR5",
            "SBSTDVER": "SBFITSEXT Version 1.0",
            "FLIPSTAT": "Flip/Mirror",
            "CSTRETCH": "Medium",
            "CBLACK": 506,
            "CWHITE": 572,
            "PEDESTAL": -100,
            "CALSTAT": "BDF",
            "HISTORY": "Bias Subtraction (Bias 1, 4864 x 3232, Bin1 x 1, Temp -35C,",
        }
    ),
    "MaxIm DL calibrated": Written(
        {"SWCREATE": "MaxIm DL Version 6.50", "ROWORDER": "TOP-DOWN", "CWHITE": 1523},
        dtype="float32",
    ),
    "DeepSkyStacker": Written(
        {"SOFTWARE": "DeepSkyStacker 4.1.1", "EXPTIME": 120.0, "BAYERPAT": "RGGB"},
        planes=3,
        dtype="float32",
    ),
    "Dwarf II": Written(
        {"ORIGIN": "DWARFLAB", "BAYERPAT": "GBRG    ", "BINNING": "2*2     "}, mosaic="GBRG"
    ),
}


def pixels_of(written: Written) -> np.ndarray:
    """Return the pixels: a bias of 500, sky, noise and one star of the upper half of 16 bits."""
    shape = (SIDE, SIDE) if written.planes == 1 else (written.planes, SIDE, SIDE)
    data = np.random.default_rng(1).normal(600.0, 8.0, shape)
    if written.mosaic:
        block = np.array([FILTERS[letter] for letter in written.mosaic]).reshape(2, 2)
        data += np.tile(block, (SIDE // 2, SIDE // 2)) - 100
    data[..., 20:23, 30:33] = 41000.0
    return np.round(data).astype(written.dtype)


@pytest.mark.parametrize("program", FILES)
def test_pixels_are_read_as_they_were_written(program, tmp_path):
    written = FILES[program]
    pixels = pixels_of(written)
    hdu = fits.PrimaryHDU(pixels, header=fits.Header(list(written.cards.items())))
    hdu.writeto(tmp_path / "image.fits")
    assert fits.getheader(tmp_path / "image.fits").get("BZERO", 0) in (0, 32768)
    image = asr.read_image(tmp_path / "image.fits")
    np.testing.assert_array_equal(image.data, pixels)
    parts = unpack(image)
    if not written.mosaic:
        check_linear(parts)
        return
    cfa = find_cfa(image.meta, pixels.shape)
    assert cfa is not None
    assert cfa.pattern == written.mosaic
    with pytest.raises(InputError, match=f"{written.mosaic} mosaic"):
        check_linear(parts)
    colours = np.asarray(asr.debayer(image, "superpixel").data)
    means = np.median(colours, axis=(1, 2))
    np.testing.assert_allclose(means - 500, list(FILTERS.values()), atol=4)
