"""One contract for all stretches, and the formulas of the single ones."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, UnknownUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import quad

from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from astro_sr_plugin.stretch import (
    AsinhStretch,
    GammaStretch,
    GHSStretch,
    LogStretch,
    MTFStretch,
    Stretch,
    apply_stretch,
    undo_stretch,
)

MEMBERS = [MTFStretch, AsinhStretch, GHSStretch, LogStretch, GammaStretch]

FIXED = {
    "mtf": MTFStretch(0.003, 0.01, 0.9),
    "mtf dark": MTFStretch(1e-7),
    "mtf bright": MTFStretch(0.97, white=65535.0),
    "asinh": AsinhStretch(black=100.0, white=6e4, softening=30.0),
    "asinh plain": AsinhStretch(black=0.0, white=1.0, softening=1e-3),
    "log": LogStretch(black=0.0, white=1.0),
    "log adu": LogStretch(black=900.0, white=65535.0, strength=1e5),
    "gamma": GammaStretch(black=0.0, white=1.0),
    "gamma 10": GammaStretch(black=-5.0, white=1e4, gamma=10.0),
    "ghs log": GHSStretch(2000.0, -1.0, 0.01),
    "ghs integral": GHSStretch(200.0, -3.0, 0.02, 0.01, 0.9),
    "ghs half": GHSStretch(20.0, -0.5, 0.1),
    "ghs exponential": GHSStretch(12.0, 0.0, 0.1, 0.05, 0.8),
    "ghs harmonic": GHSStretch(300.0, 1.0, 0.02),
    "ghs hyperbolic": GHSStretch(5e4, 6.0, 0.003, black=-3.0, white=7e4),
    "unlinked mtf": MTFStretch((0.1, 0.01, 0.001), (0.0, 0.01, 0.02)),
}

ADVERSARIAL = np.array(
    [-3e38, -1e30, -1e6, -65536, -3.5, -1, -1e-3, -1e-7, 0, 1e-7, 1e-3, 0.25, 0.5]
    + [np.nextafter(np.float32(1), np.float32(0)), 1, 1.0001, 2, 255, 1000, 32768.5, 65535]
    + [1e6, np.nextafter(np.float32(1e6), np.float32(2e6)), 1e12, 1e30, 3e38],
    dtype=np.float32,
)


def shaped(stretch, values):
    values = np.atleast_1d(values)
    return np.stack([values] * stretch.channels) if stretch.channels > 1 else values


def offset(stretch):
    """Distance of the curve's zero from the zero of the data: the grain of what it can resolve."""
    numbers = stretch.numbers()
    if "shadows" in numbers:
        return float(np.max(np.abs(np.multiply(numbers["shadows"], numbers["white"]))))
    grain = float(np.max(np.abs(numbers["black"])))
    if isinstance(stretch, GHSStretch):
        width = np.subtract(numbers["white"], numbers["black"])
        grain = max(grain, float(np.max(np.multiply(numbers["symmetry_point"], width))))
    return grain


def assert_round_trip(stretch, values):
    back = stretch.inverse(stretch(values))
    error = np.abs(back - values.astype(np.float64))
    assert np.all(error <= 1e-6 * np.abs(values.astype(np.float64)) + 1e-14 * offset(stretch))


def sky(scale=1.0, shape=(80, 90), seed=3):
    rng = np.random.default_rng(seed)
    image = 0.02 + 0.001 * rng.standard_normal(shape)
    image[..., 20, 30] = 0.9
    image[..., 50:53, 60:63] = 0.3
    return (image * scale).astype(np.float32)


@pytest.mark.parametrize("stretch", FIXED.values(), ids=FIXED)
def test_round_trip_over_the_whole_range(stretch):
    assert_round_trip(stretch, shaped(stretch, ADVERSARIAL))


