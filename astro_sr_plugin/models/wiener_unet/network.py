"""A trained house network behind the contract of all models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.models.filters import FILTER_RADIUS, without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.models.varying import interpolate, prepare_filters, prepare_kernels
from astro_sr_plugin.models.wiener_unet.error_net import (
    ERROR_REACH,
    ErrorNet,
    encode_error_conditions,
)
from astro_sr_plugin.models.wiener_unet.flux import FLUX_RADIUS, FluxStep
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet, as_channels_last, encode_conditions
from astro_sr_plugin.tasks import TASKS

__all__ = ["NetworkModel", "encode_plane"]


_PIT_DEPTH = 5.0
_PIT_REACH = 3
_MEND_RADIUS = 16
"""Input pixels around a pixel that matter to what comes after the flux step."""
_HOLE_LIGHT = 10.0
_FAINT = 3.0
_GRID = 2.0
_CELLS = {1: [0.25, 0.5, 0.25], 2: [0.125, 0.25, 0.25, 0.25, 0.125]}
"""Filters that let no pattern of the network's cells through, and keep slopes."""
_AROUND = 7
_MEAN = [1 / 3, 1 / 3, 1 / 3]
_SMOOTH = [t / 16 for t in (-1, 4, 10, 4, -1)]
_STAR_FLOOR = 0.15
_REST_BOX = 5
_MOST_REST = 3.0
_HIDDEN = (10.0, 30.0)
"""Starlight, in sigma, from which and above which all that is behind it is hidden."""


def _without_pits(result: Tensor, observed: Tensor, scale: int, *, sharper: bool = True) -> Tensor:
    """Fall back to the observed image around pixels that are darker than the data can be.

    Where stars do not fit the measured PSF (a double star, a trailed or badly sampled one),
    sharpening digs pits. A pixel more than 5 sigma, or a twentieth of the light around it, below
    the sky and its neighbourhood in the input is one, and so is a hole in bright light, darker by a
    half than the pixels that enclose it, if the result is sharper: the input does not show it.
    Both images conserve the flux, so their mixture does, about.
    """
    light = _smoothed(observed, _MEAN)
    deepest = _extremes(result, scale, torch.minimum)
    depth = (light.clamp_max(0.0) - deepest) / (_PIT_DEPTH * torch.sqrt(1 + (0.01 * light) ** 2))
    share = (depth - 1).clamp(0.0, 1.0)
    if sharper:
        around = _extremes(_holes(result), scale, torch.maximum)
        share = torch.where(around > light.clamp_min(_HOLE_LIGHT), 1.0, share)
    if not bool(share.any()):
        return result
    for kernel, padding in (
        ((2 * _PIT_REACH + 1, 1), (_PIT_REACH, 0)),
        ((1, 2 * _PIT_REACH + 1), (0, _PIT_REACH)),
    ):
        share = functional.max_pool2d(share, kernel, stride=1, padding=padding)
    share = _smoothed(share, _MEAN)
    if scale > 1:
        observed, share = (
            functional.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
            for image in (observed, share)
        )
    return torch.lerp(result, observed, share)


def _without_ripple(result: Tensor) -> Tensor:
    """Take the finest ripple off faint light.

    The target profile has no light at the highest frequency of the finer grid, where the sharpest
    estimates of undersampled images ring around bright stars. The filter is flat up to half of it.
    """
    faint = result.clamp(-_FAINT, _FAINT)
    smooth = _smoothed(faint, _SMOOTH)
    share = 1 - (faint / _FAINT) ** 2
    return torch.addcmul(result, share, smooth.sub_(faint))


