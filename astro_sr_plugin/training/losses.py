"""Loss functions of the house networks; images in noise sigma, background near 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ApertureLoss", "AsinhLoss", "CharbonnierLoss", "RestorationLoss"]

_BRIGHT = 100.0
"""Sky sigma from which on a pixel counts more, if ``cores`` is set."""


class CharbonnierLoss(nn.Module):
    """Smooth L1 in noise units with a relative floor.

    ``mean(w * (sqrt(1 + d**2) - 1))`` with ``d = (x - t) / sqrt(1 + (floor * t)**2)``: quadratic
    for faint signals, so that they are not biased, and relative for bright ones.
    """

    def __init__(self, floor: float = 0.02) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of ``output`` against ``truth``, all ``(B, 1, H, W)``."""
        difference = (output - truth) / torch.sqrt(1 + (self.floor * truth) ** 2)
        return (weight * (torch.sqrt(1 + difference**2) - 1)).mean()


class AsinhLoss(nn.Module):
    """Absolute and squared error of ``asinh(x / 3)``: faint and bright parts count alike."""

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of ``output`` against ``truth``, all ``(B, 1, H, W)``."""
        difference = torch.asinh(output / 3) - torch.asinh(truth / 3)
        return (weight * (0.3 * difference.abs() + 3 * difference**2)).mean()


class ApertureLoss(nn.Module):
    """Error of the light in Gaussian apertures of several radii.

    The sums under Gaussians of sigma ``radii`` pixels are compared in units of the noise of such a
    sum, ``2 sqrt(pi) radius``, with a relative floor of ``floor``.
    """

    def __init__(self, radii: tuple[float, ...] = (1.5, 3.0, 6.0), floor: float = 0.005) -> None:
        super().__init__()
        self.radii, self.floor = radii, floor

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of ``output`` against ``truth``, all ``(B, 1, H, W)``."""
        n_y, n_x = output.shape[-2:]
        fy = torch.fft.fftfreq(n_y, device=output.device)[:, None]
        fx = torch.fft.rfftfreq(n_x, device=output.device)[None, :]
        k2 = fy**2 + fx**2
        difference = torch.fft.rfft2((output - truth) * (weight > 0.5))
        level = torch.fft.rfft2(truth)
        total = output.new_zeros(())
        for radius in self.radii:
            transfer = torch.exp(-2 * math.pi**2 * radius**2 * k2)
            noise = 1 / (2 * math.sqrt(math.pi) * radius)
            error = torch.fft.irfft2(difference * transfer, s=(n_y, n_x))
            light = torch.fft.irfft2(level * transfer, s=(n_y, n_x))
            scaled = error / torch.sqrt(noise**2 + (self.floor * light) ** 2)
            total = total + (torch.sqrt(1 + scaled**2) - 1).mean()
        return total / len(self.radii)


class RestorationLoss(nn.Module):
    """The sum that trains the shipped networks.

    Parameters
    ----------
    asinh, charbonnier, aperture : float
        Weights of the terms.
    border : int
        Pixels at the edge of the patch that do not count.
    cores : float
        How much more a pixel counts for each power of ten by which the truth exceeds 100 sigma: the
        cores of bright stars are so few pixels that without it their error hardly shows in the sum.
    """

    def __init__(
        self,
        asinh: float = 2.0,
        charbonnier: float = 0.1,
        aperture: float = 0.1,
        border: int = 8,
        cores: float = 0.0,
    ) -> None:
        super().__init__()
        self.weights = (asinh, charbonnier, aperture)
        self.terms = nn.ModuleList([AsinhLoss(), CharbonnierLoss(), ApertureLoss()])
        self.border, self.cores = border, cores

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of the terms.

        Parameters
        ----------
        output, truth, weight : Tensor
            Shape ``(B, 1, H, W)``; ``weight`` 0 to 1 says how much a pixel counts.
        """
        b = self.border
        # Not where saturation hides the truth: that would outweigh all else.
        core = torch.log10(1 + truth.clamp_min(0) / _BRIGHT) * (weight > 0.5)
        weight = weight * (1 + self.cores * core)
        inner = [image[..., b:-b, b:-b] for image in (output, truth, weight)]
        total = output.new_zeros(())
        for factor, term in zip(self.weights, self.terms, strict=True):
            total = total + factor * term(*inner)
        return total
