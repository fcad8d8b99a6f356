"""Bicubic interpolation as a model: larger, not sharper."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile

__all__ = ["BicubicModel"]


@dataclass(frozen=True)
class BicubicModel:
    """Keys cubic interpolation (a = -0.75) on the grid of pixel ``(j + 0.5) / scale - 0.5``.

    References
    ----------
    Keys (1981), IEEE Trans. ASSP 29, 1153.
    """

    spec: ModelSpec

    def halo(self, conditions: Conditions) -> int:
        """Return the reach of the kernel, rounded up to the multiple of tiles."""
        del conditions
        return self.spec.multiple_of

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that interpolates tiles of a plane; always in float32."""
        del conditions, device, dtype
        scale, cut = self.spec.scale, self.spec.multiple_of * self.spec.scale

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            del mask, origin
            large = interpolate(observed, scale_factor=scale, mode="bicubic", align_corners=False)
            return large[..., cut:-cut, cut:-cut]

        return restore
