"""Linear filters that change over the frame, because the PSF does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from astro_sr_plugin.models.filters import Filters, filter_spectra, make_wiener_filters
from astro_sr_plugin.models.spec import Conditions, PSFNodes

__all__ = ["FieldFilters", "interpolate", "prepare_filters", "prepare_kernels"]

_GRID = 128
"""Side in pixels of the grid of the spectra; above twice the radius of the kernels."""
_TOLERANCE = 0.02
"""Relative error of a reconvolved kernel at a node, below which no component is added."""
_MAX_COMPONENTS = 8
"""Components at most: each costs a Fourier transform of the image."""
_BLOCK = 512
"""Side in pixels of the blocks that are filtered at a time."""


def prepare_kernels(
    conditions: Conditions, target_fwhm: float | None, scale: int, device: str
) -> Tensor:
    """Make the Wiener filters of a plane, at the nodes of its PSF if that changes over the frame.

    Parameters
    ----------
    conditions : Conditions
        Measured on the plane.
    target_fwhm : float or None
        FWHM of the Gaussian target in output pixels; None keeps the PSF.
    scale : int
        Output pixels per input pixel.
    device : str
        Where the filters live.

    Returns
    -------
    Tensor
        Shape ``(1 or nodes, K, scale**2, h, w)``, as of `make_wiener_filters`.
    """
    psf, nodes = conditions.psf[None], conditions.nodes
    if nodes is not None:
        psf = nodes.images.reshape(-1, *nodes.images.shape[2:])
    target = None if target_fwhm is None else torch.tensor([target_fwhm], device=device)
    each = torch.from_numpy(psf).to(device).split(1)
    return torch.cat([make_wiener_filters(one, target, scale) for one in each])


def prepare_filters(groups: Sequence[Tensor], nodes: PSFNodes | None) -> Filters | FieldFilters:
    """Make filters of groups of kernels, each of shape ``(1 or nodes, n, h, w)``."""
    if nodes is None:
        return Filters(groups[0] if len(groups) == 1 else torch.cat(list(groups), dim=1))
    return FieldFilters(groups, nodes)


def interpolate(
    values: Tensor, nodes: PSFNodes, shape: tuple[int, int], origin: tuple[int, int]
) -> Tensor:
    """Interpolate ``(ny, nx, C)`` at the nodes to pixels of the frame: ``(C, H, W)``."""
    rows, columns = (
        torch.from_numpy(basis.astype(np.float32)).to(values.device)
        for basis in nodes.basis(
            np.arange(origin[0], origin[0] + shape[0]), np.arange(origin[1], origin[1] + shape[1])
        )
    )
    return torch.einsum("ya,abc,xb->cyx", rows, values, columns)


class FieldFilters:
    """Kernels known at nodes of a grid fixed to the frame, smoothly changing between them.

    The light of a pixel is spread by the kernel of its own place. The kernels at the nodes are
    their mean and a few principal components, whose coefficients follow splines through the nodes:
    the image times each coefficient is filtered by its component, and all are summed. There are no
    regions and no seams, the kernels' sum of 1 conserves the flux, and the value of a pixel does
    not depend on the tile that it is computed in.

    Parameters
    ----------
    groups : sequence of Tensor
        Each of shape ``(ny * nx, n, h, w)``: kernels at the nodes, odd sides, the same in all
        groups, centred. The kernels of a group share their components.
    nodes : PSFNodes
        The grid, of ``ny`` rows and ``nx`` columns, and the PSF that the kernels are for.

    References
    ----------
    Lauer (2002), Proc. SPIE 4847, 167; Denis et al. (2015), Int. J. Computer Vision 115, 253.
    """

    def __init__(self, groups: Sequence[Tensor], nodes: PSFNodes) -> None:
        self._nodes = nodes
        self._radius = groups[0].shape[-1] // 2
        psf = torch.from_numpy(nodes.images.mean(axis=(0, 1))).to(groups[0].device)
        light = filter_spectra(psf, (_GRID, _GRID))
        self._kernels, coefficients = zip(
            *(_principal(kernels, light) for kernels in groups), strict=True
        )
        self._coefficients = torch.cat(coefficients, dim=1).unflatten(0, nodes.fwhm.shape)
        self._count = sum(kernels.shape[1] for kernels in groups)
        self._shape = (0, 0)
        self._spectra: list[Tensor] = []

    def __call__(self, image: Tensor, origin: tuple[int, int]) -> Tensor:
        """Convolve an image of shape ``(B, 1, H, W)`` with all kernels: ``(B, N, H, W)``.

        ``origin`` is the row and column of the frame of its first pixel. As many of the outermost
        pixels as the kernels' radius are not valid: cut them off.
        """
        r, (height, width) = self._radius, image.shape[-2:]
        steps = _step(height - 2 * r), _step(width - 2 * r)
        sides = [fft.next_fast_len(step + 2 * r, real=True) for step in steps]
        if (sides[0], sides[1]) != self._shape:
            self._shape = sides[0], sides[1]
            self._spectra = [filter_spectra(kernels, self._shape) for kernels in self._kernels]
        result = image.new_zeros(image.shape[0], self._count, height, width)
        # Blocks keep the spectra of all components small, and in a processor's cache.
        for top in range(0, height - 2 * r, steps[0]):
            for left in range(0, width - 2 * r, steps[1]):
                part = image[..., top : top + steps[0] + 2 * r, left : left + steps[1] + 2 * r]
                inner = [slice(r, n - r) for n in part.shape[-2:]]
                filtered = self._filter(part, (origin[0] + top, origin[1] + left))
                place = result[..., top : top + part.shape[-2], left : left + part.shape[-1]]
                place[..., inner[0], inner[1]] = filtered[..., inner[0], inner[1]]
        return result

    def sums(self, shape: tuple[int, int], origin: tuple[int, int]) -> Tensor:
        """Sum of every kernel at every pixel of an image: ``(N, H, W)``."""
        coefficients = interpolate(self._coefficients, self._nodes, shape, origin)
        sums, first = [], 0
        for kernels in self._kernels:
            mean, *others = kernels.sum((-2, -1))[..., None, None]
            for coefficient, other in zip(coefficients[first:], others, strict=False):
                mean = mean + coefficient * other
            sums.append(mean.expand(-1, *shape))
            first += len(others)
        return torch.cat(sums)

    def _filter(self, part: Tensor, origin: tuple[int, int]) -> Tensor:
        size = part.shape[-2], part.shape[-1]
        coefficients = interpolate(self._coefficients, self._nodes, size, origin)
        whole = torch.fft.rfft2(part, s=self._shape)
        weighted: tuple[Tensor, ...] = ()
        if len(coefficients):
            weighted = torch.fft.rfft2(part * coefficients, s=self._shape).split(1, dim=1)
        filtered, first = [], 0
        for mean, *others in self._spectra:
            total = whole * mean
            for light, other in zip(weighted[first:], others, strict=False):
                total.addcmul_(light, other[None])
            filtered.append(torch.fft.irfft2(total, s=self._shape))
            first += len(others)
        return torch.cat(filtered, dim=1)


def _step(length: int) -> int:
    """Divide a length evenly into the steps of blocks."""
    return -(-length // max(1, -(-length // _BLOCK)))


def _principal(kernels: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the components of a group, and the components' coefficients at the nodes.

    The components are those of the kernels convolved with the mean PSF, whose spectrum is
    ``light``: they are the best for filtered stars.
    """
    flat = kernels.double().flatten(1)
    mean = flat.mean(0)
    stars = filter_spectra(kernels, (_GRID, _GRID)) * light
    stars = torch.view_as_real(stars).flatten(1).double()
    size = stars.norm(dim=1)
    stars = stars - stars.mean(0)
    vectors = torch.linalg.eigh(stars @ stars.T)[1].flip(1)
    count = 0
    while count < _MAX_COMPONENTS:
        found = vectors[:, :count]
        left = (stars - found @ (found.T @ stars)).norm(dim=1)
        if bool((left <= _TOLERANCE * size).all()):
            break
        count += 1
    found = vectors[:, :count]
    components = torch.cat([mean[None], found.T @ (flat - mean)])
    return components.float().unflatten(1, kernels.shape[1:]), found.float()
