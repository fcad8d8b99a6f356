"""Richardson-Lucy deconvolution to a finite target, behind the contract of all models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import Filters, filter_spectra, gaussian_kernel, without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile

__all__ = ["RichardsonLucyModel"]

_PEDESTAL = 10.0
"""Added before the iterations, in noise sigma: no pixel of the sky is negative."""
_FLOOR = 1e-3
"""Least value in the iterations, which divide by them."""
_GRID = 128
"""Side in pixels of the grid on which the kernel is made."""
_MIN_POWER = 1e-3
"""Power of the target's transfer that limits the division by it."""


@dataclass(frozen=True)
class RichardsonLucyModel:
    """Richardson-Lucy iterations on the part of the PSF that is wider than the target.

    The kernel is the PSF deconvolved by the Gaussian target, so that the result has a finite
    resolution (Magain, Courbin & Sohy 1998, ApJ 494, 472). A pedestal of 10 sigma carries the
    negative pixels of the sky; it is taken away afterwards, so that no value is lost to clipping.

    Attributes
    ----------
    spec : ModelSpec
        Declaration.
    iterations : int
        Number of iterations.

    References
    ----------
    Richardson (1972), JOSA 62, 55; Lucy (1974), AJ 79, 745.
    """

    spec: ModelSpec
    iterations: int = 20

    def _radius(self, conditions: Conditions) -> int:
        return min(conditions.psf.shape[0] // 2, math.ceil(2 * conditions.fwhm) + 1)

    def halo(self, conditions: Conditions) -> int:
        """Return two kernel radii per iteration, rounded up to the multiple of tiles."""
        wanted = 2 * self.iterations * self._radius(conditions)
        return -(-wanted // self.spec.multiple_of) * self.spec.multiple_of

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that deconvolves tiles of a plane; always in float32."""
        del dtype
        kernel = self._kernel(conditions).to(device)[None, None]
        forward, back = Filters(kernel), Filters(kernel.flip(-2, -1))
        cut = self.halo(conditions)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            del mask, origin
            image = (observed + _PEDESTAL).clamp_min(_FLOOR)
            estimate = image
            for _ in range(self.iterations):
                ratio = image / forward(estimate).clamp_min(_FLOOR)
                estimate = estimate * back(ratio)
            # Pixels below the pedestal did not take part: they come back as they were.
            result = estimate - _PEDESTAL + (observed + _PEDESTAL).clamp_max(0.0)
            return without_border(result, cut)

        return restore

    def _kernel(self, conditions: Conditions) -> Tensor:
        psf = torch.from_numpy(conditions.psf)
        n = _GRID
        target = gaussian_kernel(conditions.target_fwhm, psf.shape[0] // 2)
        h = filter_spectra(psf, (n, n))
        t = filter_spectra(target, (n, n))
        kernel = torch.fft.irfft2(h * t.conj() / (t.abs() ** 2 + _MIN_POWER), s=(n, n))
        r = self._radius(conditions)
        kernel = torch.roll(kernel, (r, r), (0, 1))[: 2 * r + 1, : 2 * r + 1].clamp_min(0)
        return kernel / kernel.sum()
