"""TIFF files whose samples are stored in other ways than plain, upright, zero as black."""

import io
import struct
import warnings

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image, ImageCms, ImageOps

from astro_sr_plugin import debayer, star_mask
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.formats.tiff_tags import has_linear_profile
from astro_sr_plugin.data.stretch_signs import find_stretch_signs
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError

RNG = np.random.default_rng(8)


def grey(shape=(40, 50), dtype="u2"):
    top = 250 if dtype == "u1" else 60000
    return RNG.integers(0, top, shape).astype(dtype)


def icc(curve):
    """Give a profile with a tone curve and nothing else."""
    return bytes(128) + struct.pack(">I4sII", 1, b"rTRC", 144, len(curve)) + curve


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = icc(struct.pack(">4s4xI", b"curv", 0))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_where_zero_is_white_the_sky_is_dark(tmp_path, dtype):
    light = grey(dtype=dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.iinfo(dtype).max - light, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path).data, light)


def test_where_zero_is_white_floats_are_refused_and_twelve_bits_counted(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 9), "f4"), photometric="miniswhite")
    with pytest.raises(ImageReadError, match="its zero is white"):
        read_image(path)
    light = RNG.integers(0, 4096, (8, 16)).astype("u2")
    tifffile.imwrite(path, 4095 - light, photometric="miniswhite", bitspersample=12)
    np.testing.assert_array_equal(read_image(path).data, light)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("colour", [False, True])
def test_images_are_turned_as_viewers_turn_them(tmp_path, orientation, colour):
    stored = grey((20, 30, 3), "u1")
    path = tmp_path / "a.tif"
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, stored, photometric="rgb", extratags=tags)
    with Image.open(path) as picture:
        shown = np.moveaxis(np.asarray(ImageOps.exif_transpose(picture)), -1, 0)
    if not colour:
        tifffile.imwrite(path, stored[..., 0], photometric="minisblack", extratags=tags)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(path)
    assert [str(w.message).count("orientation tag") for w in caught] == [1] * (orientation > 1)
    np.testing.assert_array_equal(image.data, shown if colour else shown[0])


def test_coordinates_of_turned_images_are_left_out(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [1, 2], [1e-3, 1e-3]
    text = "\n".join(["SIMPLE  =                    T", *map(str, wcs.to_header().cards), "END"])
    path = tmp_path / "a.tif"
    for orientation, there in ((1, True), (4, False)):
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, grey(), description=text, metadata=None, extratags=tags)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstroSRWarning)
            image = read_image(path)
        assert (image.wcs is not None) == there
        assert ("CTYPE1" in image.meta) == there


@pytest.mark.parametrize("where", ["page", "subifd"])
def test_the_page_of_full_size_is_read(tmp_path, where):
    light, preview = grey((60, 80)), grey((15, 20, 3), "u1")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        below = {"subifds": 1} if where == "subifd" else {}
        file.write(preview, photometric="rgb", subfiletype=1, metadata=None, **below)
        file.write(light, photometric="minisblack", metadata=None)
    with pytest.warns(AstroSRWarning, match=r"first image \(20 x 15 pixels\) is a preview"):
        image = read_image(path)
    np.testing.assert_array_equal(image.data, light)
    np.testing.assert_array_equal(read_image(path, hdu=0).data, np.moveaxis(preview, -1, 0))


def test_a_preview_behind_the_image_does_not_matter(tmp_path):
    light = grey((60, 80))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(light, photometric="minisblack", metadata=None)
        file.write(grey((15, 20)), photometric="minisblack", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(path).data, light)


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_unspecified_samples_are_left_out_and_mask_nothing(tmp_path, samples, planar):
    stored = grey((20, 30, samples))
    stored[..., -1] = 0
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(np.moveaxis(stored, -1, 0)) if planar == "separate" else stored,
        photometric="rgb" if samples == 4 else "minisblack",
        planarconfig=planar,
        extrasamples=["unspecified"],
    )
    with pytest.warns(AstroSRWarning, match="unspecified kind"):
        image = read_image(path)
    assert image.mask is None
    colours = np.moveaxis(stored[..., :-1], -1, 0)
    np.testing.assert_array_equal(image.data, colours if samples == 4 else colours[0])


def test_alpha_masks_and_associated_alpha_is_undone(tmp_path):
    light = RNG.integers(10, 200, (20, 30, 3)) / 255
    alpha = np.ones((20, 30, 1))
    alpha[:4], alpha[4:8] = 0, 0.5
    path = tmp_path / "a.tif"
    for kind, stored in (("unassalpha", light), ("assocalpha", light * alpha)):
        both = np.concatenate([stored, alpha], -1).astype("f4")
        tifffile.imwrite(path, both, photometric="rgb", extrasamples=[kind])
        image = read_image(path)
        np.testing.assert_array_equal(image.mask, np.broadcast_to(alpha[..., 0] == 0, (3, 20, 30)))
        visible = ~image.mask
        np.testing.assert_allclose(image.data[visible], np.moveaxis(light, -1, 0)[visible], 1e-6)


@pytest.mark.parametrize("layout", [{}, {"planarconfig": "separate"}, {"tile": (16, 16)}])
@pytest.mark.parametrize(
    "packing", [{}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"}]
)
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_layouts_and_compressions_hold_the_same_values(tmp_path, layout, packing, dtype):
    colours = RNG.normal(1000, 300, (3, 40, 50)).astype(dtype)
    separate = "planarconfig" in layout
    stored = colours if separate else np.ascontiguousarray(np.moveaxis(colours, 0, -1))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="rgb", **layout, **packing)
    np.testing.assert_array_equal(read_image(path).data, colours)