@pytest.mark.parametrize("stretch", FIXED.values(), ids=FIXED)
@settings(max_examples=30, deadline=None)
@given(data=hnp.arrays(np.float32, 30, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_round_trip_of_any_float32(stretch, data):
    assert_round_trip(stretch, shaped(stretch, data))


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    "image",
    [
        sky(),
        sky(65535.0),
        sky(1e-12),
        sky() + np.float32(1e6),
        sky() - np.float32(0.02),
        -sky(),
        (sky(65535.0)).astype(np.uint16),
        (sky(255.0)).astype(np.uint8),
        (sky(30000.0) - 600).astype(">i2"),
        1.0 - sky(),
    ],
    ids=["0..1", "adu", "flux", "pedestal", "no sky", "negative", "u2", "u1", "i2", "bright"],
)
def test_fitted_round_trip(member, image):
    stretch = member.fit(image)
    assert_round_trip(stretch, image)
    assert_round_trip(stretch, np.concatenate([ADVERSARIAL, image.ravel()[:50]]))
    middle = float(stretch(np.median(image)))
    assert 0.0 < middle < 1.0


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5)),
        np.ones((5, 5)),
        np.full((5, 5), 1234.0),
        np.full((5, 5), -1e-9),
        np.array([[3.0]]),
        np.where(np.arange(100) < 90, 0.0, 1.0).reshape(10, 10),
        np.where(np.arange(100) < 90, 7.0, 9.0).reshape(10, 10),
    ],
)
def test_degenerate_images_give_a_valid_stretch(member, image):
    stretch = member.fit(image)
    assert np.all(np.isfinite(stretch(image)))
    assert_round_trip(stretch, image)
    assert_round_trip(stretch, ADVERSARIAL)


@pytest.mark.parametrize("stretch", FIXED.values(), ids=FIXED)
def test_monotonic_with_continuous_slope(stretch):
    numbers = stretch.numbers()
    black = float(np.max(numbers.get("black", 0.0)))
    width = float(np.max(numbers["white"])) - black
    x = black + width * np.linspace(-2.0, 3.0, 4001)
    y = stretch(shaped(stretch, x))
    assert np.all(np.diff(y, axis=-1) > 0.0)
    # The slope is that of the curve, away from the corners of its own slope.
    step = 1e-7 * width
    measured = (stretch(shaped(stretch, x + step)) - stretch(shaped(stretch, x - step))) / (
        2.0 * step
    )
    stated = stretch.derivative(shaped(stretch, x))
    close = np.isclose(measured, stated, rtol=1e-3, atol=1e-5 / width)
    assert close.mean() > 0.998


@pytest.mark.parametrize("stretch", FIXED.values(), ids=FIXED)
def test_inverse_of_the_inverse_header_and_pickle(stretch):
    assert stretch.inverse.inverse is stretch
    assert pickle.loads(pickle.dumps(stretch)) == stretch
    header = fits.Header()
    stretch.to_header(header)
    read = fits.Header.fromstring(header.tostring())
    assert Stretch.from_header(read) == stretch
    assert type(stretch).from_header(read) == stretch
    plain = {}
    stretch.to_header(plain)
    assert Stretch.from_header(plain) == stretch
    Stretch.clear_header(read)
    assert len(read) == 0


@pytest.mark.parametrize("member", MEMBERS)
def test_colour_linked_and_unlinked(member):
    image = np.stack([sky(seed=1), 2 * sky(seed=2), 0.5 * sky(seed=3)])
    assert member.fit(image).channels == 1
    separate = member.fit(image, linked=False)
    assert separate.channels == 3
    assert_round_trip(separate, image)
    for index, plane in enumerate(separate(image)):
        alone = member(**separate._channel(index))
        np.testing.assert_array_equal(plane, alone(image[index]))
    levels = [np.median(plane) for plane in separate(image)]
    np.testing.assert_allclose(levels, levels[0], rtol=0.05)
    with pytest.raises(InputError, match="3 channels"):
        separate(image[0])


@pytest.mark.parametrize("member", MEMBERS)
def test_nan_masks_and_containers(member):
    image = sky()
    expected = member.fit(image[:, :60])
    mask = np.zeros(image.shape, dtype=bool)
    mask[:, 60:] = True
    spoiled = np.where(mask, 1e5, image).astype(np.float32)
    nan = np.where(mask, np.nan, image)
    assert member.fit(spoiled, mask=mask) == expected
    assert member.fit(CCDData(spoiled, unit="adu", mask=mask)) == expected
    assert member.fit(NDData(spoiled), mask=mask) == expected
    assert member.fit(np.ma.masked_array(spoiled, mask)) == expected
    assert member.fit(nan.astype(np.float32)) == expected
    assert np.array_equal(np.isnan(expected(nan)), mask)
    assert np.array_equal(np.isnan(expected.inverse(expected(nan))), mask)


