"""STARRED, the two-channel deconvolution, on the middle of a scene.

It needs the package starred-astro (GPL-3), of the extra "peers". STARRED models an image by stars,
whose number is given, and a rest that is sparse in wavelets, and takes a minute or more for 129 x
129 pixels: so the middle of each scene is compared. It is given the true PSF, the true noise, and
the true places and fluxes of all stars above a signal-to-noise ratio of 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import fft, ndimage

from benchmarks.truth.scene import Scene

__all__ = ["SIDE", "STRENGTHS", "TASK", "Cutout", "cut_out", "deconvolve", "middle", "narrow_psf"]

Array = NDArray[np.float64]
SIDE = 129  # odd, as the convolution wants an image and a PSF of one size, with a middle
TASK = "deconvolve"
STRENGTHS = ((1.0, 10.0), (3.0, 10.0), (10.0, 30.0))
"""Weights of the wavelets beyond the finest scale, and of the finest."""
_FWHM = 2.0  # of STARRED's result (pixels); wider targets are reached by smoothing
_LEAST_SNR = 5.0
_STEPS = 600
_POSITIVITY = 100.0
_SERSIC = ("amp", "R_sersic", "n_sersic", "center_x", "center_y", "e1", "e2")


class Cutout(NamedTuple):
    """The middle of a scene in units of its noise, sky at 0; places from the middle (pixels)."""

    observed: Array
    truth: Array
    variance: Array
    psf: Array
    x: Array
    y: Array
    flux: Array
    target_fwhm: float
    excluded: NDArray[np.bool_]


def cut_out(scene: Scene) -> Cutout:
    """Take the middle of a scene; of a colour image, the middle channel."""
    c = scene.sigma.size // 2
    sigma, poisson = np.atleast_1d(scene.sigma)[c], np.atleast_1d(scene.poisson)[c]
    clean = middle(scene, scene.truth_denoise)
    snr, flux = np.atleast_2d(scene.snr)[c], np.atleast_2d(scene.flux)[c]
    first = _first(scene)
    x, y = scene.x - first - SIDE // 2, scene.y - first - SIDE // 2
    near = (snr > _LEAST_SNR) & (np.maximum(np.abs(x), np.abs(y)) < SIDE / 2 + 1)
    psf = scene.psf if scene.psf.ndim == 2 else scene.psf[c]
    return Cutout(
        middle(scene, scene.observed),
        middle(scene, scene.truth(TASK)),
        1.0 + poisson / sigma * np.clip(clean, 0.0, None),
        psf,
        x[near],
        y[near],
        flux[near] / sigma,
        scene.target_fwhm(TASK),
        scene.excluded[first : first + SIDE, first : first + SIDE],
    )


def middle(scene: Scene, image: NDArray[np.floating]) -> Array:
    """Return the middle of an image of a scene less the background, in noise sigma."""
    planes, first = scene.excess(image).reshape(-1, *scene.excluded.shape), _first(scene)
    return planes[scene.sigma.size // 2, first : first + SIDE, first : first + SIDE]


def _first(scene: Scene) -> int:
    return (scene.observed.shape[-1] - SIDE) // 2


def narrow_psf(psf: Array, side: int = SIDE, fwhm: float = _FWHM) -> Array:
    """Return the PSF that makes the observed PSF of a Gaussian: the ratio of their spectra."""
    half, reach = psf.shape[-1] // 2, min(psf.shape[-1], side) // 2
    kept = slice(half - reach, half + reach + 1)
    framed = np.zeros((side, side))
    framed[: 2 * reach + 1, : 2 * reach + 1] = psf[kept, kept]
    transfer = fft.rfft2(np.roll(framed, (-reach, -reach), axis=(0, 1)))
    k = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :])
    gaussian = np.exp(-2.0 * (np.pi * k * fwhm * gaussian_fwhm_to_sigma) ** 2)
    ratio = transfer * gaussian / (gaussian**2 + 1e-6)
    narrow = np.roll(fft.irfft2(ratio, s=(side, side)), (side // 2, side // 2), axis=(0, 1))
    return narrow / narrow.sum()


def deconvolve(cutout: Cutout, strengths: tuple[float, float]) -> Array:
    """Run STARRED on a cut-out; return its image at the target PSF."""
    import matplotlib

    matplotlib.use("Agg")  # it draws a figure at every stage
    from starred.deconvolution.deconvolution import Deconv
    from starred.deconvolution.parameters import ParametersDeconv
    from starred.procedures.deconvolution_routines import multi_steps_deconvolution

    narrow = narrow_psf(cutout.psf)[None]
    count, pixels, nothing = len(cutout.x), SIDE**2, np.zeros(1)
    model = Deconv(
        SIDE, count, 1.0, upsampling_factor=1, epochs=1, psf=narrow, gaussian_fwhm=int(_FWHM)
    )
    sersic: dict[str, Any] = {name: [] for name in _SERSIC}
    still = {"dx": nothing, "dy": nothing, "alpha": nothing}
    places = {"c_x": cutout.x, "c_y": cutout.y, "a": cutout.flux}

    def settings(analytic: dict[str, Any], background: dict[str, Any]) -> dict[str, Any]:
        return {
            "kwargs_analytic": analytic,
            "kwargs_background": background,
            "kwargs_sersic": sersic,
        }

    def bounds(sign: int) -> dict[str, Any]:
        most = [sign * 1e9] * pixels
        analytic = {
            "c_x": list(cutout.x + sign),
            "c_y": list(cutout.y + sign),
            "a": list(cutout.flux * (10 if sign > 0 else 0)),
            "dx": [sign],
            "dy": [sign],
            "alpha": [sign],
        }
        return settings(analytic, {"h": most, "mean": most[:1]})

    parameters = ParametersDeconv(
        settings(places | still, {"h": np.zeros(pixels), "mean": nothing}),
        settings(still, {"mean": nothing}),
        kwargs_up=bounds(1),
        kwargs_down=bounds(-1),
    )
    schedule = {"max_iterations": _STEPS, "schedule_learning_rate": True, "progress_bar": False}
    found = multi_steps_deconvolution(
        cutout.observed[None],
        model,
        parameters,
        cutout.variance[None],
        narrow,
        1,
        fitting_sequence=[["background"], ["pts-source-astrometry"], []],
        optim_list=["l-bfgs-b", "adabelief", "adabelief"],
        kwargs_optim_list=[
            {"maxiter": 100},
            schedule | {"init_learning_rate": 0.3, "restart_from_init": False},
            schedule | {"init_learning_rate": 0.01},
        ],
        lambda_scales=strengths[0],
        lambda_hf=strengths[1],
        lambda_positivity_bkg=_POSITIVITY,
        verbose=False,
    )[3][-1]
    image = np.asarray(model.getDeconvolved(found, 0)[0], np.float64)
    wider = cutout.target_fwhm**2 - _FWHM**2
    return (
        ndimage.gaussian_filter(image, np.sqrt(wider) * gaussian_fwhm_to_sigma)
        if wider > 0
        else image
    )
