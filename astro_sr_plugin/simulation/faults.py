"""What spoils an image: bleeding, hot pixels, coarse steps, holes, and edges of the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "add_hot_pixels",
    "bleed",
    "mirror_beyond_area",
    "mirror_beyond_frame",
    "punch_holes",
    "quantise",
]

_LONGEST_BLEED = 40
"""Pixels along a column that the light of a saturated star runs at most, on each side."""
_COLUMN = 15
"""Rows around a pixel whose light beyond the full well is summed."""
_FADING = (48.0, 16.0)
"""Pixels beyond an edge at which the mirror image has become the sky, and over which it does, as
where images are restored."""
_HOLE_SIGMA = 1.5
"""Gaussian width in pixels of the weights with which a hole is filled, as in restored images."""
_HOLE_TRUST = 0.05
"""Weight of the sky beside them."""
_HOLE_REACH = 6
"""Pixels around a hole that it is filled from."""


def bleed(saturated: Tensor, beyond: Tensor) -> Tensor:
    """Return which pixels are saturated when the light beyond the full well runs along columns.

    Parameters
    ----------
    saturated : Tensor
        Boolean, shape ``(B, H, W)``: pixels at their full well.
    beyond : Tensor
        Shape ``(B, H, W)``: light beyond the full well, over it.
    """
    half = _COLUMN // 2
    padded = torch.nn.functional.pad(beyond, (0, 0, half, half), mode="circular")
    kernel = torch.ones(1, 1, _COLUMN, 1, device=beyond.device)
    summed = torch.nn.functional.conv2d(padded[:, None], kernel)[:, 0]
    reach = torch.where(saturated, summed / 2, torch.zeros_like(summed))
    longest = min(_LONGEST_BLEED, beyond.shape[-2] // 4, int(reach.max()) + 1)
    filled = saturated
    for step in range(1, longest):
        far = reach >= step
        filled = filled | torch.roll(far, step, -2) | torch.roll(far, -step, -2)
    return filled


def add_hot_pixels(image: Tensor, rng: torch.Generator) -> None:
    """Add up to 11 hot pixels and as many cold ones to an image ``(H, W)``, in place."""
    count = int(torch.randint(1, 12, (1,), generator=rng, device=image.device))
    y, x = torch.randint(image.shape[0], (2, count), generator=rng, device=image.device)
    heights = torch.exp(torch.rand(count, generator=rng, device=image.device) * 6 + 1.5)
    cold = torch.rand(count, generator=rng, device=image.device) < 0.25
    image[y, x] += torch.where(cold, -heights.clamp_max(20.0), heights)


def quantise(image: Tensor, step: Tensor) -> Tensor:
    """Round images ``(B, H, W)`` to multiples of ``step``, shape ``(B,)``."""
    each = step[:, None, None]
    return torch.round(image / each) * each


def _gaussian_blur(image: Tensor) -> Tensor:
    offsets = torch.arange(-_HOLE_REACH, _HOLE_REACH + 1, device=image.device)
    taps = torch.exp(-0.5 * (offsets / _HOLE_SIGMA) ** 2)
    for kernel in (taps[None, None, :, None], taps[None, None, None, :]):
        padding = (kernel.shape[3] // 2,) * 2 + (kernel.shape[2] // 2,) * 2
        image = torch.nn.functional.conv2d(
            torch.nn.functional.pad(image, padding, mode="circular"), kernel
        )
    return image


def punch_holes(image: Tensor, mask: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lose small groups of pixels of an image, and fill them from their neighbourhood.

    Parameters
    ----------
    image, mask : Tensor
        Shape ``(1, H, W)``.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    image, mask : Tensor
        With filled holes, which the mask marks by 1.
    """
    size, device = image.shape[-1], image.device
    count = int(torch.randint(1, 15, (1,), generator=rng, device=device))
    y, x = torch.randint(size, (2, count), generator=rng, device=device)
    lost = torch.zeros_like(image)
    lost[0, y, x] = 1.0
    tall, wide = (torch.randint(0, 3, (2,), generator=rng, device=device) * 2 + 1).tolist()
    lost = torch.nn.functional.max_pool2d(lost, (tall, wide), 1, (tall // 2, wide // 2))
    sums = _gaussian_blur(torch.stack([image * (1 - lost), 1 - lost]))
    filled = torch.where(lost > 0, sums[0] / (sums[1] + _HOLE_TRUST), image)
    return filled, torch.maximum(mask, lost)


def mirror_beyond_frame(
    count: int, size: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay a frame over half of each of ``count`` patches, along rows, columns or both.

    Returns the rows and the columns to take, each ``(count, size)``, mirrored about the first and
    the last of the frame so that the patch stays periodic, and which pixels lie beyond it.
    """
    device = rng.device
    drawn = torch.rand(count, generator=rng, device=device)
    taken, beyond = [], []
    for mirrored in (drawn < 0.6, drawn >= 0.4):
        first = torch.randint(size, (count, 1), generator=rng, device=device)
        place = (torch.arange(size, device=device) - first) % size
        outside = (place > size // 2) & mirrored[:, None]
        taken.append((torch.where(outside, size - place, place) + first) % size)
        beyond.append(outside)
    return taken[0], taken[1], beyond[0][:, :, None] | beyond[1][:, None, :]


def mirror_beyond_area(image: Tensor, mask: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lose a turned rectangle of an image, and continue the image into it as its mirror image.

    Parameters
    ----------
    image, mask : Tensor
        Shape ``(1, H, W)``.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    image, mask : Tensor
        The mirror image fades to the sky; the mask is -1 there.
    """
    size, device = image.shape[-1], image.device
    numbers = torch.rand(5, generator=rng, device=device).tolist()
    centre = [size * (0.2 + 0.6 * number) for number in numbers[:2]]
    half = [size * (0.05 + 0.2 * number) for number in numbers[2:4]]
    angle = math.pi * numbers[4] if numbers[4] > 0.3 else 0.0
    place = torch.arange(size, device=device)
    dy = ((place - centre[0] + size / 2) % size - size / 2)[:, None]
    dx = ((place - centre[1] + size / 2) % size - size / 2)[None, :]
    cos, sin = math.cos(angle), math.sin(angle)
    depth = torch.full((size, size), math.inf, device=device)
    step_y, step_x = torch.zeros_like(depth), torch.zeros_like(depth)
    for along, limit, way in (
        (dx * cos + dy * sin, half[1], (sin, cos)),
        (dy * cos - dx * sin, half[0], (cos, -sin)),
    ):
        nearer = limit - along.abs() < depth
        depth = torch.minimum(limit - along.abs(), depth)
        step_y = torch.where(nearer, torch.sign(along) * way[0], step_y)
        step_x = torch.where(nearer, torch.sign(along) * way[1], step_x)
    lost = depth > 0
    shift = (2 * depth).clamp_min(1.0)
    rows = torch.round(place[:, None] + shift * step_y).long() % size
    columns = torch.round(place[None, :] + shift * step_x).long() % size
    fade = ((_FADING[0] - depth) / _FADING[1]).clamp(0, 1)
    mirrored = torch.where(lost, image[:, rows, columns] * fade, image)
    return mirrored, torch.where(lost, -1.0, mask)