@pytest.mark.parametrize("member", MEMBERS)
def test_input_is_left_alone(member):
    native = sky(1000.0)
    stretch = member.fit(native)
    for image in (native.copy(), native.astype(">f4"), native[::-1].astype("<f8"), native.T):
        image.flags.writeable = False
        before = image.copy()
        assert stretch(image).dtype == np.float64
        np.testing.assert_array_equal(stretch(image), stretch(np.ascontiguousarray(before)))
        member.fit(image)
        np.testing.assert_array_equal(image, before)
    assert member.fit(native.astype(">f4")) == stretch


@pytest.mark.parametrize("member", MEMBERS)
def test_large_image_is_quick_and_cut_in_chunks_alike(member):
    image = np.tile(sky(1000.0), (25, 30))
    stretch = member.fit(image)
    start = time.perf_counter()
    y = stretch(image)
    assert time.perf_counter() - start < 3.0
    np.testing.assert_array_equal(y[:80, :90], stretch(image[:80, :90].copy()))


@pytest.mark.parametrize("member", MEMBERS)
def test_bad_input(member):
    with pytest.raises(InputError, match="no finite"):
        member.fit(np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="complex"):
        member.fit(np.ones((4, 4), dtype=complex))
    with pytest.raises(InputError, match="mask has shape"):
        member.fit(np.ones((4, 4)), mask=np.ones((3, 3), dtype=bool))
    with pytest.raises(InputError, match="complex"):
        member.fit(sky())(np.ones(3, dtype=complex))
    with pytest.raises(InputError, match="no keyword ASRSTR"):
        member.from_header({})
    with pytest.raises(InputError, match="damaged"):
        member.from_header({"ASRSTR": member.name, "ASRSTRNC": 1})
    with pytest.raises(InputError, match="finite"):
        member.fit(sky(), white=np.inf)


@pytest.mark.parametrize(
    ("member", "numbers", "word"),
    [
        (MTFStretch, {"midtones": 0.0}, "midtones"),
        (MTFStretch, {"midtones": 0.5, "shadows": 1.0}, "highlights"),
        (MTFStretch, {"midtones": (0.5, 0.4), "shadows": (0.0, 0.0, 0.0)}, "channels"),
        (MTFStretch, {"midtones": 0.5, "white": -1.0}, "white"),
        (AsinhStretch, {"black": 0.0, "white": 1.0, "softening": 0.0}, "softening"),
        (LogStretch, {"black": 2.0, "white": 1.0}, "white"),
        (LogStretch, {"black": 0.0, "white": 1.0, "strength": 0.0}, "strength"),
        (GammaStretch, {"black": 0.0, "white": 1.0, "gamma": 0.5}, "gamma"),
        (GHSStretch, {"stretch_factor": 0.0}, "stretch_factor"),
        (GHSStretch, {"stretch_factor": 1.0, "local_intensity": 99.0}, "local_intensity"),
        (GHSStretch, {"stretch_factor": 1.0, "shadow_protection": 0.5}, "in this order"),
        (GHSStretch, {"stretch_factor": 1e4, "local_intensity": 0.0}, "too flat"),
    ],
)
def test_bad_numbers(member, numbers, word):
    with pytest.raises(InputError, match=word):
        member(**numbers)


# --- MTF: the automatic stretch of Siril and PixInsight -----------------------------------------


def test_mtf_automatic_parameters_by_hand():
    # 101 equidistant values: median 0.1, MAD 0.005, sigma 0.007413, and so
    # shadows = 0.1 - 2.8 * 0.007413 = 0.0792436,
    # midtones = -0.75 * 0.0207564 / (-0.5 * 0.0207564 - 0.25) = 0.0597877...
    image = 0.1 + 0.0002 * np.arange(-50, 51)
    stretch = MTFStretch.fit(image)
    assert stretch.shadows == pytest.approx(0.0792436, abs=1e-12)
    assert stretch.midtones == pytest.approx(0.0155673 / 0.2603782, rel=1e-9)
    assert (stretch.highlights, stretch.white) == (1.0, 1.0)
    # u = 0.0207564 / 0.9207564 of the median gives, with m above, 0.26607...
    u, m = 0.0207564 / 0.9207564, 0.0155673 / 0.2603782
    assert float(stretch(0.1)) == pytest.approx((m - 1) * u / ((2 * m - 1) * u - m), rel=1e-9)
    assert float(stretch(1.0)) == 1.0


