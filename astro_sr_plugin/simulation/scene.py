"""Skies before the telescope: stars, galaxies, nebulae and trails on a fine periodic grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = [
    "OVERSAMPLE",
    "SceneConfig",
    "chance",
    "draw_extended",
    "draw_stars",
    "fine_coordinates",
    "log_uniform",
    "make_scene",
    "power_law_field",
    "star_spectrum",
]

OVERSAMPLE = 2
"""Fine pixels per detector pixel along each axis."""


@dataclass(frozen=True)
class SceneConfig:
    """Ranges from which scenes are drawn.

    Attributes
    ----------
    size : int
        Side of the patch in detector pixels.
    star_density : tuple of float
        Least and greatest stars per detector pixel (log-uniform).
    star_flux : tuple of float
        Least and greatest flux of a star, in sky sigma of one pixel.
    star_slope : tuple of float
        Range of the exponent ``a`` of the cumulative counts ``N(>f) ~ f**-a``.
    galaxy_probability, nebula_probability, trail_probability, dark_probability : float
        How often a scene holds galaxies, nebulosity, satellite trails, and clouds that are darker
        than the sky.
    glow_probability : float
        How often a scene holds smooth light, such as the glow of an amplifier or of a horizon.
    nebula_level, dark_level, glow_level : tuple of float
        Least and greatest amplitude of nebulosity, of dark clouds and of smooth light in sky sigma
        (log-uniform).
    textures : tuple of Tensor
        Pictures, each at least ``size * OVERSAMPLE`` a side, used for four nebulae of ten.
    """

    size: int = 128
    star_density: tuple[float, float] = (1 / 2500, 1 / 45)
    star_flux: tuple[float, float] = (4.0, 3e5)
    star_slope: tuple[float, float] = (0.05, 0.9)
    galaxy_probability: float = 0.35
    nebula_probability: float = 0.35
    trail_probability: float = 0.02
    dark_probability: float = 0.08
    glow_probability: float = 0.0
    nebula_level: tuple[float, float] = (1.0, 150.0)
    dark_level: tuple[float, float] = (0.5, 40.0)
    glow_level: tuple[float, float] = (1.0, 300.0)
    textures: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)


Draw = Callable[[SceneConfig, torch.Generator], Tensor]
"""Draws the surface brightness of a component on the fine grid."""


def _uniform(rng: torch.Generator, low: float, high: float, n: int | None = None) -> Tensor:
    value = torch.rand(n or 1, generator=rng, device=rng.device) * (high - low) + low
    return value if n else value[0]


def log_uniform(rng: torch.Generator, low: float, high: float, n: int | None = None) -> Tensor:
    """Draw one number or ``n``, uniform in the logarithm."""
    return torch.exp(_uniform(rng, math.log(low), math.log(high), n))


def chance(rng: torch.Generator, probability: float) -> bool:
    """Return True so often."""
    return bool(torch.rand(1, generator=rng, device=rng.device) < probability)


def fine_coordinates(n: int, device: torch.device) -> Tensor:
    """Detector coordinates of the ``n`` fine pixels along one axis."""
    return (torch.arange(n, device=device) + 0.5) / OVERSAMPLE - 0.5


def power_law_field(n: int, slope: float, rng: torch.Generator) -> Tensor:
    """Draw a periodic Gaussian random field with power spectrum ``k**-slope``, std 1, mean 0.

    Parameters
    ----------
    n : int
        Side of the field in pixels.
    slope : float
        Exponent of the power spectrum; 2.4 to 3.6 looks like interstellar clouds.
    rng : torch.Generator
        Source of randomness; its device is where the field lives.

    Returns
    -------
    Tensor
        Shape ``(n, n)``.
    """
    fy = torch.fft.fftfreq(n, device=rng.device)[:, None]
    fx = torch.fft.rfftfreq(n, device=rng.device)[None, :]
    k2 = fy**2 + fx**2
    k2[0, 0] = 1.0
    amplitude = k2 ** (-slope / 4)
    amplitude[0, 0] = 0.0
    white = torch.fft.rfft2(torch.randn(n, n, generator=rng, device=rng.device))
    out = torch.fft.irfft2(white * amplitude, s=(n, n))
    return (out - out.mean()) / out.std()


def star_spectrum(x: Tensor, y: Tensor, flux: Tensor, n: int) -> Tensor:
    """Exact spectrum of point sources at sub-pixel places: a sum of separable phase ramps."""
    u, v = (x + 0.5) * OVERSAMPLE - 0.5, (y + 0.5) * OVERSAMPLE - 0.5
    fy = torch.fft.fftfreq(n, device=x.device)
    fx = torch.fft.rfftfreq(n, device=x.device)
    ramp_y = torch.polar(torch.ones(1, device=x.device), -2 * math.pi * fy[:, None] * v[None, :])
    ramp_x = torch.polar(torch.ones(1, device=x.device), -2 * math.pi * u[:, None] * fx[None, :])
    return (ramp_y * (flux * OVERSAMPLE**2)[None, :]) @ ramp_x


def draw_stars(config: SceneConfig, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the places of the stars, x and y in detector pixels, and their flux."""
    size = config.size
    density = float(log_uniform(rng, *config.star_density))
    mean = torch.tensor(density * size**2, device=rng.device)
    n = max(1, int(torch.poisson(mean, generator=rng)))
    n = min(n, 600)
    x, y = _uniform(rng, 0, size, n), _uniform(rng, 0, size, n)
    if chance(rng, 0.25):
        width = float(_uniform(rng, 0.06, 0.2)) * size
        members = torch.rand(n, generator=rng, device=rng.device) < 0.6
        centre = _uniform(rng, 0, size, 2)
        offset = torch.randn(2, n, generator=rng, device=rng.device) * width
        x = torch.where(members, (centre[0] + offset[0]) % size, x)
        y = torch.where(members, (centre[1] + offset[1]) % size, y)
    if chance(rng, 0.3):
        pairs = max(1, n // 4)
        angle = _uniform(rng, 0, 2 * math.pi, pairs)
        distance = log_uniform(rng, 0.7, 6.0, pairs)
        x = torch.cat([x, (x[:pairs] + distance * torch.cos(angle)) % size])
        y = torch.cat([y, (y[:pairs] + distance * torch.sin(angle)) % size])
    slope = float(_uniform(rng, *config.star_slope))
    low = float(log_uniform(rng, config.star_flux[0], config.star_flux[0] * 20))
    high = float(log_uniform(rng, 1e3, config.star_flux[1]))
    u = torch.rand(len(x), generator=rng, device=rng.device)
    flux = (low**-slope - u * (low**-slope - high**-slope)) ** (-1 / slope)
    return x, y, flux


def _galaxies(config: SceneConfig, rng: torch.Generator) -> Tensor:
    n = config.size * OVERSAMPLE
    grid = fine_coordinates(n, rng.device)
    out = torch.zeros(n, n, device=rng.device)
    count = int(log_uniform(rng, 1, 14))
    for _ in range(count):
        xc, yc = _uniform(rng, 0, config.size, 2)
        radius = log_uniform(rng, 0.8, 14.0)
        q = _uniform(rng, 0.2, 1.0)
        theta = _uniform(rng, 0, math.pi)
        index = log_uniform(rng, 0.5, 4.5)
        peak = log_uniform(rng, 0.5, 300.0)
        dx = (grid[None, :] - xc + config.size / 2) % config.size - config.size / 2
        dy = (grid[:, None] - yc + config.size / 2) % config.size - config.size / 2
        major = dx * torch.cos(theta) + dy * torch.sin(theta)
        minor = (dy * torch.cos(theta) - dx * torch.sin(theta)) / q
        r = torch.sqrt(major**2 + minor**2 + 0.1) / radius
        b = 1.9992 * index - 0.3271  # Capaccioli (1989), half-light radius of a Sersic profile
        profile = torch.exp(-b.clamp_min(0.1) * (r ** (1 / index) - 1))
        if radius > 4 and chance(rng, 0.5):
            winding = _uniform(rng, 2.0, 6.0)
            phase = torch.atan2(minor, major) * 2 - winding * torch.log(r + 0.1)
            arms = 1 + 0.8 * torch.cos(phase) * (r / (r + 0.5))
            knots = torch.exp(0.8 * power_law_field(n, 1.6, rng))
            profile = profile * arms * (0.5 + 0.5 * knots)
        out += peak * profile / profile.max() * (3 / (1 + index))
    return out


def _nebula(config: SceneConfig, rng: torch.Generator) -> Tensor:
    n = config.size * OVERSAMPLE
    level = float(log_uniform(rng, *config.nebula_level))
    if config.textures and chance(rng, 0.4):
        pick = int(torch.randint(len(config.textures), (1,), generator=rng, device=rng.device))
        texture = config.textures[pick].to(rng.device)
        y0, x0 = (
            int(torch.randint(side - n + 1, (1,), generator=rng, device=rng.device))
            for side in texture.shape
        )
        crop = texture[y0 : y0 + n, x0 : x0 + n]
        edge = torch.sin(torch.linspace(0, math.pi, n, device=rng.device)).clamp_min(0) ** 0.3
        return level * crop * edge[:, None] * edge[None, :]
    slope = float(_uniform(rng, 2.2, 3.8))
    base = power_law_field(n, slope, rng)
    kind = int(torch.randint(4, (1,), generator=rng, device=rng.device))
    if kind == 0:
        cloud = torch.exp(float(_uniform(rng, 0.4, 1.4)) * base)
    elif kind == 1:
        cloud = torch.exp(-float(_uniform(rng, 2.0, 8.0)) * base.abs())
    elif kind == 2:
        steepness, threshold = _uniform(rng, 2.0, 12.0), _uniform(rng, -1, 1)
        cloud = torch.sigmoid(steepness * (base - threshold))
    else:
        cloud = (base - base.min()) / (base.max() - base.min())
    if chance(rng, 0.3):
        dust = power_law_field(n, 3.0, rng)
        cloud = cloud * torch.exp(-float(_uniform(rng, 0.5, 2.0)) * torch.relu(dust))
    return level * cloud / cloud.quantile(0.98).clamp_min(1e-3)


def _dark_cloud(config: SceneConfig, rng: torch.Generator) -> Tensor:
    """Draw a cloud that keeps light of the sky behind it: nowhere above 0."""
    base = power_law_field(config.size * OVERSAMPLE, float(_uniform(rng, 2.2, 3.8)), rng)
    depth = float(log_uniform(rng, *config.dark_level))
    steepness, threshold = _uniform(rng, 1.0, 10.0), _uniform(rng, -0.5, 1.5)
    return -depth * torch.sigmoid(steepness * (base - threshold))


def _glow(config: SceneConfig, rng: torch.Generator) -> Tensor:
    """Draw smooth light: brightest at one place, falling off exponentially, periodic."""
    grid = fine_coordinates(config.size * OVERSAMPLE, rng.device) / config.size
    level = float(log_uniform(rng, *config.glow_level))
    place, fall = _uniform(rng, 0, 1, 2), log_uniform(rng, 1.0, 12.0, 2)
    wave = [0.5 - 0.5 * torch.cos(2 * math.pi * (grid - at)) for at in place]
    return level * torch.exp(-fall[0] * wave[0][:, None] - fall[1] * wave[1][None, :])


def _trail(config: SceneConfig, rng: torch.Generator) -> Tensor:
    n = config.size * OVERSAMPLE
    grid = fine_coordinates(n, rng.device)
    # A whole number of windings keeps the trail continuous on the torus.
    slope = int(torch.randint(-2, 3, (1,), generator=rng, device=rng.device))
    shift = float(_uniform(rng, 0, config.size))
    distance = (grid[:, None] - slope * grid[None, :] - shift) / math.sqrt(1 + slope**2)
    period = config.size / math.sqrt(1 + slope**2)
    distance = (distance + period / 2) % period - period / 2
    line = torch.exp(-0.5 * (distance / 0.4) ** 2) * float(log_uniform(rng, 3, 200))
    return line if chance(rng, 0.5) else line.T.contiguous()


def make_scene(config: SceneConfig, rng: torch.Generator) -> Tensor:
    """Draw one sky.

    Parameters
    ----------
    config : SceneConfig
        What the sky may hold.
    rng : torch.Generator
        Source of randomness; its device is where the scene lives.

    Returns
    -------
    Tensor
        Spectra (`torch.fft.rfft2`) of the surface brightness of the stars and of everything else on
        the fine grid, complex64, shape ``(2, n, n // 2 + 1)`` with
        ``n = config.size * OVERSAMPLE``.
    """
    n = config.size * OVERSAMPLE
    stars = star_spectrum(*draw_stars(config, rng), n)
    extended = torch.zeros(n, n, device=rng.device)
    for _, draw in draw_extended(config, rng):
        extended += draw(config, rng)
    return torch.stack([stars, torch.fft.rfft2(extended)])


def draw_extended(config: SceneConfig, rng: torch.Generator) -> Iterator[tuple[str, Draw]]:
    """Yield what a sky holds beside stars: the name of a component, and what draws it."""
    for name, probability, draw in (
        ("galaxies", config.galaxy_probability, _galaxies),
        ("nebula", config.nebula_probability, _nebula),
        ("trail", config.trail_probability, _trail),
        ("dark", config.dark_probability, _dark_cloud),
        ("glow", config.glow_probability, _glow),
    ):
        if chance(rng, probability):
            yield name, draw