def test_many_bands_stay_a_cube(tmp_path):
    stored = grey((20, 30, 5))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_image(path).data, np.moveaxis(stored, -1, 0))


@pytest.mark.parametrize(("kind", "samples"), [("separated", 4), ("cielab", 3), ("ycbcr", 3)])
def test_colours_that_are_no_light_are_refused(tmp_path, kind, samples):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey((16, 16, samples), "u1"), photometric=kind)
    with pytest.raises(ImageReadError, match=f"its pixels are {kind.upper()}"):
        read_image(path)


@pytest.mark.parametrize("area", [(0, 0), (1, 0), (3, 1)])
def test_raw_images_of_cameras_are_mosaics(tmp_path, area):
    top, left = area
    filters = np.tile([[0, 1], [1, 2]], (20, 25))
    stored = np.roll(np.array([900, 300, 100])[filters], area, (0, 1)).astype("u2")
    tags = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50829, "I", 4, (top, left, 40, 50), True),
    ]
    path = tmp_path / "a.dng"
    tifffile.imwrite(path, stored, photometric="cfa", extratags=tags)
    result = debayer(path, "superpixel")
    for plane, level in zip(result.data, (900, 300, 100), strict=True):
        assert np.all(plane == level)


def test_raw_files_of_other_kinds_are_named(tmp_path):
    path = tmp_path / "a.cr2"
    tifffile.imwrite(path, grey(), photometric="minisblack")
    content = bytearray(path.read_bytes())
    content[8:10] = b"CR"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="raw file of a Canon camera"):
        read_image(path)


def test_the_table_of_a_camera_is_undone(tmp_path):
    table = (np.arange(256) ** 2).astype("u2")
    stored = grey((20, 30), "u1")
    path = tmp_path / "a.dng"
    tags = [(50712, "H", 256, tuple(int(v) for v in table), True)]
    tifffile.imwrite(path, stored, photometric="minisblack", extratags=tags)
    np.testing.assert_array_equal(read_image(path).data, stored.astype("f8") ** 2)


def test_tone_curves_of_profiles():
    straight = np.linspace(0, 65535, 64).astype(">u2").tobytes()
    curved = (np.linspace(0, 1, 64) ** 2.2 * 65535).astype(">u2").tobytes()
    for curve, linear in (
        (struct.pack(">4s4xI", b"curv", 0), True),
        (struct.pack(">4s4xIH", b"curv", 1, 256), True),
        (struct.pack(">4s4xIH", b"curv", 1, 563), False),
        (struct.pack(">4s4xI", b"curv", 64) + straight, True),
        (struct.pack(">4s4xI", b"curv", 64) + curved, False),
        (struct.pack(">4s4xH2xi", b"para", 0, 65536), True),
        (struct.pack(">4s4xH2xi", b"para", 0, 144179), False),
        (b"none", False),
    ):
        assert has_linear_profile(icc(curve)) == linear
    assert not has_linear_profile(SRGB)
    assert not has_linear_profile(b"short")


@pytest.mark.parametrize(
    ("dtype", "profile", "photometric", "display"),
    [
        ("u1", None, "rgb", True),
        ("u1", SRGB, "rgb", True),
        ("u1", LINEAR, "rgb", False),
        ("u1", None, "minisblack", False),
        ("u1", SRGB, "minisblack", True),
        ("u2", SRGB, "rgb", True),
        ("u2", LINEAR, "rgb", False),
        ("u2", None, "rgb", False),
        ("f4", SRGB, "rgb", False),
    ],
)
def test_values_for_display_are_pointed_out(tmp_path, dtype, profile, photometric, display):
    shape = (48, 48, 3) if photometric == "rgb" else (48, 48)
    level = 9000 if dtype == "u2" else 40
    stored = RNG.normal(level, 4, shape).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric=photometric, iccprofile=profile)
    image = read_image(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        star_mask(image)
    messages = [w for w in caught if "seems to be stretched for display" in str(w.message)]
    assert len(messages) == display
    again = write_image(image, tmp_path / "b.fits")
    assert "ASRDISPL" not in fits.getheader(again)


def test_a_dark_sky_in_16_bits_is_linear_whatever_the_profile(tmp_path):
    path = tmp_path / "a.tif"
    stored = RNG.normal(700, 20, (48, 48, 3)).astype("u2")
    stored[20, 30] = 60_000
    tifffile.imwrite(path, stored, photometric="rgb", iccprofile=SRGB)
    image = read_image(path)
    assert find_stretch_signs(image.meta, image.data) == ""


def test_colour_jpeg_inside_a_tiff_is_read_as_rgb_for_display(tmp_path):
    buffer = io.BytesIO()
    shown = np.full((32, 32, 3), (200, 100, 50), "u1")
    Image.fromarray(shown).save(buffer, "TIFF", compression="jpeg", quality=95)
    path = tmp_path / "a.tif"
    path.write_bytes(buffer.getvalue())
    image = read_image(path)
    np.testing.assert_allclose(image.data, np.moveaxis(shown, -1, 0), atol=3)
    with pytest.warns(AstroSRWarning, match="seems to be stretched for display"):
        star_mask(image)
