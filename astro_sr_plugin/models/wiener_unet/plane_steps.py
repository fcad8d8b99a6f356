"""What is done with a plane before and after the house network."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.models.filters import FILTER_RADIUS, without_border
from astro_sr_plugin.models.spec import Conditions
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
from astro_sr_plugin.models.wiener_unet.star_subtraction import SUBTRACTION_RADIUS, subtract_stars
from astro_sr_plugin.models.wiener_unet.unet import encode_conditions

__all__ = ["NetworkInput", "PlaneSteps", "encode_plane", "steps_halo"]


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


def steps_halo(outputs: int) -> int:
    """Return the input pixels around a pixel on which the steps after a network depend."""
    return SUBTRACTION_RADIUS if outputs == 2 else REPAIR_RADIUS + FLUX_RADIUS


@dataclass(frozen=True)
class NetworkInput:
    """What the network gets of a tile of a plane, and what is kept for the steps after it.

    Attributes
    ----------
    observed, mask, estimates : Tensor
        As for `WienerUNet`.
    smooth : Tensor
        The tile through the filters of the flux step.
    origin : tuple of int
        Row and column of the frame of the first pixel of the tile, before the filters.
    """

    observed: Tensor
    mask: Tensor
    estimates: Tensor
    smooth: Tensor
    origin: tuple[int, int]


class PlaneSteps:
    """Filters before the network, flux, repairs and uncertainty after it, for one plane.

    Parameters
    ----------
    conditions : Conditions
        Measured on the plane.
    keep_psf : bool
        Whether the result keeps the PSF.
    scale, outputs : int
        Of the network.
    halo : int
        Input pixels around a pixel on which the network with its filters depends.
    errors : ErrorNet or None
        Estimates the standard deviation of the result.
    device : str
        Where it is done.
    """

    def __init__(
        self,
        conditions: Conditions,
        *,
        keep_psf: bool,
        scale: int,
        outputs: int,
        halo: int,
        errors: ErrorNet | None,
        device: str,
    ) -> None:
        self.nodes, self.scale, self.keep_psf = conditions.nodes, scale, keep_psf
        self._halo, self._steps_halo = halo, steps_halo(outputs)
        target = None if keep_psf else conditions.target_fwhm
        kernels = prepare_kernels(conditions, target, scale, device)
        self._estimates = kernels.shape[1:3]
        code = encode_plane(conditions, None if keep_psf else scale)
        self.code = code.to(device)
        self._errors = None
        if errors is not None:
            self._errors = copy.deepcopy(errors).to(device)
            self._error_code = encode_error_conditions(code, conditions.fwhm_error).to(device)
        self._flux = None
        groups = [*kernels.unbind(1)]
        if outputs == 1:
            self._flux = FluxStep(conditions, scale, keep_psf, device)
            groups.append(self._flux.kernels.expand(len(kernels), -1, -1, -1))
        self._filters = prepare_filters(groups, self.nodes)

    def before(self, observed: Tensor, mask: Tensor, origin: tuple[int, int]) -> NetworkInput:
        """Filter a tile of shape ``(1, 1, H, W)``."""
        estimates = self._filters(observed, origin)
        observed, mask, estimates = (
            without_border(image, FILTER_RADIUS) for image in (observed, mask, estimates)
        )
        count, phases = self._estimates
        estimates, smooth = estimates.tensor_split([count * phases], dim=1)
        return NetworkInput(observed, mask, estimates.unflatten(1, (count, phases)), smooth, origin)

    def steering(self, given: NetworkInput, *, by_place: bool) -> Tensor:
        """Return the conditions of the network for a tile, those of each pixel if by place."""
        if not by_place:
            return self.code
        if self.nodes is None:
            return self.code[..., None, None].expand(-1, -1, *given.observed.shape[-2:])
        return self._at_place(self.code, given.observed, given.origin, FILTER_RADIUS)

    def after(self, result: Tensor, given: NetworkInput, reach: int) -> Tensor:
        """Return the result of a tile, with its standard deviation if that is estimated.

        Parameters
        ----------
        result : Tensor
            What the network made, shape ``(1, outputs, ., .)``.
        given : NetworkInput
            What it was given.
        reach : int
            How many input pixels smaller on each side it is than what was given.
        """
        scale, origin = self.scale, given.origin
        observed, mask, smooth = (
            without_border(image, reach) for image in (given.observed, given.mask, given.smooth)
        )
        if self._flux is None:
            result = subtract_stars(observed, result[:, :1], result[:, 1:])
        else:
            # Filled dark pixels have the PSF of the input, which the flux step would take for
            # an error of the flux: it comes first.
            inner = (origin[0] + self._halo, origin[1] + self._halo)
            result = self._flux.correct(result, smooth, mask, inner)
            result = fill_dark_pits(result, observed, scale)
            if scale > 1:
                result = remove_ringing(result)
            if not self.keep_psf:
                result = remove_cell_pattern(result, scale)
        result = without_border(result, self._steps_halo * scale)
        if self._errors is None:
            return result
        observed, mask = (without_border(image, self._steps_halo) for image in (observed, mask))
        here = self._error_code
        if self.nodes is not None:
            here = self._at_place(here, observed, origin, self._halo + self._steps_halo)
        error = self._errors(result, observed, mask, here)
        return without_border(torch.cat([result, error], dim=1), ERROR_REACH * scale)

    def _at_place(
        self, numbers: Tensor, image: Tensor, origin: tuple[int, int], border: int
    ) -> Tensor:
        """Interpolate conditions at the nodes to an image, ``border`` pixels in the tile."""
        assert self.nodes is not None
        grid = numbers.unflatten(0, self.nodes.fwhm.shape)
        place = (origin[0] + border, origin[1] + border)
        return interpolate(grid, self.nodes, (image.shape[-2], image.shape[-1]), place)[None]
