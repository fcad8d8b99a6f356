"""Loss functions of the published networks; images stretched to about 0 to 1.

Every loss takes what a network made and what it should have made, of shape (B, C, H, W), and
returns a number that is 0 where both are equal. ``d`` is their difference, ``mean`` runs over all
pixels. The losses are those of AstroSWIN (github.com/octopus4/astroSWIN), as its authors describe
them; two of them are coded differently there, which ``as_published`` brings back.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.exceptions import InputError

__all__ = [
    "LOSSES",
    "AbsoluteLoss",
    "BackgroundLoss",
    "BrightnessMaskLoss",
    "ColourDifferenceLoss",
    "GradientLoss",
    "HistogramLoss",
    "LaplacianLoss",
    "PictureLoss",
    "SquaredLoss",
]


_SAME = 0.1
"""Difference in CIELAB below which the loss of colours is a square."""
_XYZ = (
    (0.43395, 0.37622, 0.18984),
    (0.21267, 0.71515, 0.07218),
    (0.01775, 0.10947, 0.87277),
)
"""X, Y and Z of red, green and blue of sRGB, over those of white (D65)."""


class AbsoluteLoss(nn.Module):
    """L1: ``mean |d|``."""

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        return (output - truth).abs().mean()


class SquaredLoss(nn.Module):
    """L2: ``mean d^2``."""

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        return ((output - truth) ** 2).mean()


class ColourDifferenceLoss(nn.Module):
    """Difference of colours as seen: ``mean sqrt(|d|^2 + s^2) - s``, over ``1 + 0.045 C``.

    ``d`` is in CIELAB for pictures of sRGB (D65), ``C`` the chroma of the truth, which makes it
    about the difference CIE94, and ``s`` is 0.1. Where colours cannot be known, the least is at the
    median of those that are possible, near gray: a network that is unsure is pale, not wrong.
    """

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        lab = _lab(truth)
        chroma = torch.hypot(lab[:, 1], lab[:, 2])
        difference = ((_lab(output) - lab) ** 2).sum(1)
        seen = (difference + _SAME**2).sqrt() - _SAME
        return (seen / (1 + 0.045 * chroma)).mean()


def _lab(image: Tensor) -> Tensor:
    """Return CIELAB of pictures (B, 3, H, W) or (B, 1, H, W) from 0 to 1, which is clipped."""
    tones = image.clamp(1e-4, 1).expand(-1, 3, -1, -1)
    light = torch.where(tones > 0.04045, ((tones + 0.055) / 1.055) ** 2.4, tones / 12.92)
    x, y, z = torch.einsum("ij,bjhw->bihw", torch.tensor(_XYZ).to(light), light).unbind(1)
    x, y, z = (
        torch.where(v > 0.008856, v.clamp_min(1e-6) ** (1 / 3), 7.787 * v + 16 / 116)
        for v in (x, y, z)
    )
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


class GradientLoss(nn.Module):
    """L1 of the differences between neighbours: ``mean |D_x d| + mean |D_y d|``."""

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        difference = output - truth
        return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


class LaplacianLoss(nn.Module):
    """L1 and L1 of the Laplacian: ``a mean |d| + (1 - a) mean |L * d|``.

    ``L`` is the Laplacian of the four neighbours.

    Parameters
    ----------
    share : float
        ``a``, 0.65 as published.
    """

    def __init__(self, share: float = 0.65) -> None:
        super().__init__()
        self.share = share

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        difference = output - truth
        detail = _laplacian(difference).abs().mean()
        return self.share * difference.abs().mean() + (1 - self.share) * detail


class HistogramLoss(nn.Module):
    """Difference of the distributions of the values, wherever they stand in the image.

    By default the earth mover's distance in one dimension, ``mean |sort(y) - sort(t)|`` in each
    plane (Rabin et al. 2012, for one direction), which has a gradient everywhere.

    Parameters
    ----------
    as_published : bool
        L1 between histograms of 256 bins from 0 to 1, in which a value counts for all bins within
        ``width`` of it; no gradient outside of 0 to 1, and 256 floats of memory per value.
    width : float
        Half width of such a count, 0.05 as published.
    """

    def __init__(self, as_published: bool = False, width: float = 0.05) -> None:
        super().__init__()
        self.as_published, self.width = as_published, width

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        if self.as_published:
            return (self._histogram(output) - self._histogram(truth)).abs().mean()
        first, second = (image.flatten(2).sort(dim=-1).values for image in (output, truth))
        return (first - second).abs().mean()

    def _histogram(self, image: Tensor) -> Tensor:
        """Return the share of the pixels in each bin, of shape (B, C, bins)."""
        centres = torch.linspace(0, 1, 256, dtype=image.dtype, device=image.device)
        counts = F.relu(1 - (image.flatten(2)[..., None] - centres).abs() / self.width)
        return counts.mean(dim=2)


class BrightnessMaskLoss(nn.Module):
    """L2 in the dark and L1 in the light: ``mean s(-u) d^2 + mean s(u) |d|``.

    ``s`` is the logistic function and ``u = (t - level) / softness`` says how bright the truth is.
    Faint noise is thus averaged, and bright detail stays sharp.

    Parameters
    ----------
    level : float
        Brightness that counts for both alike; the default lies above the sky of a stretched plane.
    softness : float
        Width of the transition.
    as_published : bool
        ``mean s(1 - t) d^2 + mean s(t) |d|``, whose masks go from 0.5 to 0.73 only.
    """

    def __init__(
        self, level: float = 0.35, softness: float = 0.05, as_published: bool = False
    ) -> None:
        super().__init__()
        self.level, self.softness, self.as_published = level, softness, as_published

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        difference = output - truth
        if self.as_published:
            dark, bright = torch.sigmoid(1 - truth), torch.sigmoid(truth)
        else:
            bright = torch.sigmoid((truth - self.level) / self.softness)
            dark = 1 - bright
        return (dark * difference**2).mean() + (bright * difference.abs()).mean()


class BackgroundLoss(nn.Module):
    """Adaptive homogeneous background (AHBG): noise where the truth is flat.

    In every square of ``side`` pixels whose variance in the truth is below ``flat``, the variance
    of the Laplacian of the result counts as far as it exceeds that of the truth:
    ``mean_p m_p max(0, var_p(L * y) - var_p(L * t))``.

    Parameters
    ----------
    side : int
        Side of the squares in pixels.
    flat : float
        Variance of the truth below which a square is background; the default is the square of 0.02.
    as_published : bool
        ``mean_p (1 - m) (var y - var t)^2``, with one variance per image, of its means over squares
        of 32 pixels, and ``m`` 1 where that of the truth is below 1e-3: it acts only where the
        truth is not flat.
    """

    def __init__(self, side: int = 8, flat: float = 4e-4, as_published: bool = False) -> None:
        super().__init__()
        self.side, self.flat, self.as_published = side, flat, as_published

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the loss."""
        if self.as_published:
            first, second = (F.avg_pool2d(i, 32).flatten(2).var(dim=-1) for i in (output, truth))
            return ((second >= 1e-3) * (first - second) ** 2).mean()
        flat = self._variance(truth[..., 1:-1, 1:-1]) < self.flat
        more = self._variance(_laplacian(output)) - self._variance(_laplacian(truth))
        return (flat * F.relu(more)).mean()

    def _variance(self, image: Tensor) -> Tensor:
        """Return the variance in each square."""
        mean = F.avg_pool2d(image, self.side)
        inner = image[..., : mean.shape[-2] * self.side, : mean.shape[-1] * self.side]
        spread = inner - mean.repeat_interleave(self.side, -1).repeat_interleave(self.side, -2)
        return F.avg_pool2d(spread**2, self.side)


