"""Samples of what an image may be: from noise, in any number of steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import fields as fields_of
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from astro_sr_plugin.exceptions import InputError

__all__ = ["DiffusionNet", "Level", "Sampling", "draw_samples", "noise_field", "read_sampling"]

Sampler = Literal["ddim", "ddpm"]

_BLOCK = 64
"""Side in pixels of the blocks of the noise, each of which has its own seed."""
_OFFSET = 2**31
"""What is added to the numbers of blocks, of which those beyond the edges are negative."""
_MOST = {"samples": 256, "steps": 2000}
"""Most samples and steps: more of them improve nothing that could be measured."""


class Level(NamedTuple):
    """A level of noise: the factors of what is looked for and of noise of unit variance."""

    signal: float
    noise: float


class DiffusionNet(nn.Module, ABC):
    """What a network has to have so that samples can be drawn.

    Attributes
    ----------
    scale : int
        Output pixels per input pixel along each axis.
    halo, step_halo : int
        Input pixels around a pixel on which a sample depends, and how many more with each step.
    """

    scale = 1
    halo = 0
    step_halo = 0

    @abstractmethod
    def levels(self, steps: int) -> list[Level]:
        """Return ``steps + 1`` levels of noise, from the noisiest to one without."""

    @abstractmethod
    def begin(self, picture: Tensor) -> Any:
        """Return what it sees of a picture, which all samples share."""

    @abstractmethod
    def estimate(self, seen: Any, noisy: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Return what is looked for and the noise that are in an image of a level."""

    @abstractmethod
    def finish(self, seen: Any, sample: Tensor) -> Tensor:
        """Return the picture of a sample."""


@dataclass(frozen=True)
class Sampling:
    """How a diffusion model draws its samples.

    Attributes
    ----------
    samples : int
        How many are drawn, 2 or more; the result is their mean, its uncertainty follows from their
        spread, whose own error is a fraction ``1 / sqrt(2 (samples - 1))`` of it.
    steps : int
        Steps from noise to a sample, 1 or more.
    sampler : {"ddim", "ddpm"}
        Whether no noise is added on the way (Song et al. 2020), or new noise in each step (Ho et
        al. 2020).
    seed : int
        Seed of the noise, 0 or more. The noise is that of the whole image: tiles do not show.
    bilateral : float
        Width in stretched tones of the bilateral filter that each sample goes through, 0 to 1; 0 is
        without. It takes noise away, and faint stars with it.

    Raises
    ------
    InputError
        If a field is out of its range.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.Sampling(samples=16, sampler="ddpm")
    Sampling(samples=16, steps=4, sampler='ddpm', seed=1, bilateral=0.0)
    """

    samples: int = 8
    steps: int = 4
    sampler: Sampler = "ddim"
    seed: int = 1
    bilateral: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("samples", 2), ("steps", 1), ("seed", 0)):
            value, most = getattr(self, name), _MOST.get(name, math.inf)
            if not isinstance(value, int) or not least <= value <= most:
                allowed = f"{least} or more" if math.isinf(most) else f"{least} to {most}"
                msg = f"{name}={value!r} of sampling is not allowed; allowed is {allowed}"
                raise InputError(msg)
        if self.sampler not in get_args(Sampler):
            msg = f"sampler={self.sampler!r} of sampling is not known; allowed are ddim and ddpm"
            raise InputError(msg)
        if not (isinstance(self.bilateral, int | float) and 0 <= self.bilateral <= 1):
            msg = f"bilateral={self.bilateral!r} of sampling is not allowed; allowed is 0 to 1"
            raise InputError(msg)


def read_sampling(sampling: Sampling | str | None) -> Sampling | None:
    """Return the sampling that a text describes, such as ``"samples=16,steps=8,sampler=ddpm"``.

    Raises
    ------
    InputError
        If it holds something else.
    """
    if sampling is None or isinstance(sampling, Sampling):
        return sampling
    kinds: dict[str, Callable[[str], Any]] = {
        field.name: type(field.default) for field in fields_of(Sampling)
    }
    given: dict[str, Any] = {}
    for part in str(sampling).split(","):
        name, _, value = (text.strip() for text in part.partition("="))
        try:
            given[name] = kinds[name](value)
        except (KeyError, ValueError) as error:
            msg = (
                f"sampling={sampling!r} is not known: {part!r}; allowed are "
                "'samples=8,steps=4,sampler=ddim,seed=1,bilateral=0' and parts of it"
            )
            raise InputError(msg) from error
    return Sampling(**given)


def noise_field(
    key: tuple[int, ...], planes: int, origin: tuple[int, int], shape: tuple[int, int]
) -> Tensor:
    """Return a part of a field of noise of unit variance that has no edges.

    Parameters
    ----------
    key : tuple of int
        Which field: seed, number of the sample, number of the step.
    planes : int
        Planes of independent noise.
    origin : tuple of int
        Row and column of the first pixel, which may be negative.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    Tensor
        Shape (1, planes, rows, columns), float32. A pixel has the same value in every part.
    """
    result = np.empty((planes, *shape), np.float32)
    spans = [
        range(first // _BLOCK, -(-(first + size) // _BLOCK))
        for first, size in zip(origin, shape, strict=True)
    ]
    for row in spans[0]:
        for column in spans[1]:
            seeds = (*key, row + _OFFSET, column + _OFFSET)
            block = np.random.default_rng(seeds).standard_normal(
                (planes, _BLOCK, _BLOCK), dtype=np.float32
            )
            top, left = row * _BLOCK - origin[0], column * _BLOCK - origin[1]
            rows = slice(max(top, 0), min(top + _BLOCK, shape[0]))
            columns = slice(max(left, 0), min(left + _BLOCK, shape[1]))
            result[:, rows, columns] = block[
                :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
    return torch.from_numpy(result)[None]


def draw_samples(
    net: DiffusionNet, picture: Tensor, sampling: Sampling, origin: tuple[int, int] = (0, 0)
) -> Tensor:
    """Draw samples of what a picture may be.

    Parameters
    ----------
    net : DiffusionNet
        The network.
    picture : Tensor
        Shape (1, C, H, W).
    sampling : Sampling
        How many, and how.
    origin : tuple of int
        Row and column in the frame of its first pixel.

    Returns
    -------
    Tensor
        Shape (samples, C, scale H, scale W).

    Notes
    -----
    With the squares g and h of the factors of the signal before and after a step, DDPM replaces
    noise of the variance (1 - h) / (1 - g) (1 - g / h) (Song et al. 2020, eta = 1).
    """
    planes, rows, columns = picture.shape[1], *(net.scale * side for side in picture.shape[-2:])
    place = (net.scale * origin[0], net.scale * origin[1])
    levels = net.levels(sampling.steps)
    seen = net.begin(picture)
    drawn = []
    for number in range(sampling.samples):
        fields = (
            noise_field((sampling.seed, number, step), planes, place, (rows, columns))
            for step in range(sampling.steps)
        )
        image = next(fields).to(picture.device)
        for level, after in pairwise(levels):
            clean, left = net.estimate(seen, image, level)
            new = 0.0
            if sampling.sampler == "ddpm" and after.noise > 0:
                kept = (level.signal / after.signal) ** 2
                new = after.noise / level.noise * math.sqrt(1 - kept)
            image = after.signal * clean + math.sqrt(max(after.noise**2 - new**2, 0.0)) * left
            if new > 0:
                image = image + new * next(fields).to(picture.device)
        drawn.append(net.finish(seen, image))
    return torch.cat(drawn)
