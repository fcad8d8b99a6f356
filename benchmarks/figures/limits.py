"""The least errors that noise allows at stars, and the errors of a result there.

Of the image: the posterior mean of ``asinh(I / 3 sigma)`` of a star that may be there or not, with
the true PSF, and as the prior the density and the fluxes of a kind of scene. No estimator has a
smaller mean square error over the stars of that scene. Of flux and place: the Cramer-Rao bound. Of
whole scenes of stars: the first, summed over stars as the scene has them (above a signal-to-noise
ratio of 25 by the bound of Cramer and Rao), galaxies and blends taken for free.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sep
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from astro_sr_plugin.metrics import aperture_photometry
from benchmarks.truth.isolated_stars import SNRS, STAR_FIELD, Field, make_stars
from benchmarks.truth.rendering import draw_profile, gaussian, moffat
from benchmarks.truth.scene import Scene

__all__ = ["FINEST_SNR", "WITHIN", "BayesLimit", "cramer_rao", "star_errors"]

Array = NDArray[np.float64]

_REACH = 0.78  # FWHM; how far from the middle of its stamp a star may stand
_LEVELS = 32  # fluxes that are summed over
FINEST_SNR = 25.0
"""Signal-to-noise ratio from which places are too sharp to be summed over."""
_AROUND = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # steps (y, x) of the derivatives
WITHIN = 1.2
"""FWHM around a star within which errors count."""


def cramer_rao(psf: Array) -> tuple[float, float]:
    """Return the least error of the flux, and of the place times the flux, at noise 1."""
    slope = np.gradient(psf, axis=1)
    return float((psf**2).sum() ** -0.5), float((slope**2).sum() ** -0.5)


@dataclass(frozen=True)
class BayesLimit:
    """The least mean square error of ``asinh(I / 3 sigma)`` of a task, star by star."""

    task: str
    field: Field = STAR_FIELD

    @cached_property
    def _moves(self) -> NDArray[np.int_]:
        """Offsets of the places along an axis, in steps."""
        count = round(_REACH * self.field.fwhm * self.field.steps)
        return np.arange(-count, count + 1)

    @cached_property
    def _bank(self) -> Array:
        """Stars at all offsets, shape (places, pixels), flux 1."""
        fine = self.field.steps
        half = self.field.stamp * fine + self._moves[-1]
        psf = moffat(self.field.fwhm, self.field.beta)
        image = draw_profile(psf, half, step=1 / fine)
        pixels = np.arange(-self.field.stamp, self.field.stamp + 1) * fine
        n = self._moves.size
        rows = (half + pixels[None, :] - self._moves[:, None]).ravel()
        block = image[np.ix_(rows, rows)].reshape(n, pixels.size, n, pixels.size)
        return block.transpose(0, 2, 1, 3).reshape(n**2, pixels.size**2)

    @cached_property
    def _power(self) -> Array:
        """Sums of the squares of the stars of the bank, shape (places, places)."""
        n = self._moves.size
        return np.asarray((self._bank**2).sum(axis=1).reshape(n, n))

    @cached_property
    def _levels(self) -> tuple[Array, Array]:
        """Fluxes in sky sigma, and how many stars of each are expected at a place."""
        snr = np.geomspace(self.field.snr[0], 4 * FINEST_SNR, _LEVELS)
        number = self.field.share(snr) * snr * np.log(snr[1] / snr[0])
        number *= self.field.density / self.field.steps**2
        return np.asarray(self.field.flux(snr)), number

    @cached_property
    def _shape(self) -> Array:
        """The result's profile in steps, at least as far as the window from every place."""
        fwhm, fine = self.field.fwhm, self.field.steps
        reach = round((_window(fwhm) + 0.5) * fine) + self._moves[-1]
        if self.task == "denoise":
            return draw_profile(moffat(fwhm, self.field.beta), reach, step=1 / fine)
        target = max(2.0, fwhm / 2) if self.task == "deconvolve" else max(2.0, fwhm) / 2
        return draw_profile(gaussian(target), reach, step=1 / fine, pixel=0.0)

    @cached_property
    def _profiles(self) -> list[Array]:
        return [np.arcsinh(flux * self._shape / 3) for flux in self._levels[0]]

    def mean_square(self, scene: Scene, count: int) -> float:
        """Return the mean square error at the first ``count`` stars of a scene of `make_stars`."""
        sigma = float(scene.sigma)
        data = (scene.observed - scene.background) / sigma
        errors = []
        own, half = _wanted(scene), self.field.stamp
        for x, y in zip(scene.x[own][:count], scene.y[own][:count], strict=True):
            column, row = round(float(x)), round(float(y))
            window = np.s_[row - half : row + half + 1, column - half : column + half + 1]
            estimate = self._posterior_mean(data[window])
            errors.append(_square_error(estimate, scene, self.task, x, y, (column, row)))
        return float(np.mean(errors))

    def bright_mean_square(self, snr: float) -> float:
        """Return the mean square error at stars whose flux and place have normal errors.

        They are those of Cramer and Rao, carried on to the image; the mean over places in a pixel.
        """
        flux = float(self.field.flux(snr))
        fine, n = self.field.steps, self._moves.size
        bank = self._bank.reshape(n, n, -1)
        offsets = _output_offsets(self.task, self.field.fwhm)
        pixels = np.round(offsets * fine).astype(int) + self._shape.shape[0] // 2
        errors = []
        for row, column in itertools.product((-fine // 3, 0, fine // 3), repeat=2):
            y, x = n // 2 + row, n // 2 + column
            # The star as seen and as shown, there and a step further along both axes.
            seen = [bank[y + v, x + u] for v, u in _AROUND]
            shown = [self._shape[np.ix_(pixels - row - v, pixels - column - u)] for v, u in _AROUND]
            of_data, of_image = (_derivatives(flux, images, fine) for images in (seen, shown))
            covariance = np.linalg.inv(of_data @ of_data.T)
            of_image /= np.sqrt(9.0 + (flux * shown[0].ravel()) ** 2)
            variance = np.einsum("ip,ij,jp->p", of_image, covariance, of_image)
            near = (
                np.hypot((offsets - row / fine)[:, None], (offsets - column / fine)[None, :])
                < WITHIN * self.field.fwhm
            )
            errors.append(float(variance[near.ravel()].mean()))
        return float(np.mean(errors))

    def scene_db(self, stars: int, *, side: int = 480, seed: int = 1) -> float:
        """Return the dB that no method can exceed on a scene of this field, on average.

        Stars are as far apart as need be, and only within 1.2 FWHM of them errors are counted.
        """
        least, most = self.field.snr
        ratios = np.array([least, *(snr for snr in SNRS if least < snr <= FINEST_SNR)])
        scenes = (make_stars(snr, field=self.field, side=side, seed=seed) for snr in ratios)
        errors = [self.mean_square(scene, stars) for scene in scenes]
        bright = np.geomspace(1.2 * FINEST_SNR, most, 20)
        errors += [self.bright_mean_square(snr) for snr in bright]
        snr = np.geomspace(least, most, 1000)
        ratios = np.concatenate([ratios, bright])
        square = np.exp(np.interp(np.log(snr), np.log(ratios), np.log(errors)))
        area = np.pi * (WITHIN * self.field.fwhm) ** 2
        total = np.trapezoid(square * self.field.share(snr), snr)
        return float(-10 * np.log10(total * area * self.field.density))

    def _posterior_mean(self, data: Array) -> Array:
        fluxes, prior = self._levels
        n = self._moves.size
        match = (self._bank @ data.ravel()).reshape(n, n)
        weights = [
            p * np.exp(f * match - 0.5 * f**2 * self._power)
            for f, p in zip(fluxes, prior, strict=True)
        ]
        total = 1.0 + sum(float(w.sum()) for w in weights)
        # A sum over places is the convolution of their weights with the profile, and only the
        # pixels of the output are wanted of it.
        parts = [
            fftconvolve(w / total, profile)
            for w, profile in zip(weights, self._profiles, strict=True)
            if w.sum() > 1e-6 * total
        ]
        side = n + self._profiles[0].shape[0] - 1
        fine = np.sum(parts, axis=0) if parts else np.zeros((side, side))
        offsets = _output_offsets(self.task, self.field.fwhm)
        places = np.round(offsets * self.field.steps).astype(int) + side // 2
        return fine[np.ix_(places, places)]


def _derivatives(flux: float, images: list[Array], fine: int) -> Array:
    """Return the derivatives (3, pixels) of a star by flux and place from images of `_AROUND`."""
    here, below, above, left, right = (image.ravel() for image in images)
    return np.stack([here, flux * (above - below) * fine / 2, flux * (right - left) * fine / 2])


def _wanted(scene: Scene) -> slice:
    """Return which stars are not those of the bright row."""
    return slice(math.isqrt(scene.x.size), None)


def _window(fwhm: float) -> int:
    """Pixels of the input on each side of a star in which errors are looked for."""
    return int(np.ceil(WITHIN * fwhm)) + 1


def _output_offsets(task: str, fwhm: float) -> Array:
    """Offsets of the pixels of the output from the middle of an input pixel, in input pixels."""
    window = _window(fwhm)
    if task == "super-resolve":
        return np.arange(-2 * window, 2 * window) * 0.5 + 0.25
    return np.arange(-window, window + 1) * 1.0


def _square_error(
    estimate: Array | None,
    scene: Scene,
    task: str,
    x: float,
    y: float,
    at: tuple[int, int],
    output: Array | None = None,
) -> float:
    """Return the mean square error of the asinh image near a star.

    The estimate is given on the pixels around ``at``, or cut out of ``output``.
    """
    offsets = _output_offsets(task, scene.fwhm)
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    columns, rows = (np.round((at[k] + offsets + 0.5) * scale - 0.5).astype(int) for k in range(2))
    area = np.ix_(rows, columns)
    sigma = float(scene.sigma)
    if estimate is None:
        assert output is not None
        estimate = np.arcsinh((output[area] - background[area]) / (3 * sigma))
    truth = np.arcsinh((scene.truth(task)[area] - background[area]) / (3 * sigma))
    distance = np.hypot((at[1] + offsets - y)[:, None], (at[0] + offsets - x)[None, :])
    return float(((estimate - truth) ** 2)[distance < WITHIN * scene.fwhm].mean())


def star_errors(scene: Scene, task: str, output: Array) -> dict[str, float]:
    """Return the errors of the image, of flux and of place at all stars of `make_stars`."""
    own = _wanted(scene)
    places_x, places_y, true_flux = scene.x[own], scene.y[own], scene.flux[own]
    errors = [
        _square_error(
            None, scene, task, x, y, (round(float(x)), round(float(y))), np.asarray(output, float)
        )
        for x, y in zip(places_x, places_y, strict=True)
    ]
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    target = scene.target_fwhm(task)
    u, v = (places_x + 0.5) * scale - 0.5, (places_y + 0.5) * scale - 0.5
    places = np.column_stack([u, v])

    def fluxes(image: NDArray[Any]) -> Array:
        return np.asarray(aperture_photometry(image, places, radius=1.5 * target).flux, float)

    image = np.ascontiguousarray(output - background, dtype=np.float64)
    flux = true_flux * fluxes(image) / fluxes(scene.truth(task) - background)
    found_x, found_y, _ = sep.winpos(image, u, v, target * gaussian_fwhm_to_sigma)
    shift = np.concatenate([found_x - u, found_y - v]) / scale
    return {
        "mean_square": float(np.mean(errors)),
        "flux_bias": float(np.median(flux / true_flux) - 1),
        "flux_error": _spread(flux) / float(scene.sigma),
        "place_error": _spread(shift[np.isfinite(shift)]),
    }


def _spread(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
