"""Skies of several planes: one field of stars and clouds, seen through several filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from astro_sr_plugin.simulation.scene import (
    OVERSAMPLE,
    SceneConfig,
    chance,
    draw_extended,
    draw_stars,
    log_uniform,
    make_scene,
    star_spectrum,
)

__all__ = ["make_planes"]

_UNRELATED = 0.06
"""How often the planes show different fields, so that nothing is taken for granted."""
_SENSITIVITY = 0.4
"""Scatter of the natural logarithm of the light of a plane over its noise."""
_STAR_COLOURS, _STAR_SCATTER = (0.1, 1.0), 0.1
"""Range of the colours of a field's stars along the line of black bodies, and scatter around it, in
natural logarithms."""
_ODD_STARS, _ODD_SCATTER = 0.04, 1.5
"""How many stars have other colours, such as those with emission lines, and how different."""
_CLOUD_COLOURS = (0.05, 1.2)
"""Scatter of the natural logarithm of the colours of galaxies and clouds."""
_TWO_COLOURS = 0.5
"""How often there are two of a component, such as two gases, with colours of their own."""
_ONE_PLANE = 0.8
"""How often a trail is in one plane alone."""
_SHIFTED, _SHIFTS = 0.6, (0.02, 0.6)
"""How often the planes are shifted against each other, and how far (1 sigma, pixels)."""


def make_planes(config: SceneConfig, planes: int, rng: torch.Generator) -> Tensor:
    """Draw one sky as several filters see it.

    Parameters
    ----------
    config : SceneConfig
        What the sky may hold.
    planes : int
        How many filters; 1 is `make_scene`.
    rng : torch.Generator
        Source of randomness; its device is where the scene lives.

    Returns
    -------
    Tensor
        The spectra of `make_scene` for each plane, shape ``(planes, 2, n, n // 2 + 1)``.
    """
    if planes == 1 or chance(rng, _UNRELATED):
        return torch.stack([make_scene(config, rng) for _ in range(planes)])
    n = config.size * OVERSAMPLE
    x, y, flux = draw_stars(config, rng)
    colours = _star_colours(len(x), planes, rng)
    stars = torch.stack([star_spectrum(x, y, flux * colour, n) for colour in colours])
    extended = torch.zeros(planes, n, n, device=rng.device)
    for name, draw in draw_extended(config, rng):
        for _ in range(1 + chance(rng, _TWO_COLOURS)):
            light = draw(config, rng)
            if name == "trail" and chance(rng, _ONE_PLANE):
                only = int(torch.randint(planes, (1,), generator=rng, device=rng.device))
                extended[only] += light
            else:
                extended += _cloud_colours(planes, rng)[:, None, None] * light
    spectra = torch.stack([stars, torch.fft.rfft2(extended)], dim=1)
    level = torch.exp(_SENSITIVITY * _normal(rng, planes))
    spectra = spectra * level[:, None, None, None]
    if chance(rng, _SHIFTED):
        shifts = log_uniform(rng, *_SHIFTS) * _normal(rng, 2, planes)
        spectra = spectra * _shift(n, *shifts)[:, None]
    return spectra


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, device=rng.device)


def _star_colours(stars: int, planes: int, rng: torch.Generator) -> Tensor:
    """Draw the flux of stars in each plane over the mean, shape ``(planes, stars)``."""
    along = torch.linspace(-1, 1, planes, device=rng.device)
    if chance(rng, 0.5):
        along = along.flip(0)
    spread = log_uniform(rng, *_STAR_COLOURS)
    place = 2 * torch.rand(stars, generator=rng, device=rng.device) - 1
    odd = torch.rand(stars, generator=rng, device=rng.device) < _ODD_STARS
    scatter = torch.where(odd, _ODD_SCATTER, _STAR_SCATTER) * _normal(rng, planes, stars)
    return torch.exp(spread * along[:, None] * place + scatter)


def _cloud_colours(planes: int, rng: torch.Generator) -> Tensor:
    return torch.exp(log_uniform(rng, *_CLOUD_COLOURS) * _normal(rng, planes))


def _shift(n: int, x: Tensor, y: Tensor) -> Tensor:
    """Return what moves the spectra of planes by detector pixels, ``(planes, n, n // 2 + 1)``."""
    fy = torch.fft.fftfreq(n, device=x.device)[:, None]
    fx = torch.fft.rfftfreq(n, device=x.device)[None, :]
    phase = fy * y[:, None, None] + fx * x[:, None, None]
    return torch.polar(torch.ones_like(phase), -2 * math.pi * OVERSAMPLE * phase)