def test_mtf_clamps_shadows_at_zero_and_guards_against_no_noise():
    wide = np.linspace(0.0001, 0.2, 1001)
    assert MTFStretch.fit(wide).shadows == 0.0
    # Siril takes 0.001 for the noise if the MAD is zero.
    flat = np.full((10, 10), 0.2)
    assert MTFStretch.fit(flat).shadows == pytest.approx(0.2 - 0.0028)


def test_mtf_zeros_are_no_data_and_sixteen_bits_are_scaled():
    image = 0.1 + 0.0002 * np.arange(-50, 51)
    assert MTFStretch.fit(np.concatenate([image, np.zeros(500)])) == MTFStretch.fit(image)
    counts = np.round(image * 65535.0)
    for data in (counts, counts.astype(np.uint16)):
        stretch = MTFStretch.fit(data)
        assert stretch.white == 65535.0
        assert stretch.shadows == pytest.approx(0.0792436, abs=1e-4)


def test_mtf_of_an_inverted_image_mirrors_that_of_the_image():
    image = 0.1 + 0.0002 * np.arange(-50, 51)
    stretch, mirrored = MTFStretch.fit(image), MTFStretch.fit(1.0 - image)
    assert mirrored.highlights == pytest.approx(1.0 - stretch.shadows)
    np.testing.assert_allclose(mirrored(1.0 - image), 1.0 - stretch(image), rtol=1e-9)


def test_mtf_linked_averages_the_channels():
    planes = np.stack([0.1 + 0.0002 * k * np.arange(-50, 51).reshape(1, -1) for k in (1, 2, 3)])
    stretch = MTFStretch.fit(planes)
    shadows = 0.1 - 2.8 * 1.4826 * 0.01
    assert stretch.shadows == pytest.approx(shadows)
    level = 0.1 - shadows
    assert stretch.midtones == pytest.approx(0.75 * level / (0.5 * level + 0.25))


def test_mtf_of_sky_subtracted_data_shows_the_sky():
    stretch = MTFStretch.fit(sky() - np.float32(0.02))
    assert stretch.shadows < 0.0
    assert 0.2 < float(stretch(0.0)) < 0.3


# --- GHS ----------------------------------------------------------------------------------------


def published_slope(z, d, b):
    if b == -1.0:
        return d / (1.0 + d * z)
    if b < 0.0:
        return d * (1.0 - b * d * z) ** (1.0 / b)
    if b == 0.0:
        return d * np.exp(-d * z)
    return d * (1.0 + b * d * z) ** (-(1.0 + b) / b)


