"""What makes the input of a network of the truth: blur, coarser pixels, noise.

All kernels are centred, so that no network learns to shift an image, and have sum 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from astro_sr_plugin.exceptions import InputError

__all__ = [
    "MARGIN",
    "DegradationConfig",
    "add_noise",
    "blur",
    "degrade",
    "disc_kernel",
    "draw_kernel",
    "gaussian_kernel",
    "moffat_kernel",
    "motion_kernel",
]

MARGIN = 16
"""Pixels at each side of a patch that blurring uses up; kernels have twice as many and one."""
_FINE = 4
"""Samples along each axis that a kernel with sharp edges is averaged over in each pixel."""
_NOISE_REACH = MARGIN - 6
"""Pixels at each edge of a kernel that smooth noise does without: 1e-8 of it, most of the time."""
_PIXEL_SIGMA = 12**-0.5
"""Standard deviation of the light within a square pixel, in pixels."""


@dataclass(frozen=True)
class DegradationConfig:
    """Ranges from which degradations are drawn.

    Attributes
    ----------
    blurs : tuple of str
        Kinds of blur that are drawn from: ``gaussian``, ``anisotropic``, ``motion``, ``disc`` (out
        of focus) and ``moffat`` (seeing).
    most_blurs : int
        Up to so many of them follow each other.
    clean_probability : float
        How often a patch is not blurred.
    sigma : tuple of float
        Range of the standard deviation of Gaussians, in pixels of the truth.
    length : tuple of float
        Range of the length of motion, in pixels.
    radius : tuple of float
        Range of the radius of discs, in pixels.
    fwhm : tuple of float
        Range of the full width at half maximum of Moffat profiles, in pixels.
    electrons : tuple of float
        Electrons in a light of one noise sigma (log-uniform), which give bright pixels more noise.
    correlated_probability : float
        How often the noise is smooth, as after registration or debayering.
    """

    blurs: tuple[str, ...] = ("gaussian", "anisotropic", "motion", "disc", "moffat")
    most_blurs: int = 2
    clean_probability: float = 0.05
    sigma: tuple[float, float] = (0.5, 2.0)
    length: tuple[float, float] = (1.0, 6.0)
    radius: tuple[float, float] = (0.7, 3.0)
    fwhm: tuple[float, float] = (1.5, 5.0)
    electrons: tuple[float, float] = (3.0, 3000.0)
    correlated_probability: float = 0.3

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.blurs) - set(_DRAWN)):
            msg = f"blurs {unknown} are not known; allowed are {', '.join(_DRAWN)}"
            raise InputError(msg)
        if self.most_blurs < 1:
            msg = f"most_blurs = {self.most_blurs} is not allowed; take 1 or more"
            raise InputError(msg)


def _grid(samples: int = 1) -> tuple[Tensor, Tensor]:
    """Return y and x of the samples of a kernel, in pixels from its middle."""
    side = 2 * MARGIN + 1
    along = (torch.arange(side * samples, dtype=torch.float64) + 0.5) / samples - side / 2
    y, x = torch.meshgrid(along, along, indexing="ij")
    return y, x


def _normalised(fine: Tensor) -> Tensor:
    """Return the kernel of samples; the mean with its mirror image is centred to rounding."""
    kernel = F.avg_pool2d(fine[None, None], fine.shape[-1] // (2 * MARGIN + 1))[0, 0]
    kernel = kernel + kernel.flip(0, 1)
    return (kernel / kernel.sum()).float()


def gaussian_kernel(sigma: float, ratio: float = 1.0, angle: float = 0.0) -> Tensor:
    """Return a Gaussian.

    Parameters
    ----------
    sigma : float
        Standard deviation along its long axis, in pixels.
    ratio : float
        That of the short axis over it.
    angle : float
        Of the long axis from +x, in radians.

    Returns
    -------
    Tensor
        Shape (2 MARGIN + 1, 2 MARGIN + 1), as that of all kernels.
    """
    y, x = _grid(_FINE)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return _normalised(torch.exp(-0.5 * ((along / sigma) ** 2 + (across / (ratio * sigma)) ** 2)))


def motion_kernel(length: float, angle: float) -> Tensor:
    """Return a straight line of ``length`` pixels, a pixel wide, at ``angle`` radians from +x."""
    y, x = _grid(_FINE)
    along = (x * math.cos(angle) + y * math.sin(angle)) / _PIXEL_SIGMA
    across = (y * math.cos(angle) - x * math.sin(angle)) / _PIXEL_SIGMA
    # A line of Gaussians, each as wide as the light within a pixel.
    half = length / (2 * _PIXEL_SIGMA)
    line = torch.special.ndtr(along + half) - torch.special.ndtr(along - half)
    return _normalised(line * torch.exp(-0.5 * across**2))


def disc_kernel(radius: float) -> Tensor:
    """Return a disc, the image of a point out of focus, of ``radius`` pixels."""
    y, x = _grid(_FINE)
    # The edge is as soft as one sample, so that the kernel changes smoothly with the radius.
    return _normalised(((radius - torch.hypot(y, x)) * _FINE + 0.5).clamp(0, 1))


def moffat_kernel(fwhm: float, beta: float) -> Tensor:
    """Return a Moffat profile of ``fwhm`` pixels, the image of a star under turbulent air."""
    y, x = _grid(_FINE)
    alpha = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    return _normalised((1 + (x**2 + y**2) / alpha**2) ** -beta)


def _uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(1, generator=rng, device=rng.device))


def log_uniform(rng: torch.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return math.exp(_uniform(rng, math.log(low), math.log(high)))


_DRAWN: dict[str, Callable[[DegradationConfig, torch.Generator], Tensor]] = {
    "gaussian": lambda c, rng: gaussian_kernel(_uniform(rng, *c.sigma)),
    "anisotropic": lambda c, rng: gaussian_kernel(
        _uniform(rng, *c.sigma), _uniform(rng, 0.4, 1.0), _uniform(rng, 0, math.pi)
    ),
    "motion": lambda c, rng: motion_kernel(_uniform(rng, *c.length), _uniform(rng, 0, math.pi)),
    "disc": lambda c, rng: disc_kernel(_uniform(rng, *c.radius)),
    "moffat": lambda c, rng: moffat_kernel(_uniform(rng, *c.fwhm), _uniform(rng, 2.0, 5.0)),
}


def draw_kernel(config: DegradationConfig, rng: torch.Generator) -> Tensor:
    """Draw one kernel: several kinds of blur after each other, or none."""
    kernel = torch.zeros(2 * MARGIN + 1, 2 * MARGIN + 1)
    kernel[MARGIN, MARGIN] = 1.0
    if _uniform(rng, 0, 1) < config.clean_probability:
        return kernel
    for _ in range(1 + int(_uniform(rng, 0, config.most_blurs))):
        kind = config.blurs[int(_uniform(rng, 0, len(config.blurs)))]
        kernel = F.conv2d(
            kernel[None, None], _DRAWN[kind](config, rng)[None, None], padding=MARGIN
        )[0, 0]
    return kernel / kernel.sum()


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve planes (C, H, W) with a kernel; the result is `MARGIN` pixels smaller everywhere."""
    # PyTorch correlates; a kernel turned by 180 degrees convolves.
    turned = kernel.flip(0, 1).to(image)[None, None]
    return F.conv2d(image[:, None], turned)[:, 0]


