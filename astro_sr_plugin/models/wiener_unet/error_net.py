"""A small network that estimates the standard deviation of a result, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_sr_plugin.models.wiener_unet.unet import CONDITIONS, Stage, asinh, at_level

__all__ = [
    "ERROR_CONDITIONS",
    "ERROR_REACH",
    "FWHM_ERRORS",
    "LEVELS",
    "ErrorNet",
    "encode_error_conditions",
]

ERROR_CONDITIONS = CONDITIONS + 1
"""Those of the main network, and the error of the measured FWHM."""

ERROR_REACH = 32
"""Input pixels around a pixel of the result on which its error depends."""

FWHM_ERRORS = (0.005, 0.12)
"""Relative errors of the FWHM for which it is trained."""

LEVELS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Pixel values in noise sigma at which the scale of the error was calibrated."""

_MIN_LOG, _MAX_LOG = -6.0, 9.0
"""Range of the natural logarithm of the error in noise sigma: 0.002 to 8000."""


class ErrorNet(nn.Module):
    """Predict the standard deviation of ``result - truth`` from the result and its input.

    The quantiles of ``|result - truth|`` at 68.3, 90 and 95 % are fitted by those of a normal
    distribution, and a factor per level of brightness, found on simulated skies that the training
    never saw, makes the coverage right there (conformal calibration).

    Parameters
    ----------
    scale : int
        Output pixels per input pixel along each axis.
    widths : tuple of int
        Channels at 1/2 and 1/4 of the input resolution.

    References
    ----------
    Koenker & Bassett (1978), Econometrica 46, 33 (quantile regression); Romano et al. (2019),
    arXiv:1905.03222 (its conformal calibration).
    """

    def __init__(self, scale: int = 1, widths: tuple[int, int] = (24, 48)) -> None:
        super().__init__()
        self.scale = scale
        fine, coarse = widths
        self.head = nn.Conv2d(4 * (2 + scale**2), fine, 3, padding=1)
        self.first = Stage(fine, 1, ERROR_CONDITIONS)
        self.down = nn.Conv2d(fine, coarse, 2, stride=2)
        self.middle = Stage(coarse, 2, ERROR_CONDITIONS)
        self.up = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.last = Stage(fine, 1, ERROR_CONDITIONS)
        self.tail = nn.Conv2d(fine, 4 * scale**2, 3, padding=1)
        self.factors: Tensor
        self.register_buffer("factors", torch.ones(len(LEVELS)))

    def forward(self, result: Tensor, observed: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """Return the standard deviation of the error, in noise sigma.

        Parameters
        ----------
        result : Tensor
            Shape ``(B, 1, scale * H, scale * W)``, in noise sigma.
        observed, mask : Tensor
            Shape ``(B, 1, H, W)``, as the main network saw them; ``H`` and ``W`` multiples of 4.
        conditions : Tensor
            Shape ``(B, ERROR_CONDITIONS)``; ``(B, ERROR_CONDITIONS, H, W)`` where they change over
            the image (without gradients).

        Returns
        -------
        Tensor
            Shape of ``result``. The outermost `ERROR_REACH` input pixels are not valid.
        """
        phases = functional.pixel_unshuffle(result, self.scale)
        planes = torch.cat([asinh(phases), asinh(observed), mask.clamp_min(0.0)], dim=1)
        fine, coarse = (at_level(conditions, level) for level in (0, 1))
        x = self.first(self.head(functional.pixel_unshuffle(planes, 2)), fine)
        deep = self.middle(self.down(x), coarse)
        x = self.last(self.up(deep).add_(x), fine)
        raw = functional.pixel_shuffle(self.tail(x).float(), 2 * self.scale)
        return raw.clamp(_MIN_LOG, _MAX_LOG).exp() * self._factor(result)

    def _factor(self, result: Tensor) -> Tensor:
        """Interpolate the calibration in the logarithm of the brightness."""
        levels = torch.tensor(LEVELS, device=result.device).log()
        place = result.abs().clamp(LEVELS[0], LEVELS[-1]).log()
        above = torch.bucketize(place, levels).clamp(1, len(LEVELS) - 1)
        low, high = levels[above - 1], levels[above]
        share = (place - low) / (high - low)
        return torch.lerp(self.factors[above - 1], self.factors[above], share)


def encode_error_conditions(conditions: Tensor, fwhm_error: float | Tensor) -> Tensor:
    """Add the relative error of the FWHM to what `encode_conditions` returned.

    Parameters
    ----------
    conditions : Tensor
        Shape ``(B, CONDITIONS)``.
    fwhm_error : float or Tensor
        One number, or shape ``(B,)``.

    Returns
    -------
    Tensor
        Shape ``(B, ERROR_CONDITIONS)``.
    """
    error = torch.as_tensor(fwhm_error, device=conditions.device).clamp(*FWHM_ERRORS)
    column = torch.log(error / 0.025).expand(len(conditions))[:, None]
    return torch.cat([conditions, column], dim=1)