def _laplacian(image: Tensor) -> Tensor:
    """Return the sum of the four neighbours less four times the pixel, one pixel smaller."""
    across = image[..., 1:-1, 2:] + image[..., 1:-1, :-2]
    down = image[..., 2:, 1:-1] + image[..., :-2, 1:-1]
    return across + down - 4 * image[..., 1:-1, 1:-1]


LOSSES: dict[str, type[nn.Module]] = {
    "l1": AbsoluteLoss,
    "l2": SquaredLoss,
    "gradient": GradientLoss,
    "laplacian": LaplacianLoss,
    "histogram": HistogramLoss,
    "brightness": BrightnessMaskLoss,
    "background": BackgroundLoss,
    "colour-difference": ColourDifferenceLoss,
}
"""The losses by the names that they have in the settings of a run."""
_PUBLISHED = "-as-published"
"""Ending of the name of a loss as its authors coded it."""


class PictureLoss(nn.Module):
    """The weighted sum of some losses.

    Parameters
    ----------
    weights : mapping of str to float
        Weights by the names of `LOSSES`; ``histogram``, ``brightness`` and ``background`` have a
        second form, ``histogram-as-published`` and so on.

    Raises
    ------
    InputError
        If a name is not known.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        coded = {f"{name}{_PUBLISHED}" for name in ("histogram", "brightness", "background")}
        unknown = sorted(set(weights) - set(LOSSES) - coded)
        if unknown or not weights:
            allowed = ", ".join(sorted({*LOSSES, *coded}))
            msg = f"losses {unknown} are not known; allowed is one or more of {allowed}"
            raise InputError(msg)
        self.weights = dict(weights)
        self.terms = nn.ModuleList(
            LOSSES[name.removesuffix(_PUBLISHED)](as_published=True)
            if name.endswith(_PUBLISHED)
            else LOSSES[name]()
            for name in weights
        )

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return the weighted sum."""
        total = output.new_zeros(())
        for weight, term in zip(self.weights.values(), self.terms, strict=True):
            total = total + weight * term(output, truth)
        return total