def _without_grid(result: Tensor, scale: int) -> Tensor:
    """Take off a pattern that repeats from cell to cell of the network.

    The network works on cells of 2 x 2 input pixels, and where an image is unlike what it was
    trained on, their pixels differ. The mean difference over a neighbourhood of 7 x 7 cells, stars
    left out, is no light of the sky.
    """
    cell = 2 * scale
    detail = result - _smoothed(result, _CELLS[scale])
    height, width = detail.shape[-2:]
    odd = (0, -width % cell, 0, -height % cell)
    phases = functional.pixel_unshuffle(functional.pad(detail, odd), cell)
    strongest = phases.abs().amax(dim=1, keepdim=True)
    phases = phases * (1 - (strongest / _GRID) ** 2).clamp_min_(0.0)
    # What lies beyond a tile's edge counts as 0 here: the edge itself is cut off later.
    phases = phases.contiguous(memory_format=torch.channels_last)
    for kernel, padding in (((_AROUND, 1), (_AROUND // 2, 0)), ((1, _AROUND), (0, _AROUND // 2))):
        taps = phases.new_full((cell**2, 1, *kernel), 1 / _AROUND)
        phases = functional.conv2d(phases, taps, padding=padding, groups=cell**2)
    pattern = functional.pixel_shuffle(phases, cell)[..., :height, :width]
    return result - pattern


def _smoothed(image: Tensor, taps: list[float]) -> Tensor:
    r = len(taps) // 2
    smooth = functional.pad(image, (r, r, r, r), mode="replicate")
    for axis in (-1, -2):
        smooth = _along(smooth, axis, taps)
    return smooth


def _along(image: Tensor, axis: int, taps: list[float]) -> Tensor:
    """Filter one axis with symmetric taps, cut the ends off; on CPUs faster than a convolution."""
    r, n = len(taps) // 2, image.shape[axis] - len(taps) + 1
    total = image.narrow(axis, r, n) * taps[r]
    for k in range(1, r + 1):
        both = image.narrow(axis, r - k, n) + image.narrow(axis, r + k, n)
        total.add_(both, alpha=taps[r - k])
    return total


def _extremes(
    image: Tensor, side: int, least_or_most: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return the least or the most of each square; on CPUs faster than pooling."""
    for axis in (-2, -1):
        parts = image.unflatten(axis, (-1, side)).unbind(axis)
        image = reduce(least_or_most, parts)
    return image


def _holes(image: Tensor) -> Tensor:
    """Return the mean of the neighbours where a pixel is darker than all and half as bright."""
    lowest = total = image
    for axis in (-1, -2):
        n = image.shape[axis] - 2
        a, b, c = (lowest.narrow(axis, k, n) for k in range(3))
        lowest = torch.minimum(torch.minimum(a, c), b)
        a, b, c = (total.narrow(axis, k, n) for k in range(3))
        total = (a + c).add_(b)
    inner = image[..., 1:-1, 1:-1]
    around = total.sub_(inner).div_(8)
    hole = (inner <= lowest) & (inner < 0.5 * around)
    return functional.pad(torch.where(hole, around, 0.0), (1, 1, 1, 1))


def _turned(image: Tensor, way: int, scale: int = 1) -> Tensor:
    """Mirror an image, or all phases of one ``(B, K, scale**2, H, W)``, in one of 8 ways."""
    if way == 0:
        return image
    phased = scale > 1
    if phased:
        image = image.unflatten(2, (scale, scale))
    for bit, axes in ((1, (-1, 3)), (2, (-2, 2))):
        if way & bit:
            image = image.flip(axes if phased else axes[:1])
    if way & 4:
        image = image.transpose(-1, -2)
        if phased:
            image = image.transpose(2, 3)
    return image.flatten(2, 3) if phased else image


def _turned_back(image: Tensor, way: int) -> Tensor:
    """Undo `_turned` on an image without phases."""
    if way & 4:
        image = image.transpose(-1, -2)
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if way & bit]
    return image.flip(axes) if axes else image


def _without_stars(observed: Tensor, clean: Tensor, starless: Tensor) -> Tensor:
    """Take the stars out of an observed image and leave its noise.

    Differences of the two predicted images below a fraction of the noise are no stars. Where there
    is starlight, what the prediction leaves unexplained - photon noise, a saturated core - is
    brought down to the noise of the sky.
    """
    light = clean - starless
    hidden = ((light - _HIDDEN[0]) / (_HIDDEN[1] - _HIDDEN[0])).clamp(0.0, 1.0)
    starless = _without_outliers(starless, hidden)
    light = clean - starless
    stars = light**3 / (light**2 + _STAR_FLOOR**2)
    rest = observed - stars - starless
    power = functional.avg_pool2d(
        rest**2, _REST_BOX, stride=1, padding=_REST_BOX // 2, count_include_pad=False
    )
    quiet = (rest / power.clamp_min(1.0).sqrt()).clamp(-_MOST_REST, _MOST_REST)
    share = stars**2 / (1 + stars**2)
    return starless + torch.lerp(rest, quiet, share)


def _without_outliers(image: Tensor, share: Tensor) -> Tensor:
    """Mix each pixel with the median of the 5 x 5 around it, where ``share`` is above 0.

    Behind saturated cores, one pixel of each cell of the network can be far off.
    """
    batch, channel, row, column = torch.nonzero(share, as_tuple=True)
    if not len(row):
        return image
    wide = functional.pad(image, (2, 2, 2, 2), mode="replicate")
    near = [wide[batch, channel, row + dy, column + dx] for dy in range(5) for dx in range(5)]
    median = torch.stack(near).median(dim=0).values
    place = batch, channel, row, column
    return image.index_put(place, torch.lerp(image[place], median, share[place]))


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
        Its ``halo`` is that of the network with its filters, without what comes after it.
    net : WienerUNet
        The network, on the CPU, in float32.
    orientations : int
        Of 8 ways to turn and mirror the image, how many the result is the mean of.
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
        return self.spec.halo + self._rest + (0 if self.errors is None else ERROR_REACH)

    @property
    def _rest(self) -> int:
        """Input pixels that matter to what comes after the network."""
        return _MEND_RADIUS + (0 if self.net.outputs == 2 else FLUX_RADIUS)

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
        rest = self._rest

        def told(numbers: Tensor, image: Tensor, origin: tuple[int, int], border: int) -> Tensor:
            """Interpolate conditions at the nodes to an image, ``border`` pixels in the tile."""
            if nodes is None:
                return numbers
            grid, place = (
                numbers.unflatten(0, nodes.fwhm.shape),
                (origin[0] + border, origin[1] + border),
            )
            return interpolate(grid, nodes, (image.shape[-2], image.shape[-1]), place)[None]

        def seen_in(
            way: int, observed: Tensor, mask: Tensor, estimates: Tensor, steering: Tensor | None
        ) -> Tensor:
            turned = (_turned(image, way) for image in (observed, mask))
            steering = None if steering is None else _turned(steering, way)
            result: Tensor = net(*turned, _turned(estimates, way, scale), steering, margin=reach)
            return _turned_back(result.float(), way)

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
            steering = None if nodes is None else told(code, observed, origin, FILTER_RADIUS)
            with autocast:
                result = seen_in(0, observed, mask, estimates, steering)
                for way in range(1, self.orientations):
                    result.add_(seen_in(way, observed, mask, estimates, steering))
                result.div_(self.orientations)
            observed, mask, smooth = (
                without_border(image, reach) for image in (observed, mask, smooth)
            )
            if flux is None:
                result = _without_stars(observed, result[:, :1], result[:, 1:])
            else:
                # What falls back to the input has its width: the flux step would take that amiss.
                inner = (origin[0] + self.spec.halo, origin[1] + self.spec.halo)
                result = flux.correct(result, smooth, mask, inner)
                result = _without_pits(result, observed, scale, sharper=not keep_psf)
                if scale > 1:
                    result = _without_ripple(result)
                if not keep_psf:
                    result = _without_grid(result, scale)
            result = without_border(result, rest * scale)
            if errors is None:
                return result
            observed, mask = (without_border(image, rest) for image in (observed, mask))
            here = told(error_code, observed, origin, self.spec.halo + rest)
            error = errors(result, observed, mask, here)
            return without_border(torch.cat([result, error], dim=1), ERROR_REACH * scale)

        return restore
