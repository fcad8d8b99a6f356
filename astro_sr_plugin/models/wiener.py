"""The Wiener filter as a model of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    Filters,
    make_wiener_filters,
    without_border,
)
from astro_sr_plugin.models.spec import Conditions, ModelSpec, PlaneFunction

__all__ = ["WienerModel"]

_MIDDLE = 2


@dataclass(frozen=True)
class WienerModel:
    """Linear deconvolution to the Gaussian target with a ``k**-2`` prior; no training.

    References
    ----------
    Wiener (1949), Extrapolation, Interpolation, and Smoothing of Stationary Time Series.
    """

    spec: ModelSpec

    def halo(self, conditions: Conditions) -> int:
        """Return the radius of the filter."""
        del conditions
        return FILTER_RADIUS

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> PlaneFunction:
        """Return the function that filters tiles of a plane; always in float32."""
        del dtype
        psf = torch.from_numpy(conditions.psf)[None].to(device)
        target = None
        if self.spec.task != "denoise":
            target = torch.tensor([conditions.target_fwhm], device=device)
        filters = Filters(make_wiener_filters(psf, target, self.spec.scale)[:, _MIDDLE])

        def restore(observed: Tensor, mask: Tensor) -> Tensor:
            del mask
            phases = without_border(filters(observed), FILTER_RADIUS)
            return torch.nn.functional.pixel_shuffle(phases, self.spec.scale)

        return restore
