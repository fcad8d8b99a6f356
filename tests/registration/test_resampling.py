"""Resampled images: flux, places, noise, masks; whole and in bands."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty
from astropy.wcs import WCS

from astro_sr_plugin import AstroSRWarning, InputError, Transform, apply_transform
from astro_sr_plugin.registration.resample import resample_rows, rows_needed
from tests.registration.conftest import draw_stars, turned

SHAPE = (300, 340)
KERNELS = ("bspline", "lanczos", "linear")


def star_grid():
    """Return places and fluxes of stars far from each other and from the edges."""
    rng = np.random.default_rng(2)
    y, x = (v.ravel() for v in np.mgrid[40:280:40, 40:320:40].astype(float))
    return x + rng.uniform(-1, 1, x.size), y + rng.uniform(-1, 1, x.size), np.full(x.size, 1e4)


@pytest.mark.parametrize(
    ("kernel", "flux_error", "place_error"),
    [("bspline", 1e-3, 0.003), ("lanczos", 2e-3, 0.02), ("linear", 1.5e-2, 0.02)],
)
@pytest.mark.parametrize(("angle", "scale"), [(7.0, 1.0), (7.0, 0.8), (1.5, 1.0), (-178.0, 1.0)])
def test_flux_and_places_of_stars_stay(kernel, flux_error, place_error, angle, scale):
    truth = Transform.from_matrix(turned(angle, 2.3, -1.6, scale), SHAPE)
    x, y, flux = star_grid()
    image = draw_stars(*truth.to_image(x, y), flux, SHAPE, sigma=1.25)
    result = apply_transform(image, truth, kernel=kernel)
    for a, b, f in zip(x, y, flux, strict=True):
        rows, columns = np.mgrid[round(b) - 12 : round(b) + 13, round(a) - 12 : round(a) + 13]
        light = result[rows, columns].astype(float)
        if np.isnan(light).any():
            continue
        assert light.sum() == pytest.approx(f, rel=flux_error)
        assert (light * columns).sum() / light.sum() == pytest.approx(a, abs=place_error)
        assert (light * rows).sum() / light.sum() == pytest.approx(b, abs=place_error)
    bright = apply_transform(image, truth, kernel=kernel, conserve_flux=False)
    seen = np.isfinite(result)
    np.testing.assert_allclose(bright[seen] * scale**2, result[seen], atol=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, 179.0])
def test_stars_and_noise_stay_where_an_image_is_turned_by_little(angle, mirrored):
    """Rows and columns are interpolated one after the other there."""
    matrix = turned(angle, 2.3, -1.6)
    if mirrored:
        matrix = matrix @ [[-1, 0, SHAPE[1] - 1], [0, 1, 0], [0, 0, 1]]
    truth = Transform.from_matrix(matrix, SHAPE)
    x, y, flux = star_grid()
    image = draw_stars(*truth.to_image(x, y), flux, SHAPE, sigma=1.25)
    result = apply_transform(image, truth)
    expected = draw_stars(x, y, flux, SHAPE, sigma=1.25)
    seen = np.isfinite(result)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(result[seen], expected[seen], atol=0.015 * expected.max())
    noise = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    own = resample_rows(noise, truth, (0, 300))
    other = resample_rows(noise, truth, (0, 300), variance=np.ones(SHAPE))
    assert (own.mask == other.mask).all()
    good = ~own.mask
    assert own.data[good].var() / other.data[good].var() == pytest.approx(1, abs=0.002)
    np.testing.assert_allclose(own.data[good], other.data[good], atol=0.2 if angle else 1e-5)


def test_half_a_pixel_beyond_the_edge_continues_the_image():
    image = 10.0 * np.add(*np.mgrid[: SHAPE[0], : SHAPE[1]])
    for shift in ([0.3, 0], [0, 0.3], [-0.3, -0.3]):
        truth = Transform.from_matrix([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]], SHAPE)
        for variance in (None, np.ones(SHAPE)):
            moved = resample_rows(image, truth, (0, 300), variance=variance).data
            assert abs(moved - image).max() < 10


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_uncertainty_is_that_of_the_noise(kernel):
    truth = Transform.from_matrix(turned(7.0, 2.3, -1.6, 1.1), SHAPE)
    error = np.linspace(1, 3, SHAPE[1]) * np.ones((SHAPE[0], 1))
    noise = np.random.default_rng(1).normal(0, error)
    image = CCDData(noise, unit="adu", uncertainty=StdDevUncertainty(error))
    result = apply_transform(image, truth, kernel=kernel)
    good = ~result.mask
    ratio = (result.data[good] / result.uncertainty.array[good]) ** 2
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    image.uncertainty = InverseVariance(error**-2)
    other = apply_transform(image, truth, kernel=kernel)
    np.testing.assert_allclose(other.uncertainty.array[good], result.uncertainty.array[good], 1e-5)


@pytest.mark.parametrize(("kernel", "reach"), [("bspline", 2), ("lanczos", 3), ("linear", 1)])
def test_bad_pixels_reach_no_farther_than_the_kernel(kernel, reach):
    truth = Transform.from_matrix([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], SHAPE)
    image = 100 + draw_stars(*star_grid(), SHAPE)
    spoiled = image.copy()
    spoiled[100, 100], spoiled[220, 220] = np.nan, 1e9
    mask = np.zeros(SHAPE, bool)
    mask[220, 220] = True
    clean = apply_transform(image, truth, kernel=kernel)
    result = apply_transform(CCDData(spoiled, unit="adu", mask=mask), truth, kernel=kernel)
    expected = np.zeros(SHAPE, bool)
    for place in (100, 220):
        expected[place - reach : place + reach, place - reach : place + reach] = True
    covered = np.isfinite(clean)
    assert (result.mask == (expected | ~covered)).all()
    good = ~result.mask
    np.testing.assert_allclose(result.data[good], clean[good], rtol=1e-4)


def test_adaptive_resampling_keeps_flux_where_pixels_become_larger():
    truth = Transform.from_matrix([[3, 0, 1.2], [0, 3, 0.7], [0, 0, 1]], (80, 90), (240, 270))
    rng = np.random.default_rng(3)
    x, y = np.full(12, 20.0) + 4 * np.arange(12), rng.uniform(20, 60, 12)
    image = draw_stars(*truth.to_image(x, y), np.full(12, 1e4), (240, 270))
    result = apply_transform(CCDData(image, unit="adu"), truth, kernel="adaptive")
    assert np.nansum(result.data) == pytest.approx(12e4, rel=5e-3)
    image[150, 150] = np.nan
    spoiled = apply_transform(image, truth, kernel="adaptive")
    assert 0 < np.isnan(spoiled).sum() - result.mask.sum() < 60
    error = CCDData(image, unit="adu", uncertainty=StdDevUncertainty(np.ones((240, 270))))
    with pytest.warns(AstroSRWarning, match="gives no uncertainty"):
        assert apply_transform(error, truth, kernel="adaptive").uncertainty is None


def test_outside_there_is_nothing():
    truth = Transform.from_matrix(turned(30.0), SHAPE)
    result = apply_transform(CCDData(np.ones(SHAPE), unit="adu"), truth)
    footprint = truth.footprint() == 1
    assert 0.5 < footprint.mean() < 0.95
    assert (np.isfinite(result.data) == footprint).all()
    assert (result.mask == ~footprint).all()
    np.testing.assert_allclose(result.data[footprint], 1, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bands_are_parts_of_the_whole(kernel):
    truth = Transform.from_matrix(turned(-11.0, 4.0, 9.0), SHAPE)
    image = np.random.default_rng(1).normal(1000, 10, SHAPE)
    image[50:60, 50:60] = np.nan
    whole = resample_rows(image, truth, (0, 300), kernel=kernel, variance=np.ones(SHAPE))
    for rows in ((0, 7), (130, 171), (260, 300)):
        low, high = rows_needed(truth, rows, kernel=kernel)
        assert high - low < 200
        band = resample_rows(
            image[low:high],
            truth,
            rows,
            first=low,
            kernel=kernel,
            variance=np.ones((high - low, 340)),
        )
        part = slice(*rows)
        assert (band.mask == whole.mask[part]).all()
        good = ~band.mask
        np.testing.assert_allclose(band.data[good], whole.data[part][good], rtol=3e-7)
        np.testing.assert_allclose(band.variance[good], whole.variance[part][good], rtol=1e-6)
    far = Transform.from_matrix([[1, 0, 0], [0, 1, 1000], [0, 0, 1]], SHAPE)
    assert rows_needed(far, (0, 10)) == (0, 0)
    assert resample_rows(image[:0], far, (0, 10)).mask.all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_whole_pixels_are_copied(kernel):
    image = np.random.default_rng(1).normal(0, 1, (40, 50)).astype(">f4")
    image[3, 4] = np.nan
    same = apply_transform(image, Transform.identity((40, 50)), kernel=kernel)
    np.testing.assert_array_equal(same, image)
    mirrored = Transform.from_matrix([[-1, 0, 49], [0, 1, 0], [0, 0, 1]], (40, 50))
    flipped = CCDData(image, unit="adu")
    result = apply_transform(flipped, mirrored, kernel=kernel)
    np.testing.assert_array_equal(result.data, image[:, ::-1])
    assert result.mask.sum() == 1


def test_header_and_colour_follow():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [10.0, 41.0], [20.0, 20.0], [-1e-3, 1e-3]
    own = wcs.deepcopy()
    own.wcs.crval = [11.0, 41.0]
    image = CCDData(np.ones((3, 40, 50)), unit="adu", wcs=own, meta=own.to_header())
    before = image.meta.copy()
    moved = Transform.from_matrix([[1, 0, 0.3], [0, 1, 0], [0, 0, 1]], (40, 50))
    result = apply_transform(image, moved, wcs=wcs)
    assert result.shape == (3, 40, 50)
    assert result.wcs.wcs.crval[0] == result.meta["CRVAL1"] == 10.0
    assert "registered (affine, bspline), moved -0.300 0.000 px" in str(result.meta["HISTORY"])
    assert image.meta == before


def test_what_cannot_be_resampled_is_said():
    moved = Transform.identity((40, 50))
    with pytest.raises(InputError, match=r"shape \(40, 51\); the transform is for \(40, 50\)"):
        apply_transform(np.ones((40, 51)), moved)
    with pytest.raises(InputError, match="kernel='cubic' is not known"):
        apply_transform(np.ones((40, 50)), moved, kernel="cubic")
    mosaic = CCDData(np.tile([[1.0, 9], [9, 4]], (20, 25)), unit="adu", meta={"BAYERPAT": "RGGB"})
    with pytest.raises(InputError, match="raw mosaic.*debayer"):
        apply_transform(mosaic, moved)


def test_nothing_swings_beside_saturated_stars():
    y, x = np.mgrid[:90, :100]
    stars = [(30.2, 40.3, 3e5), (70.4, 50.1, 3000.0)]
    image = sum(f * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2) for a, b, f in stars)
    image = np.minimum(image + 100.0, 5000.0)
    shifted = Transform.from_matrix([[1, 0, 0.5], [0, 1, 0.4], [0, 0, 1]], image.shape)
    bspline, linear = (apply_transform(image, shifted, kernel=k) for k in ("bspline", "linear"))
    inner = np.s_[5:-5, 5:-5]
    # The spline alone falls to 5 % of the plateau below the sky.
    assert bspline[inner].min() > 100 - 0.002 * 5000
    near = np.hypot(x - 29.7, y - 39.9) < 5
    np.testing.assert_allclose(bspline[near], linear[near])
    # The other star is as sharp as before.
    assert bspline[45:55, 65:75].max() > 1.1 * linear[45:55, 65:75].max()