def degrade(light: Tensor, scale: int, config: DegradationConfig, rng: torch.Generator) -> Tensor:
    """Observe a patch.

    Parameters
    ----------
    light : Tensor
        Shape (C, H, W): the truth with `MARGIN` more pixels at each side, in noise sigma.
    scale : int
        Pixels of the truth in one of the observation along each axis, which are averaged.
    config : DegradationConfig
        What may happen.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        Shape (C, (H - 2 MARGIN) / scale, (W - 2 MARGIN) / scale), with noise of sigma 1 where it is
        dark.
    """
    seen = blur(light, draw_kernel(config, rng))
    return add_noise(F.avg_pool2d(seen, scale) if scale > 1 else seen, config, rng)


def add_noise(light: Tensor, config: DegradationConfig, rng: torch.Generator) -> Tensor:
    """Add noise of sigma 1 where it is dark, and that of the photons, to planes (C, H, W)."""
    noise = torch.randn(light.shape, generator=rng, device=rng.device)
    if _uniform(rng, 0, 1) < config.correlated_probability:
        smooth = gaussian_kernel(_uniform(rng, 0.4, 1.0)).to(noise)
        wide = torch.randn(
            (len(light), light.shape[1] + 2 * MARGIN, light.shape[2] + 2 * MARGIN),
            generator=rng,
            device=rng.device,
        )
        near = slice(_NOISE_REACH, -_NOISE_REACH)
        noise = blur(wide[:, near, near], smooth[near, near]) / smooth.square().sum().sqrt()
    electrons = log_uniform(rng, *config.electrons)
    return light + noise * torch.sqrt(1 + light.clamp_min(0) / electrons)
