"""What every verb must hold, whatever its model."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.convolution import convolve
from astro_sr_plugin.metrics import aperture_photometry
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.restoration.conditions import target_image

SIGMA, SKY, FWHM = 5.0, 300.0, 3.2


def make_field(ny=200, nx=232, fwhm=FWHM, seed=1, sigma=SIGMA):
    """Stars of known flux on a flat sky with white noise; return pixels and (x, y, flux)."""
    rng = np.random.default_rng(seed)
    image = np.full((ny, nx), SKY)
    psf = make_moffat_psf(*torch.tensor([fwhm, 3.2, 0.0, 0.0])[:, None])[0].numpy()
    r = psf.shape[0] // 2
    padded = np.zeros((ny + 2 * r, nx + 2 * r))
    stars = []
    for y in range(16, ny - 15, 28):
        for x in range(16, nx - 15, 28):
            xs, ys = x + rng.integers(-4, 5), y + rng.integers(-4, 5)
            flux = float(np.exp(rng.uniform(np.log(40 * sigma), np.log(4000 * sigma))))
            padded[ys : ys + 2 * r + 1, xs : xs + 2 * r + 1] += flux * psf
            stars.append((xs, ys, flux))
    image += padded[r : r + ny, r : r + nx]
    image += rng.normal(0, sigma, image.shape)
    return image.astype(np.float32), np.array(stars)


def make_header():
    header = fits.Header()
    header["OBJECT"] = "test field"
    header["FILTER"] = "R"
    header.add_history("made for a test")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [90.5, 77.25]
    wcs.wcs.cd = np.array([[-2.0e-4, 1e-5], [1.2e-5, 2.0e-4]])
    header.update(wcs.to_header())
    return header, wcs


@cache
def shared_field():
    pixels, stars = make_field()
    pixels.setflags(write=False)
    return pixels, stars


def make_ccd():
    header, wcs = make_header()
    return CCDData(shared_field()[0].copy(), unit=u.adu, wcs=wcs, meta=header)


@pytest.fixture
def field():
    return shared_field()


@pytest.fixture
def ccd():
    return make_ccd()


@pytest.fixture
def corner():
    """A part of the field that still shows stars enough."""
    return make_ccd()[:144, :160]


VERBS = {"denoise": asr.denoise, "deconvolve": asr.deconvolve, "super_resolve": asr.super_resolve}
SCALES = {"denoise": 1, "deconvolve": 1, "super_resolve": 2}
NETWORKS = [
    ("denoise", None),
    ("deconvolve", None),
    ("super_resolve", None),
]
ALL = [
    *NETWORKS,
    ("denoise", "wiener"),
    ("deconvolve", "wiener"),
    ("deconvolve", "richardson-lucy"),
    ("super_resolve", "bicubic"),
    ("super_resolve", "wiener"),
]


def run(verb, image, model=None, **options):
    return VERBS[verb](image, model=model, device="cpu", **options)


@cache
def measured_field():
    return asr.measure(make_ccd())


@cache
def result(verb, model=None):
    """Return what a verb makes of the whole field; no test changes it."""
    return run(verb, make_ccd(), model, measured=measured_field())


@pytest.mark.parametrize(("verb", "model"), ALL)
def test_the_result_is_an_image_of_the_same_kind(verb, model, ccd):
    out = result(verb, model)
    scale = SCALES[verb]
    assert isinstance(out, CCDData)
    assert out.shape == tuple(scale * n for n in ccd.shape)
    assert out.unit == u.adu
    assert out.data.dtype == np.float32
    assert np.isfinite(out.data).all()
    assert out.meta["OBJECT"] == "test field"
    assert out.meta["ASRTASK"] == verb.replace("_", "-")
    assert out.meta["ASRSCALE"] == scale
    assert out.meta["ASRFWHMI"] == pytest.approx(FWHM, rel=0.04)
    assert out.meta["ASRNOISE"] == pytest.approx(SIGMA, rel=0.04)
    assert "made for a test" in str(out.meta["HISTORY"])
    assert verb.replace("_", "-") in str(out.meta["HISTORY"])


@pytest.mark.parametrize(("verb", "model"), ALL)
def test_flux_stays(verb, model, ccd, field):
    _, stars = field
    out = result(verb, model)
    scale = SCALES[verb]
    assert out.data.sum(dtype=float) / scale**2 == pytest.approx(
        ccd.data.sum(dtype=float), rel=2e-4
    )
    light = (ccd.data - SKY).sum(dtype=float)
    assert (out.data - SKY).sum(dtype=float) / scale**2 == pytest.approx(light, rel=2e-3)
    bright = stars[stars[:, 2] > 500 * SIGMA]
    places = (bright[:, :2] + 0.5) * scale - 0.5
    measured = aperture_photometry(out.data, places, radius=7 * scale).flux / scale**2
    known = bright[:, 2]
    # A filter that rings spreads less light beyond the aperture than the wings of the input had.
    assert np.median(measured / known) == pytest.approx(1.0, abs=0.08 if model else 0.03)


@cache
def corner_in_units(factor, pedestal):
    """Return pixels in another unit, above a pedestal, and what is measured of them."""
    pixels = make_ccd()[:144, :160].data.astype(np.float64) * factor + pedestal
    return pixels, asr.measure(pixels)


@pytest.mark.parametrize(("verb", "model"), ALL)
def test_units_and_pedestals_do_not_matter(verb, model):
    pixels, measured = corner_in_units(1.0, 0.0)
    before = pixels.copy()
    out = run(verb, pixels, model, measured=measured)
    scaled, measured = corner_in_units(2.5e-5, -7.0)
    other = run(verb, scaled, model, measured=measured)
    assert out.dtype == np.float64
    np.testing.assert_array_equal(pixels, before)
    difference = (other + 7.0) / 2.5e-5 - out
    assert np.abs(difference).max() < 0.02 * SIGMA + 3e-4 * out.max()


@cache
def corner_with_holes(masked):
    """Return the corner with pixels without value and one that is masked, and its measurement."""
    image = make_ccd()[:144, :160]
    image.data[50:54, 60:63] = np.nan
    image.mask = np.zeros(image.shape, bool)
    image.mask[100, 120] = True
    image.data[100, 120] = masked
    return image, asr.measure(image)


@pytest.mark.parametrize(("verb", "model"), ALL)
def test_holes_come_back_as_they_were(verb, model):
    scale = SCALES[verb]
    corner, measured = corner_with_holes(1e6)
    out = run(verb, corner, model, measured=measured)
    holes = np.isnan(corner.data).repeat(scale, 0).repeat(scale, 1)
    np.testing.assert_array_equal(np.isnan(out.data), holes)
    np.testing.assert_array_equal(out.mask, corner.mask.repeat(scale, 0).repeat(scale, 1))
    assert (out.data[out.mask] == 1e6).all()
    corner, measured = corner_with_holes(-3e5)
    other = run(verb, corner, model, measured=measured)
    unused = ~(out.mask | holes)
    np.testing.assert_array_equal(other.data[unused], out.data[unused])


@cache
def measured_twice():
    """Return two planes that are the field, and what is measured of them."""
    cube = np.stack([shared_field()[0]] * 2)
    return cube, asr.measure(cube)


@pytest.mark.parametrize(("verb", "model"), NETWORKS)
def test_tiles_and_planes_do_not_matter(verb, model):
    whole, (cube, measured) = result(verb, model).data, measured_twice()
    runtime = asr.Runtime(tile_size=136, device="cpu")
    tiled = run(verb, cube, model, measured=measured, runtime=runtime)
    for plane in tiled:
        np.testing.assert_allclose(plane, whole, atol=2e-3 * SIGMA, rtol=1e-5)


@pytest.mark.parametrize("verb", VERBS)
def test_orientation_stays(verb, field):
    _, stars = field
    x, y, _ = stars[np.argmax(stars[:, 2])].astype(int)
    out = result(verb).data
    scale = SCALES[verb]
    place = np.unravel_index(np.argmax(out), out.shape)
    assert abs((place[0] + 0.5) / scale - 0.5 - y) <= 0.75
    assert abs((place[1] + 0.5) / scale - 0.5 - x) <= 0.75


@pytest.mark.parametrize("verb", VERBS)
def test_sky_positions_stay(verb, ccd):
    out = result(verb)
    scale = SCALES[verb]
    x, y = np.array([0.0, 31.25, 199.0]), np.array([5.5, 100.0, -0.5])
    sky = ccd.wcs.pixel_to_world(x, y)
    x_out, y_out = out.wcs.world_to_pixel(sky)
    np.testing.assert_allclose((x_out + 0.5) / scale - 0.5, x, atol=1e-6)
    np.testing.assert_allclose((y_out + 0.5) / scale - 0.5, y, atol=1e-6)


@pytest.mark.parametrize("verb", VERBS)
def test_streaming_equals_memory(verb, ccd, tmp_path):
    asr.write_image(ccd, tmp_path / "in.fits")
    path = tmp_path / "out.fits"
    streamed = run(verb, tmp_path / "in.fits", out=path, measured=measured_field())
    np.testing.assert_array_equal(np.asarray(streamed.data), result(verb).data)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["ASRVERS"] == asr.__version__
        assert hdus[0].header["BUNIT"].strip().lower() == "adu"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fits", "out.fits"]
    with pytest.raises(asr.OutputError, match=r"out\.fits"):
        run(verb, tmp_path / "in.fits", out=path)


@pytest.mark.parametrize(
    ("verb", "model"),
    [("denoise", "wiener"), ("deconvolve", "wiener"), ("super_resolve", "bicubic")],
)
def test_any_pixel_type_is_taken(verb, model, corner):
    """The networks see the same numbers as these models: all pixels go through one door."""
    whole_numbers, psf = corner.data.round(), (FWHM, 3.2)
    reference = run(verb, whole_numbers.astype(np.float32), model, psf=psf)
    for dtype in (">f4", ">f8", "u2", ">i2", "i4"):
        pixels = whole_numbers.astype(dtype)
        pixels.setflags(write=False)
        out = run(verb, pixels, model, psf=psf)
        assert out.dtype == (np.float64 if dtype == ">f8" else np.float32)
        np.testing.assert_allclose(out, reference, atol=2e-3 * SIGMA, rtol=1e-5)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((64, 64), 7.0), r"every usable pixel is 7\b"),
        (np.full((64, 64), np.nan), "finite"),
        (np.zeros((0, 5)), "no pixels|zero|empty"),
        (np.zeros(12), "1"),
        (np.zeros((8, 8), complex), "complex"),
    ],
)
def test_bad_images_are_refused(verb, image, message):
    with pytest.raises(asr.InputError, match=message):
        run(verb, image)


def test_absurd_numbers_stand_for_no_value(field):
    pixels = field[0].copy()
    clean = result("denoise").data
    pixels[5, 5], pixels[100, 7], pixels[150, 150] = 1e30, -3.4e38, np.inf
    out = asr.denoise(pixels)
    same = np.isclose(pixels, field[0])
    np.testing.assert_array_equal(out[~same], pixels[~same])
    far = np.abs(np.indices(out.shape)[0] - 100) > 4
    assert np.abs(out - clean)[same & far].max() < 3 * SIGMA


def test_strength_zero_is_the_input_exactly(ccd):
    measured = measured_field()
    out = asr.denoise(ccd, strength=0, measured=measured)
    np.testing.assert_array_equal(out.data, ccd.data)
    out = asr.deconvolve(ccd, stars=0, extended=0, measured=measured)
    np.testing.assert_array_equal(out.data, ccd.data)


def test_strength_is_continuous(ccd):
    full = result("denoise").data
    half = asr.denoise(ccd, strength=0.5, measured=measured_field()).data
    np.testing.assert_allclose(half, (full + ccd.data) / 2, rtol=1e-5)


def test_stars_and_background_have_strengths_of_their_own(ccd, field):
    _, stars = field
    out = asr.deconvolve(ccd, stars=0, extended=1, measured=measured_field()).data
    full = result("deconvolve").data
    x, y, _ = stars[np.argmax(stars[:, 2])].astype(int)
    assert out[y, x] == pytest.approx(ccd.data[y, x], rel=0.02)
    assert full[y, x] > 1.3 * ccd.data[y, x]
    sky = np.hypot(*(np.indices(out.shape).reshape(2, -1, 1) - stars[:, 1::-1].T[:, None])).min(1)
    far = (sky > 11).reshape(out.shape)
    assert out[far].std() < 0.6 * ccd.data[far].std()


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("denoise", {"strength": 1.5}, "strength=1.5"),
        ("deconvolve", {"stars": -0.1}, "stars=-0.1"),
        ("deconvolve", {"extended": float("nan")}, "extended=nan"),
        ("deconvolve", {"target_fwhm": 0.2}, "target_fwhm=0.2"),
        ("deconvolve", {"psf": (3.0, 0.5)}, "psf"),
        ("deconvolve", {"psf": (1.0, 2.0, 3.0)}, "psf"),
        ("deconvolve", {"psf": np.zeros((5, 5))}, "psf"),
        ("deconvolve", {"model": "bicubic"}, "super-resolve"),
        ("super_resolve", {"scale": 3}, "scale=3"),
        ("super_resolve", {"model": "nonesuch"}, "nonesuch"),
    ],
)
def test_bad_parameters_are_named(verb, options, message, field):
    with pytest.raises(asr.InputError, match=message):
        VERBS[verb](field[0], **options)


def test_deconvolution_reaches_its_target(field):
    pixels, stars = field
    out = asr.deconvolve(pixels, psf=(FWHM, 3.2), target_fwhm=2.2)
    bright = stars[stars[:, 2] > 300 * SIGMA]
    ratios = []
    for x, y, _ in bright.astype(int):
        cut = out[y - 6 : y + 7, x - 6 : x + 7] - SKY
        ratios.append(cut[6, 6] / cut.sum())
    # A Gaussian of FWHM 2.2 px has this share of its light in the pixel at its centre.
    share = 4 * np.log(2) / np.pi / 2.2**2
    assert np.median(ratios) == pytest.approx(share, rel=0.1)


def test_a_given_psf_may_be_numbers_an_image_or_a_file(field, tmp_path):
    pixels = field[0]
    numbers = asr.deconvolve(pixels, psf=(FWHM, 3.2))
    image = make_moffat_psf(*torch.tensor([FWHM, 3.2, 0.0, 0.0])[:, None])[0].numpy()
    fits.writeto(tmp_path / "psf.fits", image)
    for psf in (image, tmp_path / "psf.fits"):
        out = asr.deconvolve(pixels, psf=psf, target_fwhm=2.0)
        assert np.abs(out - numbers).max() < 0.08 * numbers.max()


def test_without_stars_the_user_is_asked_for_the_psf():
    blank = np.random.default_rng(1).normal(100, 5, (128, 128)).astype(np.float32)
    with pytest.raises(asr.InputError, match="psf="):
        asr.deconvolve(blank)
    out = asr.denoise(blank)
    assert out.std() < 0.25 * blank.std()
    assert asr.deconvolve(blank, psf=3.0).std() < 0.5 * blank.std()


def test_surface_brightness_or_flux_is_kept(ccd):
    level = result("super_resolve")
    total = asr.super_resolve(ccd, conserve_flux=True, measured=measured_field())
    np.testing.assert_allclose(total.data * 4, level.data, rtol=1e-5)
    assert np.median(level.data) == pytest.approx(SKY, rel=0.01)


def test_colours_of_stars_stay():
    planes, stars = zip(
        *(make_field(144, 160, fwhm=f, seed=4, sigma=SIGMA) for f in (3.0, 3.3, 3.6)), strict=True
    )
    image = np.stack([p * factor for p, factor in zip(planes, (1.0, 0.6, 1.7), strict=True)])
    measured = asr.measure(image)
    out = asr.deconvolve(image, measured=measured)
    places = stars[0][stars[0][:, 2] > 400 * SIGMA][:, :2]
    for verb_out, scale in ((out, 1), (asr.super_resolve(image, measured=measured), 2)):
        fluxes = [
            aperture_photometry(p, (places + 0.5) * scale - 0.5, radius=6 * scale).flux
            for p in verb_out
        ]
        before = [aperture_photometry(p, places, radius=9).flux for p in image]
        for k in (0, 2):
            change = 2.5 * np.log10(fluxes[k] / fluxes[1] / (before[k] / before[1]))
            assert abs(np.median(change)) < 0.02


def test_a_plane_without_stars_takes_the_psf_of_another(field):
    blank = np.random.default_rng(8).normal(SKY, SIGMA, field[0].shape).astype(np.float32)
    image = np.stack([field[0], blank, field[0]])
    with pytest.warns(asr.AstroSRWarning, match="no star can be measured in G"):
        out = asr.deconvolve(image, model="wiener")
    assert np.isfinite(out).all()


def test_other_containers_are_taken(corner):
    pixels = corner.data
    assert isinstance(asr.denoise(pixels, model="wiener"), np.ndarray)
    image = NDData(pixels, unit="electron", meta={"EXPTIME": 30.0})
    out = asr.denoise(image, model="wiener")
    assert out.unit == u.electron
    assert out.meta["EXPTIME"] == 30.0


def test_an_uncertainty_that_no_longer_holds_is_dropped_with_a_word(corner):
    corner.uncertainty = StdDevUncertainty(np.full(corner.shape, SIGMA))
    with pytest.warns(asr.AstroSRWarning, match="uncertainty"):
        assert asr.denoise(corner).uncertainty is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 16), (40, 3)])
def test_images_smaller_than_a_tile(shape):
    rng = np.random.default_rng(2)
    image = rng.normal(10, 1, shape).astype(np.float32)
    if image.size == 1:
        with pytest.raises(asr.InputError, match="every usable pixel is"):
            asr.denoise(image)
        return
    assert asr.denoise(image).shape == shape
    assert asr.super_resolve(image, psf=2.5).shape == (2 * shape[0], 2 * shape[1])


def test_stars_outside_the_trained_range_are_told(field):
    with pytest.warns(asr.AstroSRWarning, match="outside the range"):
        asr.deconvolve(field[0], psf=12.0)


@pytest.mark.parametrize("verb", ["deconvolve", "super_resolve"])
def test_a_source_that_is_no_star_leaves_no_pit(verb, field):
    # A hard-edged blob sharper than any PSF: what a wrong PSF makes of a bright star.
    pixels = field[0].copy()
    pixels[98:103, 110:112] += 3000 * SIGMA
    out = run(verb, pixels)
    scale = SCALES[verb]
    near = out[85 * scale : 115 * scale, 96 * scale : 126 * scale]
    assert near.min() > SKY - 0.04 * 3000 * SIGMA


@pytest.mark.parametrize("verb", ["denoise", "deconvolve"])
def test_dark_clouds_in_a_nebula_stay_dark(verb):
    """Where nebulosity fills the frame, a dark cloud lies below any measured sky."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[-64:320, -64:320]
    sky = 1000.0 + 120 * np.sin(x / 60) * np.cos(y / 50)
    for cx, cy in ((80, 90), (180, 150)):
        sky -= 200 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 7.0**2))
    psf = make_moffat_psf(*torch.tensor([3.0, 3.5, 0.0, 0.0])[:, None])[0].numpy()
    seen = convolve(sky, psf)[64:-64, 64:-64]
    image = CCDData(seen + rng.normal(0, 5, seen.shape), unit="adu")
    options = {} if verb == "denoise" else {"psf": (3.0, 3.5)}
    result = getattr(asr, verb)(image, **options).data
    truth = seen if verb == "denoise" else convolve(sky, target_image(2.0, 1))[64:-64, 64:-64]
    for cx, cy in ((80, 90), (180, 150)):
        core = np.s_[cy - 3 : cy + 4, cx - 3 : cx + 4]
        assert result[core].mean() == pytest.approx(truth[core].mean(), abs=5.0)
