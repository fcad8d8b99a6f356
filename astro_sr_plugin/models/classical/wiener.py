"""The Wiener filter as a model of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import FILTER_RADIUS, without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.models.varying import prepare_filters, prepare_kernels
from astro_sr_plugin.tasks import TASKS

__all__ = ["WienerModel"]

_ESTIMATE = 2
"""Index in `WIENER_STRENGTHS` of the noise-to-signal ratio used, 0.006: between stars and sky."""


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

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that filters tiles of a plane; always in float32."""
        del dtype
        target = None if TASKS[self.spec.task].keeps_psf else conditions.target_fwhm
        kernels = prepare_kernels(conditions, target, self.spec.scale, device)
        filters = prepare_filters([kernels[:, _ESTIMATE]], conditions.nodes)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            del mask
            phases = without_border(filters(observed, origin), FILTER_RADIUS)
            return torch.nn.functional.pixel_shuffle(phases, self.spec.scale)

        return restore
