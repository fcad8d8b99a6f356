"""Subtract the stars that the star-removal network found from the observed image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.models.filters import highest_around, mean_around

__all__ = ["SUBTRACTION_RADIUS", "subtract_stars"]

_STAR_FLOOR = 0.15
"""Difference of the two predictions, in sigma, below which it is mostly no star: the networks
differ by about that much on empty sky."""
_POWER_BOX = 5
"""Side of the box in pixels in which the power of the residuals is taken."""
_MAX_RESIDUAL = 3.0
"""Largest residual left under starlight, in sigma, as the noise of the sky rarely exceeds it."""
_HIDDEN = (10.0, 30.0)
"""Starlight, in sigma, from which, and above which altogether, the sky behind it is hidden."""
_HOLE = 9
"""Side of the box in pixels: no hole in the predicted sky is narrower behind hidden places."""
_MEDIAN_RADIUS = 2
"""The median of ``5 x 5`` pixels spans more than two cells of 2 x 2 pixels of the network."""

_AROUND = 37
"""Side of the box in pixels around a hidden place in which the sky is seen."""
_RIM = 2
"""Pixels around hidden places that count as hidden too."""
_LEAST_SEEN = 0.02
"""Part of the box from which it tells what the sky is like."""
_UNSEEN = 100.0
"""Sigma by which hidden places are taken to be brighter where the darkest one is looked for."""
_SPREAD, _WRONG = 2.0, 0.005
"""Standard deviations of the sky around, and part of the starlight, by which the sky behind a star
may be brighter than the mean around it, beside the noise; it may be darker by the former alone."""
SUBTRACTION_RADIUS = _MEDIAN_RADIUS + 2 * (_HOLE // 2) + _AROUND // 2 + _RIM + _POWER_BOX // 2
"""Pixels around a pixel on which the subtraction depends: whole cells of the network."""


def subtract_stars(observed: Tensor, clean: Tensor, starless: Tensor) -> Tensor:
    """Subtract the stars from an observed image and keep its noise.

    Where there is starlight, the residuals that the prediction does not explain (photon noise, a
    saturated core) are scaled down to the noise of the sky. Where it hides the sky, the prediction
    has no narrow holes, and is limited to what is seen around.

    Parameters
    ----------
    observed : Tensor
        Shape ``(B, 1, H, W)``, in noise sigma.
    clean, starless : Tensor
        The predictions of the network with and without stars, of the same shape.

    Returns
    -------
    Tensor
        Shape ``(B, 1, H, W)``. The outermost `SUBTRACTION_RADIUS` pixels depend on what lies
        beyond.
    """
    light = clean - starless
    hidden = ((light - _HIDDEN[0]) / (_HIDDEN[1] - _HIDDEN[0])).clamp(0.0, 1.0)
    near = functional.max_pool2d(hidden, 2 * _RIM + 1, 1, _RIM)
    if bool(hidden.any()):
        starless = _fill_holes(_replace_outliers(starless, hidden), hidden)
        starless = _limit_to_surroundings(starless, clean - starless, near)
    light = clean - starless
    stars = light**3 / (light**2 + _STAR_FLOOR**2)
    residual = observed - stars - starless
    power = functional.avg_pool2d(
        residual**2, _POWER_BOX, stride=1, padding=_POWER_BOX // 2, count_include_pad=False
    )
    scaled = (residual / power.clamp_min(1.0).sqrt()).clamp(-_MAX_RESIDUAL, _MAX_RESIDUAL)
    weight = torch.maximum(stars**2 / (1 + stars**2), near)
    return starless + torch.lerp(residual, scaled, weight)


def _fill_holes(image: Tensor, weight: Tensor) -> Tensor:
    """Close holes of an image that are narrower than the box, where ``weight`` is above 0.

    What a star hides is not darker than the sky on all sides of it.
    """
    filled = functional.max_pool2d(image, _HOLE, 1, _HOLE // 2)
    closed = -functional.max_pool2d(-filled, _HOLE, 1, _HOLE // 2)
    return torch.lerp(image, closed, weight)


def _limit_to_surroundings(image: Tensor, light: Tensor, weight: Tensor) -> Tensor:
    """Limit an image to what is seen around hidden places, where ``weight`` is above 0.

    Behind saturated stars with bleeding columns the prediction is wrong by hundreds of sigma.
    """
    # Without a step, so that rounding moves nothing: tiles give the result of the whole image.
    seen = 1 - weight
    # The difference of two squares needs the precision; not every device has it.
    precise = image.dtype if image.device.type == "mps" else torch.float64
    values = image.to(precise)
    ones = torch.ones_like(values)
    share, mean, square = (mean_around(seen * term, _AROUND) for term in (ones, values, values**2))
    share = share.clamp_min(1e-6)
    mean = mean / share
    spread = (square / share - mean**2).clamp_min(0).sqrt()
    share, mean, spread = (term.to(image.dtype) for term in (share, mean, spread))
    brightest = mean + _MAX_RESIDUAL + _SPREAD * spread + _WRONG * light.abs()
    least = -highest_around(-image - _UNSEEN * weight, _AROUND)
    darkest = torch.maximum(least, mean - _MAX_RESIDUAL - _SPREAD * spread)
    limited = torch.maximum(torch.minimum(image, brightest), darkest)
    limited = torch.where(share > _LEAST_SEEN, limited, image)
    return torch.lerp(image, limited, weight)


def _replace_outliers(image: Tensor, weight: Tensor) -> Tensor:
    """Mix each pixel with the median of the 5 x 5 around it, where ``weight`` is above 0.

    Behind saturated cores, one pixel of each cell of the network can be far off: around simulated
    saturated stars with halos, the median lowers the worst error from 133 to 8 sigma.
    """
    batch, channel, row, column = torch.nonzero(weight, as_tuple=True)
    r = _MEDIAN_RADIUS
    wide = functional.pad(image, (r, r, r, r), mode="replicate")
    offsets = [(dy, dx) for dy in range(2 * r + 1) for dx in range(2 * r + 1)]
    near = [wide[batch, channel, row + dy, column + dx] for dy, dx in offsets]
    median = torch.stack(near).median(dim=0).values
    place = batch, channel, row, column
    return image.index_put(place, torch.lerp(image[place], median, weight[place]))
