"""Images and files are registered, and those that cannot be are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.registration.star_table import SHARP
from tests.registration.conftest import draw_stars, largest_error, turned

MOVES = [
    turned(0.0),
    turned(0.4, 7.3, -4.6),
    turned(180.3, -3.0, 5.0),
    turned(-1.2, 12.0, 9.0),
]


@pytest.fixture
def night(expose):
    """Return five frames: one of another sky among four of one."""
    frames = [expose(move, seed=k + 1) for k, move in enumerate(MOVES)]
    return [*frames[:2], expose(sky=9, seed=9), *frames[2:]]


def test_a_transform_is_found_to_a_hundredth_of_a_pixel(expose):
    reference = expose(seed=1)
    for move in (MOVES[1], MOVES[2], turned(3.0, scale=0.5)):
        frame = expose(move, seed=2)
        found = asr.find_transform(frame.image, reference.image)
        assert largest_error(found, frame.truth) < 0.03
        again = asr.find_transform(asr.detect_stars(frame.image), asr.detect_stars(reference.image))
        assert again.matrix.tobytes() == found.matrix.tobytes()


def test_a_meridian_flip_is_half_a_turn(expose):
    frame = expose(turned(180.3, 5.0, 0.0), seed=2)
    found = asr.find_transform(frame.image, expose(seed=1).image)
    assert abs(found.rotation) == pytest.approx(179.7, abs=0.01)
    assert (found.footprint() == frame.truth.footprint()).mean() > 0.999


def test_clusters_of_hot_pixels_do_not_hold_the_frame(expose):
    frames = [expose(seed=1).image, expose(turned(0.0, 9.3, -4.1), seed=2).image]
    rng = np.random.default_rng(4)
    for x, y in zip(rng.integers(10, 330, 40), rng.integers(10, 290, 40), strict=True):
        for image in frames:
            image[y : y + 2, x : x + 3] += 3000
    assert asr.find_transform(frames[1], frames[0]).shift == pytest.approx((-9.3, 4.1), abs=0.05)


@pytest.mark.parametrize(
    ("stars", "text"), [(0, "shows 0 stars; 5 are needed"), (200, "better than chance")]
)
def test_the_same_hot_pixels_do_not_make_one_field_of_two(expose, stars, text):
    frames = [expose(sky=sky, seed=sky, stars=stars).image for sky in (1, 9)]
    y, x = np.random.default_rng(4).integers(10, 290, (2, 80))
    for image in frames:
        image[y, x] += 5000
    with pytest.raises(asr.InputError, match=text):
        asr.find_transform(*frames)


def add_clusters(image: np.ndarray) -> np.ndarray:
    """Add 80 blocks of 2 x 3 hot pixels, the same in all images."""
    changed = image.copy()
    rng = np.random.default_rng(4)
    for x, y in zip(rng.integers(10, 330, 80), rng.integers(10, 290, 80), strict=True):
        changed[y : y + 2, x : x + 3] += 3000
    return changed


@pytest.mark.parametrize("stars", [0, 200])
def test_the_same_clusters_of_hot_pixels_do_not_make_one_field_of_two(expose, stars):
    frames = [add_clusters(expose(sky=sky, seed=sky, stars=stars).image) for sky in (1, 9)]
    with pytest.raises(asr.InputError, match="hot pixels: they stand still"):
        asr.find_transform(*frames)


def test_a_field_that_stands_still_is_registered_with_and_without_clusters_of_hot_pixels(expose):
    frames = [expose(seed=seed).image for seed in (1, 2)]
    for images in (frames, [add_clusters(image) for image in frames]):
        assert asr.find_transform(*images).shift == pytest.approx((0, 0), abs=0.03)


def test_narrow_stars_that_stand_still_are_no_hot_pixels():
    """Those of a FWHM of 1.5 pixels, wherever they lie in their pixels."""
    rng = np.random.default_rng(3)
    clean = draw_stars(*rng.uniform(10, 290, (2, 60)), np.full(60, 3e3), (300, 300), 1.5 / 2.3548)
    frames = [clean + rng.normal(100, 4, clean.shape) for _ in range(2)]
    assert not (asr.detect_stars(frames[0])["flags"] & SHARP).any()
    assert asr.find_transform(*frames).shift == pytest.approx((0, 0), abs=0.03)


def test_borders_without_data_and_other_byte_orders(expose):
    reference, frame = expose(seed=1), expose(MOVES[1], seed=2)
    image = frame.image.astype(">f4")
    image[:, :60] = np.nan
    found = asr.find_transform(image, reference.image.astype(">f8"))
    assert largest_error(found, frame.truth) < 0.03
    aligned = asr.register(image, reference.image)
    assert np.isnan(aligned[:, :60]).mean() > 0.8
    assert np.isfinite(aligned[20:-20, 90:-20]).all()


def test_ten_times_the_exposure(expose):
    frame = expose(MOVES[1], seed=2, gain=10.0)
    found = asr.find_transform(frame.image, expose(seed=1).image)
    assert largest_error(found, frame.truth) < 0.03


def test_an_image_comes_to_lie_on_its_reference(expose):
    reference, frame = expose(seed=1), expose(MOVES[2], seed=2)
    aligned = asr.register(frame.image, reference.image)
    difference = (aligned - reference.image)[30:-30, 30:-30]
    # Noise of both frames; the resampled one has less per pixel.
    assert np.nanstd(difference) < np.sqrt(2) * 4.0
    assert isinstance(asr.register(CCDData(frame.image, unit="adu"), reference.image), CCDData)


def test_frames_of_a_night(night):
    frames = [frame.image for frame in night] + [np.zeros((300, 340)), np.full((300, 340), np.nan)]
    with pytest.warns(asr.AstroSRWarning, match=r"3 of 7 frames are left out \(frame 2: .*chance"):
        found = asr.register(frames)
    assert set(found.left_out) == {2, 5, 6}
    assert "0 stars" in found.left_out[5]
    assert "no finite pixel" in found.left_out[6]
    assert set(found.transforms) == {0, 1, 3, 4}
    assert found.table["registered"].tolist() == [True, True, False, True, True, False, False]
    reference = night[found.reference].truth
    for number, transform in found.transforms.items():
        x, y = np.array([50.0, 250, 170]), np.array([40.0, 90, 260])
        expected = night[number].truth.to_image(*reference.to_reference(x, y))
        np.testing.assert_allclose(transform.to_image(x, y), expected, atol=0.05)
    aligned = dict(found.aligned())
    stack = np.array([aligned[k] for k in (0, 1, 3, 4)])
    assert np.nanmedian(np.nanstd(stack, axis=0)) < 4.5
    with pytest.raises(asr.InputError, match="3 of 7 frames cannot be registered"):
        asr.register(frames, strict=True)


def test_a_given_reference_is_taken(night):
    frames = [frame.image for frame in night if frame.truth.shape == (300, 340)]
    with pytest.warns(asr.AstroSRWarning, match="frame 2"):
        found = asr.register(frames, reference=3)
    assert found.reference == 3
    assert found.transforms[3].is_identity
    outside = asr.register(frames[:2], reference=frames[3])
    assert outside.reference == -1
    assert outside.transforms[0].matrix.tobytes() == found.transforms[0].matrix.tobytes()


def test_world_coordinates_help_where_stars_are_few(expose):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [10.0, 41.0], [170.5, 150.5], [-1e-3, 1e-3]
    off = wcs.deepcopy()
    off.wcs.crpix = [170.5 + 15, 150.5 - 8]
    frame = expose(turned(0.0, 12.0, -10.0), seed=2, stars=26)
    reference = expose(seed=1, stars=26)
    pair = CCDData(frame.image, unit="adu", wcs=off), CCDData(reference.image, unit="adu", wcs=wcs)
    assert 3 <= len(asr.detect_stars(reference.image)) < 8
    found = asr.find_transform(*pair)
    assert found.shift == pytest.approx((-12, 10), abs=0.1)
    blank = CCDData(np.random.default_rng(1).normal(0, 1, (300, 340)), unit="adu", wcs=off)
    with pytest.warns(asr.AstroSRWarning, match="too few stars to check its world coordinates"):
        unchecked = asr.find_transform(blank, pair[1])
    assert unchecked.shift == pytest.approx((-15, 8), abs=0.01)
    assert unchecked.n_pairs == 0
    with pytest.raises(asr.InputError, match="cannot be registered: the image shows"):
        asr.find_transform(blank, pair[1], use_wcs=False)


def test_what_is_not_allowed_is_said(expose):
    image = expose().image
    for call, text in [
        (lambda: asr.register([image]), "frames holds 1; registering needs 2"),
        (lambda: asr.register([]), "frames holds 0"),
        (lambda: asr.register(image), "a single image needs an image to be registered to"),
        (lambda: asr.register([image, image], reference=2), "reference=2 is not one of the 2"),
        (lambda: asr.register([image, image], model="cubic"), "model='cubic' is not known"),
        (lambda: asr.find_transform(image, np.zeros((50, 50))), "the reference shows 0 stars"),
    ]:
        with pytest.raises(asr.InputError, match=text):
            call()


@pytest.fixture
def folder(night, tmp_path):
    """Return a folder with the frames, a file that is no image, and a raw frame."""
    for number, frame in enumerate(night):
        fits.writeto(tmp_path / f"light{number}.fits", frame.image)
    (tmp_path / "light7.fits").write_bytes(b"SIMPLE  = broken")
    return tmp_path


def test_the_command_writes_frames_and_table(folder, capsys):
    lights = sorted(folder.glob("light*.fits"))
    before = [path.read_bytes() for path in lights]
    words = ["register", *map(str, lights), "-r", str(lights[0])]
    words += ["--apply", str(folder / "aligned"), "--table", str(folder / "t.csv")]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["reference"].endswith("light0.fits")
    assert [row["registered"] for row in record["frames"]] == [True, True, False, True, True, False]
    assert "light2.fits" in record["warnings"][0]
    assert "light7.fits" in record["warnings"][0]
    names = sorted(path.name for path in (folder / "aligned").iterdir())
    assert names == [f"light{k}_registered.fits" for k in (0, 1, 3, 4)]
    reference = asr.read_image(lights[0]).data
    for name in names[1:]:
        aligned = asr.read_image(folder / "aligned" / name)
        assert np.nanstd((aligned.data - reference)[30:-30, 30:-30]) < np.sqrt(2) * 4
    table = Table.read(folder / "t.csv")
    assert table["shift_x"][1] == pytest.approx(record["frames"][1]["shift_x"])
    assert [path.read_bytes() for path in lights] == before
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    first = [path.read_bytes() for path in sorted((folder / "aligned").iterdir())]
    assert main([*words, "--overwrite"]) == 0
    assert "4 of 6 frames registered" in capsys.readouterr().out
    assert [path.read_bytes() for path in sorted((folder / "aligned").iterdir())] == first
    assert main([*words[:-4], "--strict"]) == 2
    assert "2 of 6 frames cannot be registered" in capsys.readouterr().err
    assert main([*words[:-1], str(folder / "t.txt")]) == 2
    assert "must end in .csv or .ecsv" in capsys.readouterr().err