@pytest.mark.parametrize("b", [-4.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 6.0])
@pytest.mark.parametrize("points", [(0.0, 0.0, 1.0), (0.0, 0.2, 1.0), (0.1, 0.3, 0.7)])
def test_ghs_is_the_integral_of_its_slope(b, points):
    d, (lp, sp, hp) = 9.0, points

    def slope(u):
        return published_slope(abs(min(max(u, lp), hp) - sp), d, b)

    total = quad(slope, 0.0, 1.0, points=[lp, sp, hp], epsabs=1e-12)[0]
    stretch = GHSStretch(d, b, sp, lp, hp)
    for u in (-0.5, 0.05, 0.1, 0.25, 0.3, 0.6, 0.95, 1.0, 1.7):
        ends = (min(0.0, u), max(0.0, u))
        corners = [p for p in (lp, sp, hp) if ends[0] < p < ends[1]] or None
        expected = quad(slope, 0.0, u, points=corners, epsabs=1e-12)[0] / total
        assert float(stretch(u)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("special", [0.0, -1.0])
def test_ghs_is_continuous_in_b(special):
    u = np.linspace(-1.0, 2.0, 301)
    exact = GHSStretch(10.0, special, 0.1)(u)
    for b in (special - 1e-6, special + 1e-6):
        np.testing.assert_allclose(GHSStretch(10.0, b, 0.1)(u), exact, atol=1e-4)
    np.testing.assert_allclose(GHSStretch(10.0, special + 1e-11, 0.1)(u), exact, atol=1e-9)


def test_ghs_fit_takes_the_sky_to_the_target():
    image = sky(65535.0)
    stretch = GHSStretch.fit(image, target=0.2, local_intensity=6.0)
    assert float(stretch(np.median(image))) == pytest.approx(0.2, abs=1e-3)
    assert stretch.white == 65535.0


# --- Whole images -------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("linked", [True, False])
def test_file_alone_can_be_undone(member, linked, tmp_path):
    image = np.stack([sky(500.0, seed=1), sky(800.0, seed=2), sky(300.0, seed=3)])
    header = fits.Header([("OBJECT", "field"), ("EXPTIME", 30.0)])
    mask = image > 400.0
    ccd = CCDData(image, unit="adu", meta=header, mask=mask, wcs=None)
    shown = apply_stretch(ccd, member.name, linked=linked)
    assert shown.unit == ccd.unit
    assert shown.header["OBJECT"] == "field"
    assert "ASRSTR" not in ccd.header
    assert shown.data.dtype == np.float64
    fits.PrimaryHDU(shown.data, shown.header).writeto(tmp_path / "shown.fits")
    with fits.open(tmp_path / "shown.fits") as hdus:
        hdus.verify("exception")
        again = undo_stretch(CCDData(hdus[0].data, unit="adu", meta=hdus[0].header))
    assert again.data.dtype == np.float32
    np.testing.assert_allclose(again.data, image, rtol=1e-6)
    assert again.header["EXPTIME"] == 30.0
    assert not [key for key in again.header if key.startswith("ASRSTR")]
    assert len(again.header["HISTORY"]) >= 2
    assert np.array_equal(undo_stretch(shown).mask, mask)
    with pytest.raises(InputError, match="already"):
        apply_stretch(shown, member.name)


@pytest.mark.parametrize("member", MEMBERS)
def test_uncertainty_follows_the_slope(member):
    image = sky(1000.0)
    sigma = np.full(image.shape, 0.5)
    ccd = CCDData(image, unit="adu", uncertainty=StdDevUncertainty(sigma))
    shown = apply_stretch(ccd, member.name)
    stretch = Stretch.from_header(shown.meta)
    wide = image.astype(np.float64)
    expected = (stretch(wide + 1e-4) - stretch(wide - 1e-4)) / 2e-4 * 0.5
    np.testing.assert_allclose(shown.uncertainty.array, expected, rtol=1e-3)
    np.testing.assert_allclose(undo_stretch(shown).uncertainty.array, sigma, rtol=1e-6)
    ccd.uncertainty = InverseVariance(1.0 / sigma**2)
    other = apply_stretch(ccd, stretch)
    np.testing.assert_allclose(other.uncertainty.array, shown.uncertainty.array)
    ccd.uncertainty = UnknownUncertainty(sigma)
    with pytest.warns(AstroSRWarning, match="dropped"):
        assert apply_stretch(ccd, stretch).uncertainty is None


def test_apply_stretch_parameters():
    image = sky()
    shown = apply_stretch(CCDData(image, unit="adu"), "MTF", target=0.1, white=2.0)
    assert shown.header["ASRSTRW0"] == 2.0
    np.testing.assert_allclose(undo_stretch(shown).data, image, rtol=1e-6)
    with pytest.raises(InputError, match="one of"):
        apply_stretch(image, "sqrt")
    with pytest.raises(InputError, match="no parameter 'blackpoint'"):
        apply_stretch(image, "mtf", blackpoint=0.0)
    with pytest.raises(InputError, match="must be one of"):
        GHSStretch.from_header(shown.header)


def test_an_array_is_stretched_to_an_array():
    image = sky()
    stretch = AsinhStretch.fit(image)
    shown = apply_stretch(image, stretch)
    assert type(shown) is np.ndarray
    np.testing.assert_array_equal(shown, stretch(image))
    np.testing.assert_array_equal(apply_stretch(image, "asinh"), shown)
    with pytest.raises(InputError, match="an array, which has no header"):
        undo_stretch(shown)


def test_files_and_their_extensions_are_stretched(tmp_path):
    image = sky()
    path = tmp_path / "two.fits"
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(image, name="A"), fits.ImageHDU(2 * image, name="B")]
    ).writeto(path)
    shown = apply_stretch(path, "asinh", hdu="B")
    np.testing.assert_allclose(shown.data, AsinhStretch.fit(2 * image)(2 * image))
    np.testing.assert_allclose(undo_stretch(shown).data, 2 * image, rtol=1e-6)
    fits.writeto(tmp_path / "shown.fits", shown.data, shown.header)
    np.testing.assert_allclose(undo_stretch(tmp_path / "shown.fits").data, 2 * image, rtol=1e-6)
