"""A pass of a network over a part of an image, without mirrored pixels far beyond the frame.

A network that looks 94 pixels far would spend most of its time on mirrored pixels around a small
image. It gets few of them; beyond, it sees what its own padding makes, as around any picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

__all__ = ["Part", "RunNetwork", "run_pass"]

RunNetwork = Callable[[Tensor, tuple[int, int]], Tensor]
"""A network: (B, C, H, W), and row and column of its first pixel in the image, to
(B, C', scale H, scale W)."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an image, mirrored beyond its edges.

    Attributes
    ----------
    pixels : Tensor
        Shape ``(B, C, H, W)``.
    origin : tuple of int
        Row and column in the image of its first pixel; below 0 beyond the edges.
    """

    pixels: Tensor
    origin: tuple[int, int]

    def region(self, first: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Return the pixels of a region; below and right of the part its last ones are repeated."""
        start = [wanted - own for wanted, own in zip(first, self.origin, strict=True)]
        stop = [at + length for at, length in zip(start, shape, strict=True)]
        found = self.pixels[..., start[0] : stop[0], start[1] : stop[1]]
        lacking = [length - own for length, own in zip(shape, found.shape[-2:], strict=True)]
        if any(lacking):
            found = functional.pad(found, (0, lacking[1], 0, lacking[0]), mode="replicate")
        return found


def run_pass(
    run: RunNetwork,
    part: Part,
    shape: tuple[int, int],
    *,
    scale: int,
    halo: int,
    multiple_of: int,
    beyond: int,
) -> Part:
    """Run a network over a part of an image.

    Parameters
    ----------
    run : callable
        The network.
    part : Part
        What it gets.
    shape : tuple of int
        Rows and columns of the whole image.
    scale : int
        Output pixels per input pixel.
    halo : int
        Input pixels around a pixel on which its result depends.
    multiple_of : int
        What is cut off, and what the network gets, are multiples of so many pixels.
    beyond : int
        Least number of mirrored pixels beyond the edges of the image that the network gets.

    Returns
    -------
    Part
        The result where it does not depend on pixels outside of the part.
    """
    taken, valid, origin = [], [], []
    for first, length, size in zip(part.origin, part.pixels.shape[-2:], shape, strict=True):
        start = max(0, (-beyond - first) // multiple_of * multiple_of)
        stop = start - (start + first - size - beyond) // multiple_of * multiple_of
        stop = min(length, stop)
        # The outer edges are the same for every part of the image: nothing is wrong there.
        lower = 0 if first + start <= -beyond else halo
        upper = 0 if first + stop >= size + beyond else halo
        taken.append(slice(start, stop))
        valid.append(slice(lower * scale, (stop - start - upper) * scale))
        origin.append(first + start)
    rows, columns = taken
    result = run(part.pixels[..., rows, columns], (origin[0], origin[1]))
    first_row, first_column = (
        at * scale + inner.start for at, inner in zip(origin, valid, strict=True)
    )
    return Part(result[..., valid[0], valid[1]], (first_row, first_column))
