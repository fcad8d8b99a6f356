"""A diffusion model, ready to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from astro_sr_plugin.models.diffusion.sampler import DiffusionNet, Sampling, draw_samples
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.filters import BILATERAL_RADIUS, bilateral
from astro_sr_plugin.models.spec import ModelSpec

__all__ = ["DiffusionModel", "as_model"]


@dataclass(frozen=True, eq=False)
class DiffusionModel(ExternalModel):
    """A network for display images that draws samples of what the image may be.

    What it restores a tile to is a batch of samples, whose mean is the result and whose spread is
    its uncertainty. A call returns their mean.

    Attributes
    ----------
    sampling : Sampling
        How the samples are drawn.
    """

    sampling: Sampling = Sampling()

    def with_sampling(self, sampling: Sampling) -> DiffusionModel:
        """Return the model with other samples: each step of them looks further around."""
        net = cast(DiffusionNet, self.module)
        scale, multiple = self.spec.scale, self.spec.multiple_of
        filtered = -(-BILATERAL_RADIUS // scale) if sampling.bilateral > 0 else 0
        reach = net.halo + sampling.steps * net.step_halo + filtered
        spec = replace(self.spec, halo=-(-reach // multiple) * multiple)
        return replace(self, sampling=sampling, spec=spec)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the mean of the samples of display images, as `ExternalModel` says."""
        self._check(batch)
        with torch.inference_mode():
            means = [self._run(self.module, image[None]).mean(0, keepdim=True) for image in batch]
        return torch.cat(means)

    def _apply(self, module: nn.Module, batch: Tensor, origin: tuple[int, int]) -> Tensor:
        """Return the samples of one image, shape (samples, C, scale H, scale W)."""
        samples = draw_samples(cast(DiffusionNet, module), batch, self.sampling, origin)
        if self.sampling.bilateral > 0:
            samples = bilateral(samples, self.sampling.bilateral)
        return samples


def as_model(spec: ModelSpec, module: nn.Module, **fields: Any) -> ExternalModel:
    """Return a network for display images as the model of its kind."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, DiffusionNet):
        model = DiffusionModel(spec, module, parameters, **fields)
        return model.with_sampling(model.sampling)
    return ExternalModel(spec, module, parameters, **fields)
