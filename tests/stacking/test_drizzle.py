"""Drizzle: flux at edges and at several scales, its noise, outliers, colours."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.nddata import CCDData
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from astro_sr_plugin.measurement.sky.noise import measure_noise

pytest.importorskip("drizzle")
SKY = 200.0


def dithered(field, number: int, *, noise: float, seed: int = 3, angle: float = 0.0):
    rng = np.random.default_rng(seed)
    shifts = [(0.0, 0.0), *rng.uniform(-2, 2, (number - 1, 2))]
    turns = [0.0, *rng.uniform(-angle, angle, number - 1)]
    return [
        field.render(fwhm=2.2, shift=shift, angle=turn) + SKY + rng.normal(0, noise, field.shape)
        for shift, turn in zip(shifts, turns, strict=True)
    ]


@pytest.mark.parametrize(("scale", "pixfrac"), [(1.0, 1.0), (1.5, 0.8), (2.0, 0.7)])
def test_flux_and_places_are_kept_at_every_scale(
    field, aperture_flux, scale: float, pixfrac: float
) -> None:
    frames = dithered(field, 4, noise=0.5)
    result = asr.stack(frames, reference=0, drizzle=scale, pixfrac=pixfrac)
    image = result.image.data
    assert image.shape == tuple(round(side * scale) for side in field.shape)
    x, y = (field.x + 0.5) * scale - 0.5, (field.y + 0.5) * scale - 0.5
    found = aperture_flux(image, x, y, 8 * scale) / scale**2
    single = aperture_flux(frames[0], field.x, field.y, 8)
    assert np.sum(found * single) / np.sum(single**2) == pytest.approx(1, abs=0.001)
    assert result.image.meta["DRIZSCAL"] == scale
    assert result.image.meta["PIXFRAC"] == pixfrac


def test_stars_near_the_edges_keep_their_flux(field, aperture_flux) -> None:
    """Strips of the frames meet in the field, and the frames end at its edge."""
    ny, nx = field.shape
    x = np.array([7.0, nx - 8, 60, 140, 200, 100])
    y = np.array([60.0, 100, 7, ny - 8, 127.6, 128.3])
    full = type(field)(
        np.concatenate([field.x, x]),
        np.concatenate([field.y, y]),
        np.concatenate([np.full(field.x.size, 3000.0), np.full(6, 40000.0)]),
        field.shape,
    )
    clean = full.render(fwhm=2.2) + SKY
    rng = np.random.default_rng(1)
    frames = [clean + rng.normal(0, 0.5, clean.shape) for _ in range(3)]
    with pytest.warns(AstroSRWarning, match=r"no finer detail.* not dithered"):
        result = asr.stack(frames, align=False, drizzle=2, pixfrac=1.0)
    found = aperture_flux(result.image.data, 2 * x + 0.5, 2 * y + 0.5, 12) / 4
    np.testing.assert_allclose(found, aperture_flux(clean, x, y, 6), rtol=0.001)


def test_the_noise_of_large_areas_is_predicted(field) -> None:
    rng = np.random.default_rng(5)
    few = type(field)(field.x, field.y, np.full(field.x.size, 4000.0), field.shape)
    shifts = [(0.5 * (k % 4), 0.5 * (k // 4)) for k in range(16)]
    shifts = [tuple(np.array(s) + rng.uniform(0, 0.5, 2)) for s in shifts]
    frames = [few.render(shift=shift) + SKY + rng.normal(0, 5, field.shape) for shift in shifts]
    with pytest.warns(AstroSRWarning, match="no finer detail.* well sampled"):
        result = asr.stack(frames, reference=0, drizzle=2, pixfrac=0.7, normalise="none")
    inside = result.image.data[16:-16, 16:-16] - SKY
    light = np.kron(few.render(shift=shifts[0]), np.ones((2, 2)))[16:-16, 16:-16]
    residual = np.where(light < 0.05, inside, np.nan)
    pixel = np.nanstd(residual)
    assert pixel == pytest.approx(np.mean(result.image.uncertainty.array[16:-16, 16:-16]), rel=0.03)
    side = 12
    ny, nx = (n // side for n in residual.shape)
    blocks = residual[: ny * side, : nx * side].reshape(ny, side, nx, side).mean(axis=(1, 3))
    measured = np.nanstd(blocks) * side / pixel
    assert measured == pytest.approx(result.image.meta["NOISCORR"], rel=0.05)
    # For many dithers (Casertano et al. 2000, AJ 120, 2747).
    assert measured == pytest.approx(1.8375, rel=0.1)
    beside = np.nanmean(residual[:, 1:] * residual[:, :-1]) / pixel**2
    (plane,) = asr.measure(result.image).planes
    guessed = measure_noise(result.image.data)
    stated = plane.noise
    assert stated.correlation == result.image.meta["NOISLAG1"] != guessed.correlation
    assert abs(stated.correlation - beside) <= abs(guessed.correlation - beside) + 0.01
    # Noise that came later is measured.
    changed = result.image.data + rng.normal(0, 20, result.image.shape)
    later = CCDData(changed, unit="adu", meta=result.image.meta.copy())
    assert asr.measure(later).planes[0].noise.correlation < 0.1


def test_outliers_are_left_out_in_the_pixels_of_the_frames(field) -> None:
    frames = dithered(field, 5, noise=5)
    clean = asr.stack(frames, reference=0, drizzle=2).image
    rng = np.random.default_rng(2)
    spoilt = [frame.copy() for frame in frames]
    for frame in spoilt:
        frame[rng.integers(0, 200, 60), rng.integers(0, 220, 60)] += 400
    result = asr.stack(spoilt, reference=0, drizzle=2).image
    faint = clean.data < SKY + 15
    assert np.abs(result.data - clean.data)[faint].max() < 6 * np.nanmean(clean.uncertainty.array)


@pytest.mark.parametrize(
    ("cards", "height"),
    [
        ({"BAYERPAT": "RGGB"}, 110),
        ({"BAYERPAT": "GBRG", "ROWORDER": "BOTTOM-UP"}, 110),
        ({"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"}, 109),
    ],
)
def test_colours_of_a_mosaic_stay_apart(field, cards: dict, height: int) -> None:
    """The first pixel is red, which the header says in several ways."""
    frames = []
    for frame in dithered(field, 12, noise=5):
        raw = frame[:height, :120].astype(np.float32)
        raw[::2, 1::2] += 60
        raw[1::2, ::2] += 60
        raw[::2, ::2] += 500
        frames.append(CCDData(raw, unit="adu", meta=Header(cards)))
    result = asr.stack(frames, reference=0, drizzle=2, pixfrac=1)
    assert result.image.shape == (3, 2 * height, 240)
    inside = result.image.data[:, 20:-20, 20:-20]
    assert np.isfinite(inside).mean() > 0.99
    red, green, blue = np.nanmedian(inside, axis=(1, 2))
    assert (red, green, blue) == (
        pytest.approx(SKY + 500, abs=3),
        pytest.approx(SKY + 60, abs=3),
        pytest.approx(SKY, abs=3),
    )


def test_world_coordinates_are_those_of_the_finer_grid(field) -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10, 20], [110, 100]
    wcs.wcs.cdelt = [-2e-4, 2e-4]
    frames = [
        CCDData(frame, unit="adu", wcs=wcs, meta=wcs.to_header())
        for frame in dithered(field, 1, noise=5) * 3
    ]
    with pytest.warns(AstroSRWarning, match="not dithered"):
        result = asr.stack(frames, align=False, drizzle=2).image
    here = result.wcs.pixel_to_world_values(2 * 30 + 0.5, 2 * 40 + 0.5)
    np.testing.assert_allclose(here, wcs.pixel_to_world_values(30, 40), atol=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"drizzle": 0.5}, "drizzle=0.5 is out of range"),
        ({"drizzle": 2, "pixfrac": 0}, "pixfrac=0 is out of range"),
        ({"drizzle": 2, "drizzle_kernel": "lanczos3"}, "allowed are square"),
    ],
)
def test_unusable_choices_are_refused(options: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        asr.stack([np.ones((40, 40))] * 2, **options)
