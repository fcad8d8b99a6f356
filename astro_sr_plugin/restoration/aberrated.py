"""PSFs that reverse the contrast of fine detail: Richardson-Lucy on a denoised image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.models.filters import filter_spectra, without_border
from astro_sr_plugin.models.spec import Conditions, Model, ModelSpec, RestoreTile
from astro_sr_plugin.restoration.frame import Frame, choose_model
from astro_sr_plugin.restoration.safer import richardson_lucy

__all__ = ["DenoisedRichardsonLucy", "fit_to_aberrations", "reversed_contrast"]

_MOST_REVERSED = 0.1
"""Part of the detail of the result that may come with reversed contrast. Coma, trefoil, trailing
and undersampled lenses have none; astigmatism of 0.25 and a defocus of 0.55 waves 0.23 and 0.21,
and networks fall behind there."""
_REVERSED = -0.05
"""Transfer below which the contrast is reversed, and not lost."""
_FINEST = 2.0
"""Least FWHM in input pixels of the detail that is looked at: finer detail is aliased."""
_GRID = 128
"""Least side in pixels of the grid on which the transfer is looked at."""
_RECORDED = 0.3
"""Least part of the image as recorded in what is deconvolved: the network may take faint rings of
stars for noise."""
_CLEAR = 20.0
"""Light in noise sigma from which most is taken as recorded: there the noise matters less than what
the network smooths."""
_AROUND = 1.0
"""Sigma in pixels of the Gaussian over which that light is taken."""
_ITERATIONS = 35
"""Number of accelerated iterations."""
_MARGIN = 8.0
"""Width in FWHM of the rim that each tile is deconvolved with."""


def reversed_contrast(psf: NDArray[np.floating], target_fwhm: float) -> float:
    """Return how much of the detail of a result the optics show with reversed contrast.

    Parameters
    ----------
    psf : ndarray
        PSF on its pixels, odd sides, centred.
    target_fwhm : float
        FWHM in the same pixels of the Gaussian PSF that is wanted.

    Returns
    -------
    float
        Part of the power of the wanted PSF, 0 to 1, at frequencies where the transfer function of
        the optics is negative ("spurious resolution").

    References
    ----------
    Goodman (2005), Introduction to Fourier Optics, 6.4.
    """
    n = max(_GRID, *psf.shape)
    transfer = filter_spectra(torch.from_numpy(np.asarray(psf)), (n, n)).real.numpy()
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]
    sigma = target_fwhm * gaussian_fwhm_to_sigma
    power = np.exp(-4 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    return float(power[transfer < _REVERSED * transfer[0, 0]].sum() / power.sum())


def fit_to_aberrations(
    frame: Frame, engine: Model, target_fwhm: float | None, *, uncertainty: bool = False
) -> Model:
    """Return what an image needs: the network, or where its PSF reverses contrast another way.

    Parameters
    ----------
    frame : Frame
        The image.
    engine : Model
        A network that sharpens.
    target_fwhm : float or None
        FWHM of the result in output pixels; None keeps the PSF.
    uncertainty : bool
        Whether it has to estimate its uncertainty.
    """
    scale = engine.spec.scale
    if target_fwhm is None:
        return engine
    finest = max(target_fwhm / scale, _FINEST)
    # A Moffat profile reverses nothing.
    images = [plane.psf.image for plane in frame.usable if plane.psf.image is not None]
    if not any(reversed_contrast(image, finest) > _MOST_REVERSED for image in images):
        return engine
    warn(
        "the optics reverse the contrast of fine detail (out of focus, or astigmatic): the image "
        "is denoised and deconvolved by Richardson-Lucy iterations instead of the network; name a "
        "model to overrule that"
    )
    if engine.spec.channels_in > 1:
        engine = choose_model(None, engine.spec.task, scale, uncertainty=uncertainty)
    return DenoisedRichardsonLucy(choose_model(None, "denoise"), engine, uncertainty)


@dataclass(frozen=True)
class DenoisedRichardsonLucy:
    """Take most of the noise away, then deconvolve by Richardson-Lucy iterations.

    Attributes
    ----------
    denoiser : Model
        A network that keeps the PSF.
    network : Model
        The network of single planes whose place it takes.
    uncertainty : bool
        Whether the uncertainty of that comes along, which is then no less than the noise.
    """

    denoiser: Model
    network: Model
    uncertainty: bool = False

    @property
    def spec(self) -> ModelSpec:
        """Declaration, with the digest of the denoiser."""
        inner, outer = self.denoiser.spec, self.network.spec
        return replace(
            outer,
            name="denoised-richardson-lucy",
            multiple_of=math.lcm(inner.multiple_of, outer.multiple_of),
            sha256=inner.sha256,
            size=inner.size,
        )

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends."""
        multiple = self.spec.multiple_of
        needed = self.denoiser.halo(_kept(conditions)) + math.ceil(_MARGIN * conditions.fwhm)
        return -(-max(needed, self.network.halo(conditions)) // multiple) * multiple

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that restores tiles of one image; the iterations run on the CPU."""
        kept, scale = _kept(conditions), self.spec.scale
        denoise = self.denoiser.prepare(kept, device, dtype)
        estimate = self.network.prepare(conditions, device, dtype) if self.uncertainty else None
        halo, inner = self.halo(conditions), self.denoiser.halo(kept)
        spare = halo - self.network.halo(conditions)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            clean = denoise(observed, mask, origin)
            recorded = without_border(observed, inner)
            sharp = np.stack(
                [
                    richardson_lucy(
                        _mixed(*planes),
                        conditions.psf,
                        conditions.target_fwhm,
                        scale,
                        iterations=_ITERATIONS,
                    )
                    for planes in zip(
                        *(x[:, 0].cpu().numpy() for x in (recorded, clean)), strict=True
                    )
                ]
            )
            result = torch.from_numpy(sharp)[:, None].to(observed.device)
            result = without_border(result, (halo - inner) * scale)
            if estimate is None:
                return result
            near = without_border(observed, spare), without_border(mask, spare)
            found = estimate(*near, (origin[0] + spare, origin[1] + spare))
            return torch.cat([result, found[:, 1:].clamp_min(1.0)], dim=1)

        return restore


def _mixed(recorded: NDArray[np.float32], clean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix an image with its denoised one, both in noise sigma: the brighter, the more of it."""
    square = gaussian_filter(clean.clip(min=0.0), _AROUND) ** 2
    part = _RECORDED + (1 - _RECORDED) * square / (square + np.float32(_CLEAR) ** 2)
    return np.asarray(clean + part * (recorded - clean), np.float32)


def _kept(conditions: Conditions) -> Conditions:
    """Return the conditions of a model that keeps the PSF."""
    return replace(conditions, target_fwhm=conditions.fwhm)
