"""Repair faults of the trained networks, each of which better training data would avoid."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.models.filters import highest_around

__all__ = ["REPAIR_RADIUS", "fill_dark_pits", "remove_cell_pattern", "remove_ringing"]

REPAIR_RADIUS = 16
"""Input pixels around a pixel on which the repairs depend, a multiple of 8 so that tiles keep their
place in the cells of the network: 7 of the dark pixels and 9 of the pattern of the cells."""

_PIT_DEPTH = 5.0
"""Sigma below the sky and the observed light from which a pixel is a fault of the network: noise
reaches no such values."""
_PIT_FRACTION = 0.05
"""The same as a fraction of the light around it, for bright stars, whose profiles differ by that
much from the PSF."""
_PIT_RADIUS = 3
"""Input pixels around such a pixel that fall back to the observed image."""
_RINGING_LIGHT = 3.0
"""Light in sigma up to which ringing is removed; above it the filter would broaden stars."""
_RINGING_ROOM, _RINGING_FRACTION = 0.5, 0.35
"""What the highest frequency may hold in brighter light: sigma, and part of the smooth light
around. A star of the target PSF has 0.33 of its smooth peak."""
_RINGING_REACH = 3
"""Pixels of the finer grid around a pixel that are its surroundings."""
_PATTERN_LIGHT = 2.0
"""Detail in sigma from which a cell holds more than its pattern."""
_PATTERN_CELLS = 7
"""Cells along each axis over which the pattern is averaged."""
_CELL_FILTERS = {1: [0.25, 0.5, 0.25], 2: [0.125, 0.25, 0.25, 0.25, 0.125]}
"""By scale, filters that let no pattern of the cells through, and keep slopes."""
_BOX = [1 / 3, 1 / 3, 1 / 3]
"""Mean of 3 pixels."""
_LOW_PASS = [t / 16 for t in (-1, 4, 10, 4, -1)]
"""Binomial half-band filter: flat at low frequencies, 0 at the highest frequency."""


def fill_dark_pits(result: Tensor, observed: Tensor, scale: int) -> Tensor:
    """Return to the observed image around pixels that are darker than the data allow.

    Where stars do not fit the PSF (double or trailed stars, a PSF that is too wide), deconvolution
    makes pixels far below the sky. Both images conserve the flux; so does their mixture, nearly.
    Given a PSF 1.3 times too wide, the darkest pixel of an undersampled star field at twice the
    scale is at -4 instead of -26 sigma; with the right PSF the repair costs 0 to 1.3 dB on such
    fields.

    Parameters
    ----------
    result : Tensor
        Shape ``(B, 1, scale * H, scale * W)``, in noise sigma, the sky at 0.
    observed : Tensor
        Shape ``(B, 1, H, W)``, in noise sigma.
    scale : int
        Output pixels per input pixel.

    Returns
    -------
    Tensor
        Shape of ``result``.
    """
    light = _filtered(observed, _BOX)
    darkest = _extremes(result, scale, torch.minimum)
    allowed = _PIT_DEPTH * torch.sqrt(1 + (_PIT_FRACTION / _PIT_DEPTH * light) ** 2)
    weight = ((light.clamp_max(0.0) - darkest) / allowed - 1).clamp(0.0, 1.0)
    if not bool(weight.any()):
        return result
    weight = _filtered(highest_around(weight, 2 * _PIT_RADIUS + 1), _BOX)
    if scale > 1:
        observed, weight = (
            functional.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
            for image in (observed, weight)
        )
    return torch.lerp(result, observed, weight)


def remove_ringing(result: Tensor) -> Tensor:
    """Remove the highest frequency from faint light of an image of the finer grid.

    The target PSF has no light at the highest frequency of the finer grid, but the least smoothed
    Wiener estimates of undersampled images ring there around bright stars. The filter is worth 0.06
    dB on undersampled fields and 0.03 dB on oversampled ones. Around saturated stars the ringing is
    not faint: there it is limited by the light around.

    Parameters
    ----------
    result : Tensor
        Shape ``(B, 1, H, W)``, in noise sigma, the sky at 0.

    Returns
    -------
    Tensor
        Shape of ``result``.
    """
    whole = _filtered(result, _LOW_PASS)
    around = highest_around(whole, 2 * _RINGING_REACH + 1)
    room = _RINGING_ROOM + _RINGING_FRACTION * around.clamp_min_(0.0)
    result = whole + torch.clamp(result - whole, -room, room)
    faint = result.clamp(-_RINGING_LIGHT, _RINGING_LIGHT)
    smooth = _filtered(faint, _LOW_PASS)
    weight = 1 - (faint / _RINGING_LIGHT) ** 2
    return torch.addcmul(result, weight, smooth.sub_(faint))


def remove_cell_pattern(result: Tensor, scale: int) -> Tensor:
    """Subtract a pattern that repeats from cell to cell of the network.

    The network works on cells of 2 x 2 input pixels, and where an image is unlike its training
    their pixels differ. The mean difference over a neighbourhood of 7 x 7 cells, stars left out, is
    no light of the sky. Without this step the magnitudes of wide stars (FWHM 6 to 8 pixels) are off
    by up to 0.016 more; elsewhere it is worth nothing.

    Parameters
    ----------
    result : Tensor
        Shape ``(B, 1, scale * H, scale * W)``, in noise sigma, the sky at 0.
    scale : int
        Output pixels per input pixel.

    Returns
    -------
    Tensor
        Shape of ``result``.
    """
    cell = 2 * scale
    detail = result - _filtered(result, _CELL_FILTERS[scale])
    height, width = detail.shape[-2:]
    odd = (0, -width % cell, 0, -height % cell)
    phases = functional.pixel_unshuffle(functional.pad(detail, odd), cell)
    strongest = phases.abs().amax(dim=1, keepdim=True)
    phases = phases * (1 - (strongest / _PATTERN_LIGHT) ** 2).clamp_min_(0.0)
    # What lies beyond a tile's edge counts as 0 here: the edge itself is cut off later.
    phases = phases.contiguous(memory_format=torch.channels_last)
    side, r = _PATTERN_CELLS, _PATTERN_CELLS // 2
    for kernel, padding in (((side, 1), (r, 0)), ((1, side), (0, r))):
        taps = phases.new_full((cell**2, 1, *kernel), 1 / side)
        phases = functional.conv2d(phases, taps, padding=padding, groups=cell**2)
    pattern = functional.pixel_shuffle(phases, cell)[..., :height, :width]
    return result - pattern


def _filtered(image: Tensor, taps: list[float]) -> Tensor:
    """Filter both axes with symmetric taps; beyond the edges the outermost pixels go on."""
    r = len(taps) // 2
    smooth = functional.pad(image, (r, r, r, r), mode="replicate")
    for axis in (-1, -2):
        smooth = _filtered_axis(smooth, axis, taps)
    return smooth


def _filtered_axis(image: Tensor, axis: int, taps: list[float]) -> Tensor:
    """Filter one axis and cut its ends off; on CPUs faster than a convolution."""
    r, n = len(taps) // 2, image.shape[axis] - len(taps) + 1
    total = image.narrow(axis, r, n) * taps[r]
    for k in range(1, r + 1):
        both = image.narrow(axis, r - k, n) + image.narrow(axis, r + k, n)
        total.add_(both, alpha=taps[r - k])
    return total


def _extremes(image: Tensor, side: int, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Reduce each ``side`` x ``side`` square to one pixel; on CPUs faster than pooling."""
    for axis in (-2, -1):
        image = reduce(choose, image.unflatten(axis, (-1, side)).unbind(axis))
    return image
