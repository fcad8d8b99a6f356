"""The star shape against stars rendered by GalSim."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.measuring import measure
from astro_sr_plugin.measurement.psf.fitting import fit_moffat
from astro_sr_plugin.measurement.psf.moffat import measure_moffat
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp

WIDTHS = [1.5, 2.0, 3.0, 4.5, 6.0, 8.0]


def shape_for(fwhm: float) -> tuple[int, int]:
    return (360, 360) if fwhm < 4 else (560, 560)


def clouds(seed: int, side: int, width: float, rms: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side))
    smooth = gaussian_filter(noise, width, mode="wrap")
    return smooth * (rms / smooth.std())


@pytest.mark.parametrize("fwhm", WIDTHS)
@pytest.mark.parametrize("kind", [2.5, 3.5, 5.0, "gaussian", "kolmogorov"])
def test_fwhm_and_beta(field, fwhm: float, kind: float | str) -> None:
    psf = measure_moffat(field(1, fwhm, kind=kind, shape=shape_for(fwhm), stars=26))
    assert psf.fwhm == pytest.approx(fwhm, rel=0.03)
    assert psf.ellipticity < 0.03
    assert psf.n_stars >= 12
    assert psf.confidence in ("high", "medium")
    assert psf.fwhm_error < 0.05 * fwhm
    if isinstance(kind, float):
        assert 1 / psf.beta == pytest.approx(1 / kind, abs=0.04)
    elif kind == "gaussian":
        assert psf.beta > 8


@pytest.mark.parametrize("fwhm", [1.8, 3.0, 6.0])
def test_ellipticity_and_angle(field, fwhm: float) -> None:
    plane = field(2, fwhm, shape=shape_for(fwhm), ellipticity=0.3, theta=0.6)
    psf = measure_moffat(plane)
    assert psf.fwhm == pytest.approx(fwhm, rel=0.03)
    assert psf.ellipticity == pytest.approx(0.3, abs=0.03)
    assert psf.theta == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("fwhm", [1.6, 3.0, 6.0])
def test_among_galaxies(field, fwhm: float) -> None:
    psf = measure_moffat(field(3, fwhm, shape=shape_for(fwhm), galaxies=40))
    assert psf.fwhm == pytest.approx(fwhm, rel=0.03)


@pytest.mark.parametrize("fwhm", [2.1, 3.0])
def test_a_deep_field_of_galaxies_with_few_stars(field, fwhm: float) -> None:
    """The stars are the narrowest sources; the galaxies share no size."""
    rng = np.random.default_rng(2)
    image = field(5, fwhm, shape=(600, 600), stars=6, snr=(60.0, 800.0))
    for radius in fwhm * np.exp(rng.uniform(np.log(0.5), np.log(6), 60)):
        galaxy = galsim.Exponential(half_light_radius=radius)
        seen = galsim.Convolve(galaxy, galsim.Moffat(beta=3.5, fwhm=fwhm))
        flux = radius * fwhm * rng.uniform(60, 600)
        stamp = (seen * flux).drawImage(nx=81, ny=81, scale=1).array
        x, y = rng.integers(0, 519, 2)
        image[y : y + 81, x : x + 81] += stamp
    psf = measure_moffat(image)
    assert psf.fwhm == pytest.approx(fwhm, rel=0.1)
    assert psf.confidence == "low"


def test_bright_stars_among_many_small_galaxies(field) -> None:
    """The galaxies are many, faint, and of about the same size; the bright sources are stars."""
    rng = np.random.default_rng(4)
    image = field(6, 3.0, shape=(600, 600), stars=24, snr=(150.0, 900.0))
    for radius in np.exp(rng.normal(np.log(2.0), 0.3, 160)):
        galaxy = galsim.Exponential(half_light_radius=radius)
        seen = galsim.Convolve(galaxy, galsim.Moffat(beta=3.5, fwhm=3.0))
        stamp = (seen * (rng.uniform(20, 70) * 3.5 * np.hypot(3.0, radius))).drawImage(
            nx=61, ny=61, scale=1
        )
        x, y = rng.integers(0, 539, 2)
        image[y : y + 61, x : x + 61] += stamp.array
    psf = measure_moffat(image)
    assert psf.fwhm == pytest.approx(3.0, rel=0.05)
    assert psf.confidence != "low"


@pytest.mark.parametrize("kind", ["bilinear", "bayer stack", "drizzle"])
@pytest.mark.parametrize("fwhm", [2.0, 4.5])
def test_in_correlated_noise(field, noise_of, fwhm: float, kind: str) -> None:
    shape = shape_for(fwhm)
    psf = measure_moffat(field(4, fwhm, shape=shape, noise=noise_of(kind, shape)))
    assert psf.fwhm == pytest.approx(fwhm, rel=0.03)


def test_twenty_stars(field) -> None:
    psf = measure_moffat(field(5, 2.7, stars=20))
    assert psf.fwhm == pytest.approx(2.7, rel=0.03)


def test_hot_pixels_and_cosmic_rays(field) -> None:
    plane = field(6, 2.2)
    rng = np.random.default_rng(6)
    plane[tuple(rng.integers(0, 420, (2, 400)))] += rng.uniform(20, 500, 400)
    for y, x in rng.integers(20, 400, (40, 2)):
        plane[y, x : x + rng.integers(2, 12)] += 200
    assert measure_moffat(plane).fwhm == pytest.approx(2.2, rel=0.03)


def test_saturated_stars_are_not_used(field) -> None:
    plane = np.minimum(field(7, 3.0, stars=60, snr=(30, 50_000)), 900)
    assert measure_moffat(plane).fwhm == pytest.approx(3, rel=0.03)
    assert measure_moffat(plane, saturation=899).fwhm == pytest.approx(3, rel=0.03)


def test_stars_in_front_of_a_nebula(field, nebula) -> None:
    plane = field(8, 3.0, shape=(600, 600), snr=(50, 2000)) + nebula((600, 600), 20, 3.0)
    psf = measure_moffat(plane)
    assert psf.fwhm == pytest.approx(3, rel=0.05)
    assert psf.n_stars >= 3


def test_confidence_falls_with_the_number_of_stars(field) -> None:
    values = []
    for stars in (40, 8, 2, 1):
        psf = measure_moffat(field(9, 3.0, stars=stars, snr=(60, 300)))
        assert psf.fwhm == pytest.approx(3, rel=0.1)
        values.append(psf.confidence_value)
    assert values == sorted(values, reverse=True)
    assert measure_moffat(field(9, 3.0, stars=1, snr=(60, 300))).confidence == "low"


def test_no_stars(field, nebula, noise_of) -> None:
    blank = measure_moffat(noise_of("white", (300, 300)))
    assert np.isnan(blank.fwhm)
    assert (blank.n_stars, blank.confidence, blank.confidence_value) == (0, "none", 0)
    assert measure_moffat(np.full((100, 100), 4.0)).confidence == "none"
    for plane in (
        nebula((400, 400), 50, 3.5) + noise_of("white", (400, 400)),
        field(10, 3.0, stars=0, galaxies=60),
    ):
        assert measure_moffat(plane).confidence in ("none", "low")


def test_one_saturated_star() -> None:
    y, x = np.mgrid[:300, :300]
    star = 1e6 * (1 + 0.1 * ((y - 140.3) ** 2 + (x - 150.8) ** 2)) ** -3.0
    plane = np.minimum(star, 20_000) + np.random.default_rng(1).normal(0, 3, star.shape)
    assert measure_moffat(plane).confidence in ("none", "low")


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (9, 9), (20, 300)])
def test_small_planes(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).normal(0, 1, shape)
    assert measure_moffat(plane).confidence == "none"


def test_units_and_unusable_pixels(field) -> None:
    plane = field(11, 3.0)
    reference = measure_moffat(plane)
    scaled = measure_moffat((plane * 1e-9).astype(">f4"))
    assert scaled.fwhm == pytest.approx(reference.fwhm, rel=0.01)
    plane[:, :120] = np.nan
    plane[::9] = np.nan
    assert measure_moffat(plane).fwhm == pytest.approx(3, rel=0.03)


def test_grid(field) -> None:
    sharp, soft = field(12, 2.5, stars=40), field(13, 3.5, stars=40)
    (grid,) = measure(np.hstack([sharp, soft]), psf_grid=(1, 2)).psf_grid
    assert grid.fwhm.shape == (1, 2)
    np.testing.assert_allclose(grid.fwhm, [[2.5, 3.5]], rtol=0.06)
    assert (grid.n_stars > 5).all()
    (empty,) = measure(np.zeros((50, 50)), psf_grid=(2, 3)).psf_grid
    assert np.isnan(empty.fwhm).all()
    with pytest.raises(InputError, match="grid"):
        measure(sharp, psf_grid=(0, 2))


def test_the_residual_fraction_separates_rings_from_stars(field) -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[-15:16, -15:16]
    radius = np.hypot(x, y)
    ring = galsim.Image(((radius < 3.2) & (radius > 1.2)).astype(float), scale=1)
    shape = galsim.InterpolatedImage(ring).withFlux(1)
    seen = galsim.Convolve(shape, galsim.Gaussian(fwhm=1.8))
    image = 100 + rng.normal(0, 1, (400, 400))
    for flux in np.exp(rng.uniform(np.log(300), np.log(2500), 40)):
        column, row = rng.integers(0, 359, 2)
        image[row : row + 41, column : column + 41] += (
            (seen * flux).drawImage(nx=41, ny=41, scale=1).array
        )
    assert measure_moffat(image).residual_fraction > 0.25
    for kind in (2.5, 3.5, "gaussian", "kolmogorov"):
        assert measure_moffat(field(6, 3.5, kind=kind)).residual_fraction < 0.13


def test_few_stars_over_a_nebula_are_not_taken_at_their_word(field) -> None:
    """The error that is told covers what the nebula does to the shape, and beta stays sane."""
    pulls, betas = [], []
    for seed in range(8):
        plane = field(seed, 3.5, kind=3.5, shape=(300, 300), stars=12)
        psf = measure_moffat(plane + clouds(seed, 300, 15, 6))
        if psf.n_stars >= 3:
            pulls.append((psf.fwhm - 3.5) / psf.fwhm_error)
            betas.append(1 / psf.beta)
    assert len(pulls) >= 5
    assert np.sqrt(np.mean(np.square(pulls))) < 2
    assert np.abs(np.array(betas) - 1 / 3.5).max() < 0.12


def test_crests_of_a_nebula_are_no_wings_of_stars(field) -> None:
    """Stars on clouds of twice their own width have the beta and the FWHM of stars on dark sky."""
    widths, betas = [], []
    for seed in range(5):
        plane = field(seed, 3.5, kind=4.5, shape=(400, 400), stars=20, snr=(40.0, 1000.0))
        psf = measure_moffat(plane + clouds(seed, 400, 10, 12))
        if psf.n_stars >= 3:
            widths.append(psf.fwhm / 3.5)
            betas.append(1 / psf.beta)
    assert len(widths) >= 3
    assert np.abs(np.array(widths) - 1).max() < 0.02
    assert np.abs(np.array(betas) - 1 / 4.5).max() < 0.06


def test_few_sources_with_the_wings_of_galaxies_are_not_taken_at_their_word(noise_of) -> None:
    """Where each group of them wants the broadest wings that are allowed, beta is a usual one."""
    plane = noise_of("white", (260, 260))
    for column, row, snr in ((60, 70, 200), (190, 60, 120), (70, 180, 300), (200, 190, 90)):
        near = np.s_[row - 50 : row + 51, column - 50 : column + 51]
        plane[near] += 10 * snr * moffat_stamp(MoffatProfile(2.0, 1.15, 0.0, 0.0), 0.2, 0.3, 50)
    psf = measure_moffat(plane)
    assert 3 <= psf.n_stars <= 4
    assert 2 < psf.beta < 5


def test_a_fit_with_a_curved_sky_is_exact_on_one() -> None:
    y, x = np.mgrid[-9:10, -9:10].astype(float)
    star = galsim.Moffat(beta=3.0, fwhm=3.0, flux=1e4).shift(0.3, -0.2)
    stamp = star.drawImage(nx=19, ny=19, scale=1).array.astype(float)
    stamp += 20 + x - 2 * y + 0.2 * x**2 - 0.1 * x * y + 0.05 * y**2
    usable = np.ones((1, 19, 19), dtype=bool)
    flat, curved = (
        fit_moffat(stamp[None], usable, sigma=1.0, fwhm=3.5, curved_sky=sky)
        for sky in (False, True)
    )
    assert curved.fwhm[0] == pytest.approx(3.0, rel=2e-3)
    assert curved.beta[0] == pytest.approx(3.0, rel=1e-2)
    assert (curved.x[0] - 9, curved.y[0] - 9) == pytest.approx((0.3, -0.2), abs=2e-3)
    assert abs(flat.beta[0] - 3.0) > 0.3
