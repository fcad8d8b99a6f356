"""Measure stars by PSF photometry with the measured PSF, and on the sharpened image, and compare.

The field is simulated, so that the true magnitudes are known too.
"""

from __future__ import annotations

import numpy as np
from astropy.modeling import Model
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.typing import NDArray
from photutils.datasets import make_model_image
from photutils.psf import CircularGaussianPSF, MoffatPSF, PSFPhotometry

import astro_sr_plugin as asr

SIZE, SKY, READNOISE, GAIN = 320, 200.0, 5.0, 2.0
FWHM, BETA = 4.0, 3.0
# Beside the noise of the input, each star carries that of the restoration: see "Measured figures".
RESTORATION = 0.03

rng = np.random.default_rng(1)
x, y = (grid.ravel() + rng.uniform(-6, 6, 49) for grid in np.mgrid[30:290:7j, 30:290:7j])
truth = QTable({"x_0": x, "y_0": y, "flux": 10 ** rng.uniform(3.3, 5, 49)})
moffat = MoffatPSF(alpha=FWHM / 2 / np.sqrt(2 ** (1 / BETA) - 1), beta=BETA)
light = make_model_image((SIZE, SIZE), moffat, truth, model_shape=(61, 61)) + SKY
pixels = rng.poisson(light * GAIN) / GAIN + rng.normal(0, READNOISE, light.shape)
error = np.sqrt(np.maximum(pixels, 1) / GAIN + READNOISE**2)

image = CCDData(pixels.astype(np.float32), unit="adu", meta={"GAIN": GAIN})
psf = asr.measure_psf(image)
sharp = asr.deconvolve(image)
# The stars of the result are Gaussians of this width, sampled at the centres of the pixels.
gaussian = CircularGaussianPSF(fwhm=sharp.meta["ASRFWHMO"])


def measure_stars(data: NDArray, psf: Model, size: int) -> QTable:
    """Fit the profile to every star; the sky is known here."""
    fit = PSFPhotometry(psf, (size, size), aperture_radius=5)
    return fit(data - SKY, error=error, init_params=QTable({"x": x, "y": y}))


before, after = measure_stars(pixels, psf, 11), measure_stars(sharp.data, gaussian, 7)
magnitude = {
    "input": -2.5 * np.log10(before["flux_fit"] / truth["flux"]),
    "sharp": -2.5 * np.log10(after["flux_fit"] / truth["flux"]),
}
difference = magnitude["sharp"] - magnitude["input"]
# As in any PSF photometry, the bright stars give the zero point (the aperture correction).
bright = truth["flux"] > 2e4
zero = np.median(difference[bright])
stated = np.hypot(1.0857 * before["flux_err"] / before["flux_fit"], RESTORATION)
pull = (difference - zero) / stated

print("    flux   input - true   sharp - input   stated error   (magnitudes)")
for i in np.argsort(-truth["flux"])[::6]:
    flux, error_in = truth["flux"][i], magnitude["input"][i]
    print(f"{flux:8.0f}  {error_in:+13.3f} {difference[i] - zero:+15.3f} {stated[i]:14.3f}")
print(
    f"zero point {zero:+.3f}; within one stated error {np.mean(np.abs(pull) < 1):.0%} of the stars"
)
# The measured PSF holds all of a star's light: it needs no aperture correction.
assert abs(np.median(magnitude["input"][bright])) < 0.01
assert abs(zero) < 0.1
assert np.mean(np.abs(pull) < 1) > 0.6
assert np.mean(np.abs(pull) < 3) > 0.95
