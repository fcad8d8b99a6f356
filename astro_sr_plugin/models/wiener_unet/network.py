"""A trained house network behind the contract of all models."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import FILTER_RADIUS
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.models.wiener_unet.error_net import ERROR_REACH, ErrorNet
from astro_sr_plugin.models.wiener_unet.plane_steps import PlaneSteps, steps_halo
from astro_sr_plugin.models.wiener_unet.self_ensemble import orient, undo_orient
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, as_channels_last
from astro_sr_plugin.tasks import TASKS

__all__ = ["NetworkModel"]


@dataclass(frozen=True)
class NetworkModel:
    """A `WienerUNet` with its declaration.

    Attributes
    ----------
    spec : ModelSpec
        Its ``halo`` is that of the network with its filters, without the steps after it.
    net : WienerUNet
        The network, on the CPU, in float32.
    orientations : int
        Number of orientations of the self-ensemble whose mean is the result, 1 to 8.
    errors : ErrorNet or None
        Estimates the standard deviation of the result, which then follows it.
    errors_path : Path or None
        Weights file of ``errors``, where there is one.
    """

    spec: ModelSpec
    net: WienerUNet
    orientations: int = 1
    errors: ErrorNet | None = None
    errors_path: Path | None = None

    def halo(self, conditions: Conditions) -> int:
        """Return the input pixels around a tile on which its output depends."""
        del conditions
        own = self.spec.halo + steps_halo(self.net.outputs)
        return own + (0 if self.errors is None else ERROR_REACH)

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that restores tiles of an image under ``conditions``."""
        planes = [
            PlaneSteps(
                own,
                keep_psf=TASKS[self.spec.task].keeps_psf,
                scale=self.spec.scale,
                outputs=self.net.outputs,
                halo=self.spec.halo,
                errors=self.errors,
                device=device,
            )
            for own in (conditions, *conditions.others)
        ]
        by_place = any(plane.nodes is not None for plane in planes)
        folds = len(planes) == 1 and not by_place
        net = self.net.folded(planes[0].code.cpu()) if folds else copy.deepcopy(self.net)
        net = as_channels_last(net.to(device))
        reach = self.spec.halo - FILTER_RADIUS

        def run_network(way: int, *images: Tensor, steering: Tensor | None) -> Tensor:
            observed, mask, estimates = images
            oriented = (orient(image, way) for image in (observed, mask))
            if steering is not None and by_place:
                steering = orient(steering, way)
            estimates = orient(estimates, way, self.spec.scale)
            result: Tensor = net(*oriented, estimates, steering, margin=reach)
            return undo_orient(result.float(), way)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            mask = mask if net.sees_edges else mask.clamp_min(0.0)
            given = [
                plane.before(observed[:, k : k + 1], mask[:, k : k + 1], origin)
                for k, plane in enumerate(planes)
            ]
            steering = None
            if not folds:
                pairs = zip(planes, given, strict=True)
                steering = torch.cat([p.steering(own, by_place=by_place) for p, own in pairs])
            images = [
                torch.stack([getattr(own, name) for own in given], dim=1).flatten(0, 1)
                for name in ("observed", "mask", "estimates")
            ]
            autocast = torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=dtype == "bfloat16"
            )
            with autocast:
                result = run_network(0, *images, steering=steering)
                for way in range(1, self.orientations):
                    result.add_(run_network(way, *images, steering=steering))
                result.div_(self.orientations)
            parts = result.unflatten(0, (-1, len(planes))).unbind(1)
            restored = [
                plane.after(part, own, reach)
                for plane, own, part in zip(planes, given, parts, strict=True)
            ]
            # The uncertainties of all planes follow the planes.
            return torch.stack(restored, dim=2).flatten(1, 2)

        return restore
