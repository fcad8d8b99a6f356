"""The light of a result held to that of its input, at scales above the width of the stars."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.models.filters import filter_axes, gaussian_axis

__all__ = ["STEPS", "LightLock"]

_WIDTH = 0.47
"""Standard deviation of the Gaussian that result and input are compared through, over the FWHM of
the stars."""
_RANGE = (1.5, 4.0)
"""Least and greatest standard deviation of that Gaussian in input pixels."""
_FLOOR = 1.0
"""Light in noise sigma below which the ratio of the light of input and result goes to 1: five times
the noise of an image through the narrowest Gaussian."""
_RATIOS = 2
"""Times that the ratio is applied. Of faint stars of 1.5 pixels, which a network spread, one left
89 % of the light in an aperture of a FWHM, two leave 94 %; a third makes rings of bright stars."""
_REACH = 3.5
"""Standard deviations after which the Gaussian ends."""
_APERTURE = 2.0
"""Standard deviations around the bright pixels of a source in which its light is summed up: what
a network spreads there is not lost."""
STEPS = _RATIOS + 1
"""Times that a result is compared with its input, each through the Gaussian."""


class LightLock:
    """Gives a result the light of its input at scales above the width of the stars.

    First twice by a ratio, which keeps the shape of stars that a network made too bright or too
    faint; what is left, of faint light and of the sky, is added.

    Parameters
    ----------
    fwhm : float
        FWHM of the stars of the input in its pixels.
    scale : int
        Output pixels per input pixel.
    device : str
        Where the images are.

    Attributes
    ----------
    noise : float
        Noise of a smoothed image whose pixels have the independent noise 1.
    """

    def __init__(self, fwhm: float, scale: int, device: str) -> None:
        self._radius, self._scale = self.reach(fwhm), scale
        self._aperture = math.ceil(_APERTURE * _sigma(fwhm))
        self._axis = gaussian_axis(_sigma(fwhm), self._radius).to(device)
        self.noise = float((self._axis**2).sum())

    @staticmethod
    def reach(fwhm: float) -> int:
        """Radius in pixels of the Gaussian for stars of this width."""
        return math.ceil(_REACH * _sigma(fwhm))

    def around(self, places: Tensor) -> Tensor:
        """Return where places (bool) are, or lie within two standard deviations."""
        side = 2 * self._aperture + 1
        near = functional.max_pool2d(places.float(), side, stride=1, padding=self._aperture)
        return near > 0

    def smooth(self, image: Tensor) -> Tensor:
        """Smooth an image; near its edges the result is not used."""
        r = self._radius
        return filter_axes(functional.pad(image, (r, r, r, r), mode="replicate"), self._axis)

    def __call__(self, given: Tensor, result: Tensor) -> Tensor:
        """Return the result with the light of ``given``."""
        wanted = self.smooth(given)
        for _ in range(_RATIOS):
            light = self.smooth(self.binned(result))
            ratio = (wanted.clamp_min(0) + _FLOOR) / (light.clamp_min(0) + _FLOOR)
            result = result * self._finer(ratio)
        return result + self._finer(wanted - self.smooth(self.binned(result)))

    def share_out(self, given: Tensor, luminance: Tensor, result: Tensor) -> Tensor:
        """Return the planes of an image with the detail of a better luminance.

        Each takes its part of the light, as the input has it at scales above the width of the
        stars; beside that it is interpolated.
        """
        if self._scale > 1:
            finer = [
                functional.interpolate(image, scale_factor=self._scale, mode="bicubic")
                for image in (given, luminance)
            ]
        else:
            finer = [given, luminance]
        parts = (self.smooth(image).clamp_min(0) + _FLOOR for image in (given, luminance))
        share = torch.div(*parts)
        return finer[0] + self._finer(share) * (self(luminance, result) - finer[1])

    def binned(self, image: Tensor) -> Tensor:
        """Average a result to the pixels of the input."""
        return functional.avg_pool2d(image, self._scale) if self._scale > 1 else image

    def _finer(self, image: Tensor) -> Tensor:
        if self._scale == 1:
            return image
        return functional.interpolate(image, scale_factor=self._scale, mode="bilinear")


def _sigma(fwhm: float) -> float:
    return min(max(_WIDTH * fwhm, _RANGE[0]), _RANGE[1])
