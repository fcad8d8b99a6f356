"""A trained house network behind the contract of all models."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import FILTER_RADIUS, without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.models.varying import interpolate, prepare_filters, prepare_kernels
from astro_sr_plugin.models.wiener_unet.error_net import (
    ERROR_REACH,
    ErrorNet,
    encode_error_conditions,
)
from astro_sr_plugin.models.wiener_unet.flux import FLUX_RADIUS, FluxStep
from astro_sr_plugin.models.wiener_unet.repairs import (
    REPAIR_RADIUS,
    fill_dark_pits,
    remove_cell_pattern,
    remove_ringing,
)
from astro_sr_plugin.models.wiener_unet.self_ensemble import orient, undo_orient
from astro_sr_plugin.models.wiener_unet.star_subtraction import subtract_stars
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, as_channels_last, encode_conditions
from astro_sr_plugin.tasks import TASKS

__all__ = ["NetworkModel", "encode_plane"]


def encode_plane(conditions: Conditions, scale: int | None) -> Tensor:
    """Encode the conditions of a plane, or those at its nodes; without a scale the PSF is kept.

    Returns
    -------
    Tensor
        Shape ``(1 or nodes, CONDITIONS)``.
    """
    shapes = [(conditions.fwhm, conditions.ellipticity)]
    if conditions.nodes is not None:
        nodes = conditions.nodes
        shapes = list(
            zip(nodes.fwhm.ravel().tolist(), nodes.ellipticity.ravel().tolist(), strict=True)
        )
    numbers = [
        [
            fwhm,
            conditions.beta,
            ellipticity,
            1.0 if scale is None else fwhm * scale / conditions.target_fwhm,
            conditions.noise_correlation,
        ]
        for fwhm, ellipticity in shapes
    ]
    return encode_conditions(*torch.tensor(numbers).T)


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
        Estimates the standard deviation of the result, which is then its second image.
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
        return self.spec.halo + self._steps_halo + (0 if self.errors is None else ERROR_REACH)

    @property
    def _steps_halo(self) -> int:
        """Input pixels around a pixel on which the steps after the network depend."""
        return REPAIR_RADIUS + (0 if self.net.outputs == 2 else FLUX_RADIUS)

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that restores tiles of a plane under ``conditions``."""
        keep_psf = TASKS[self.spec.task].keeps_psf
        scale = self.spec.scale
        target = None if keep_psf else conditions.target_fwhm
        kernels = prepare_kernels(conditions, target, scale, device)
        count, phases = kernels.shape[1:3]
        nodes = conditions.nodes
        code = encode_plane(conditions, None if keep_psf else scale)
        errors = None
        if self.errors is not None:
            errors = copy.deepcopy(self.errors).to(device)
            error_code = encode_error_conditions(code, conditions.fwhm_error).to(device)
        net = self.net.folded(code) if nodes is None else copy.deepcopy(self.net)
        net, code = as_channels_last(net.to(device)), code.to(device)
        flux = None
        groups = [*kernels.unbind(1)]
        if self.net.outputs == 1:
            flux = FluxStep(conditions, scale, keep_psf, device)
            groups.append(flux.kernels.expand(len(kernels), -1, -1, -1))
        filters = prepare_filters(groups, nodes)
        reach = self.spec.halo - FILTER_RADIUS
        steps_halo = self._steps_halo

        def at_place(
            numbers: Tensor, image: Tensor, origin: tuple[int, int], border: int
        ) -> Tensor:
            """Interpolate conditions at the nodes to an image, ``border`` pixels in the tile."""
            if nodes is None:
                return numbers
            grid = numbers.unflatten(0, nodes.fwhm.shape)
            place = (origin[0] + border, origin[1] + border)
            return interpolate(grid, nodes, (image.shape[-2], image.shape[-1]), place)[None]

        def run_network(
            way: int, observed: Tensor, mask: Tensor, estimates: Tensor, steering: Tensor | None
        ) -> Tensor:
            oriented = (orient(image, way) for image in (observed, mask))
            steering = None if steering is None else orient(steering, way)
            result: Tensor = net(*oriented, orient(estimates, way, scale), steering, margin=reach)
            return undo_orient(result.float(), way)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            estimates = filters(observed, origin)
            mask = mask if net.sees_edges else mask.clamp_min(0.0)
            observed, mask, estimates = (
                without_border(image, FILTER_RADIUS) for image in (observed, mask, estimates)
            )
            estimates, smooth = estimates.tensor_split([count * phases], dim=1)
            estimates = estimates.unflatten(1, (count, phases))
            autocast = torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=dtype == "bfloat16"
            )
            steering = None if nodes is None else at_place(code, observed, origin, FILTER_RADIUS)
            with autocast:
                result = run_network(0, observed, mask, estimates, steering)
                for way in range(1, self.orientations):
                    result.add_(run_network(way, observed, mask, estimates, steering))
                result.div_(self.orientations)
            observed, mask, smooth = (
                without_border(image, reach) for image in (observed, mask, smooth)
            )
            if flux is None:
                result = subtract_stars(observed, result[:, :1], result[:, 1:])
            else:
                # Filled dark pixels have the PSF of the input, which the flux step would take for
                # an error of the flux: it comes first.
                inner = (origin[0] + self.spec.halo, origin[1] + self.spec.halo)
                result = flux.correct(result, smooth, mask, inner)
                result = fill_dark_pits(result, observed, scale)
                if scale > 1:
                    result = remove_ringing(result)
                if not keep_psf:
                    result = remove_cell_pattern(result, scale)
            result = without_border(result, steps_halo * scale)
            if errors is None:
                return result
            observed, mask = (without_border(image, steps_halo) for image in (observed, mask))
            here = at_place(error_code, observed, origin, self.spec.halo + steps_halo)
            error = errors(result, observed, mask, here)
            return without_border(torch.cat([result, error], dim=1), ERROR_REACH * scale)

        return restore
