"""Linear filters of finite support: the Wiener estimates that the networks start from."""

from __future__ import annotations

import math

import torch
from scipy import fft
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.constants import FWHM_PER_SIGMA

__all__ = [
    "BILATERAL_RADIUS",
    "FILTER_RADIUS",
    "WIENER_STRENGTHS",
    "Filters",
    "apply_spectra",
    "bilateral",
    "filter_axes",
    "filter_spectra",
    "gaussian_axis",
    "gaussian_kernel",
    "highest_around",
    "make_moffat_psf",
    "make_wiener_filters",
    "mean_around",
    "without_border",
]

FILTER_RADIUS = 32
"""Radius of every filter in input pixels."""

BILATERAL_RADIUS = 2
"""Radius of the bilateral filter in pixels."""
_BILATERAL_SIGMA = 1.5
"""Standard deviation of its weights over the distance, in pixels: those at its rim still count."""

WIENER_STRENGTHS = (3e-6, 2e-4, 6e-3, 2e-1)
"""Noise-to-signal ratios at a quarter cycle per pixel, from bright stars to the sky."""

_GRID = 128
"""Side in pixels of the grid on which filters are made; above twice `FILTER_RADIUS`."""
_SUBSAMPLES = 4
"""Samples per pixel along each axis that integrate a profile over the pixel."""
_AT_ONCE = 4
"""Filters applied at a time, which limits the memory of their spectra."""
_TAPER_START = 0.7
"""Part of `FILTER_RADIUS` from which the taper falls to 0."""


def make_moffat_psf(
    fwhm: Tensor, beta: Tensor, ellipticity: Tensor, theta: Tensor, radius: int = FILTER_RADIUS
) -> Tensor:
    """Render Moffat PSFs integrated over the pixel.

    Parameters
    ----------
    fwhm, beta, ellipticity, theta : Tensor
        Shape ``(B,)``; ``fwhm`` is that of the optical profile, the geometric mean of both axes, in
        pixels; ``theta`` in radians from +x.
    radius : int
        The result has ``2 * radius + 1`` pixels a side.

    Returns
    -------
    Tensor
        Shape ``(B, 2 * radius + 1, 2 * radius + 1)``, each of sum 1, centred.
    """
    side = 2 * radius + 1
    n = side * _SUBSAMPLES
    place = (torch.arange(n, device=fwhm.device) + 0.5) / _SUBSAMPLES - 0.5 - radius
    dx, dy = place[None, None, :], place[None, :, None]
    cos, sin = torch.cos(theta)[:, None, None], torch.sin(theta)[:, None, None]
    q = (1 - ellipticity)[:, None, None].sqrt()
    beta = beta[:, None, None]
    alpha = fwhm[:, None, None] / (2 * torch.sqrt(2 ** (1 / beta) - 1))
    square = ((dx * cos + dy * sin) * q) ** 2 + ((dy * cos - dx * sin) / q) ** 2
    fine = torch.exp(-beta * torch.log1p(square / alpha**2))
    image = torch.nn.functional.avg_pool2d(fine[:, None], _SUBSAMPLES)[:, 0]
    return image / image.sum((-2, -1), keepdim=True)


def _origin_centred(psf: Tensor, n: int) -> Tensor:
    """Embed centred PSFs in an ``n`` grid with their centre at the origin."""
    ry, rx = psf.shape[-2] // 2, psf.shape[-1] // 2
    out = torch.zeros(*psf.shape[:-2], n, n, device=psf.device, dtype=psf.dtype)
    out[..., : psf.shape[-2], : psf.shape[-1]] = psf
    return torch.roll(out, (-ry, -rx), (-2, -1))


def make_wiener_filters(psf: Tensor, target_fwhm: Tensor | None, scale: int = 1) -> Tensor:
    """Wiener filters from a PSF to a Gaussian target, at several noise-to-signal ratios.

    Parameters
    ----------
    psf : Tensor
        Shape ``(B, h, w)``, odd sides up to 127, centred, sum 1.
    target_fwhm : Tensor or None
        Shape ``(B,)``: FWHM of the Gaussian target in output pixels; None keeps the PSF.
    scale : int
        Output pixels per input pixel: each filter has ``scale**2`` phases, in the order of
        `torch.nn.functional.pixel_shuffle`.

    Returns
    -------
    Tensor
        Shape ``(B, K, scale**2, 2R + 1, 2R + 1)``, ``K = len(WIENER_STRENGTHS)`` and
        ``R = FILTER_RADIUS``; each filter has sum 1, so that it keeps the flux.

    Notes
    -----
    ``W = T conj(H) / (|H|**2 + s (k / 0.25)**2)``: the Wiener filter for a power spectrum that
    falls as ``k**-2``; ``W(0) = 1``. The kernels are cut at ``R`` by a cosine taper, so that
    filtering in tiles equals filtering the whole image.
    """
    n = _GRID
    transfer = torch.fft.rfft2(_origin_centred(psf.float(), n))
    fy = torch.fft.fftfreq(n, device=psf.device)[:, None]
    fx = torch.fft.rfftfreq(n, device=psf.device)[None, :]
    k2 = fy**2 + fx**2
    if target_fwhm is None:
        wanted = transfer
    else:
        sigma = target_fwhm / scale / FWHM_PER_SIGMA
        wanted = torch.exp(-2 * math.pi**2 * sigma[:, None, None] ** 2 * k2).to(transfer.dtype)
    strengths = torch.tensor(WIENER_STRENGTHS, device=psf.device)[:, None, None]
    power = transfer.abs() ** 2
    filters = (wanted * transfer.conj())[:, None] / (power[:, None] + strengths * k2 / 0.25**2)
    offsets = [(i + 0.5) / scale - 0.5 for i in range(scale)]
    phases = torch.stack(
        [
            torch.polar(torch.ones_like(k2), 2 * math.pi * (fy * dy + fx * dx))
            for dy in offsets
            for dx in offsets
        ]
    )
    kernels = torch.fft.irfft2(filters[:, :, None] * phases, s=(n, n))
    r = FILTER_RADIUS
    kernels = torch.roll(kernels, (r, r), (-2, -1))[..., : 2 * r + 1, : 2 * r + 1]
    place = torch.arange(-r, r + 1, device=psf.device)
    distance = torch.sqrt(place[:, None] ** 2 + place[None, :] ** 2)
    taper = 0.5 + 0.5 * torch.cos(
        math.pi * ((distance / r - _TAPER_START) / (1 - _TAPER_START)).clamp(0, 1)
    )
    kernels = kernels * taper
    return kernels / kernels.sum((-2, -1), keepdim=True)


def filter_spectra(kernels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Spectra of centred kernels ``(..., h, w)`` on a torus of ``shape``, for `apply_spectra`."""
    padded = torch.zeros(*kernels.shape[:-2], *shape, device=kernels.device, dtype=kernels.dtype)
    padded[..., : kernels.shape[-2], : kernels.shape[-1]] = kernels
    padded = torch.roll(padded, (-(kernels.shape[-2] // 2), -(kernels.shape[-1] // 2)), (-2, -1))
    return torch.fft.rfft2(padded)


def apply_spectra(image: Tensor, spectra: Tensor) -> Tensor:
    """Convolve images with kernels given by their spectra, on the torus.

    Parameters
    ----------
    image : Tensor
        Shape ``(B, 1, H, W)``.
    spectra : Tensor
        Shape ``(B or 1, N, H, W // 2 + 1)``, from `filter_spectra`.

    Returns
    -------
    Tensor
        Shape ``(B, N, H, W)``. As many of the outermost pixels as the kernels' radius hold light
        of the other side: cut them off, unless the scene itself is periodic.
    """
    spectrum = torch.fft.rfft2(image)
    if torch.is_grad_enabled():
        return torch.fft.irfft2(spectrum * spectra, s=image.shape[-2:])
    result = image.new_empty((image.shape[0], spectra.shape[1], *image.shape[-2:]))
    for i in range(0, spectra.shape[1], _AT_ONCE):
        few = slice(i, i + _AT_ONCE)
        result[:, few] = torch.fft.irfft2(spectrum * spectra[:, few], s=image.shape[-2:])
    return result


class Filters:
    """Kernels for images of any size: applied in Fourier space, on a grid that is fast there.

    Parameters
    ----------
    kernels : Tensor
        Shape ``(B or 1, N, h, w)``, odd sides, centred.
    """

    def __init__(self, kernels: Tensor) -> None:
        self._kernels = kernels
        self._shape = (0, 0)
        self._spectra = kernels

    def sums(self, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Sum of every kernel, ``(N, 1, 1)``; at any pixel the same."""
        del shape, origin
        return torch.stack([kernel.sum() for kernel in self._kernels[0]])[:, None, None]

    def __call__(self, image: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Convolve images of shape ``(B, 1, H, W)`` with all kernels: ``(B, N, H, W)``.

        As many of the outermost pixels as the kernels' radius are not valid: cut them off. The
        place of the image in the frame (``origin``) makes no difference.
        """
        del origin
        height, width = image.shape[-2:]
        shape = (fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True))
        if shape != self._shape:
            # The tiles of a plane have the same size: their spectra are kept.
            self._shape, self._spectra = shape, filter_spectra(self._kernels, shape)
        padded = functional.pad(image, (0, shape[1] - width, 0, shape[0] - height))
        return apply_spectra(padded, self._spectra)[..., :height, :width]


def gaussian_kernel(fwhm: float, radius: int, device: str = "cpu") -> Tensor:
    """Point-sampled Gaussian of sum 1, shape ``(2 * radius + 1, 2 * radius + 1)``."""
    place = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    sigma = fwhm / FWHM_PER_SIGMA
    axis = torch.exp(-0.5 * (place / sigma) ** 2)
    image = axis[:, None] * axis[None, :]
    return image / image.sum()


def gaussian_axis(sigma: float, radius: int) -> Tensor:
    """Point-sampled Gaussian of sum 1 along one axis, shape ``(2 * radius + 1,)``."""
    place = torch.arange(-radius, radius + 1, dtype=torch.float32)
    axis = torch.exp(-0.5 * (place / sigma) ** 2)
    return axis / axis.sum()


def filter_axes(image: Tensor, axis: Tensor) -> Tensor:
    """Filter rows and columns of images ``(B, C, H, W)``, which loses the radius at every side."""
    planes = image.flatten(0, 1)[:, None]
    for kernel in (axis[None, None, :, None], axis[None, None, None, :]):
        planes = functional.conv2d(planes, kernel)
    return planes[:, 0].unflatten(0, image.shape[:2])


def bilateral(image: Tensor, width: float) -> Tensor:
    """Average each pixel of a batch with those around it that are alike (Tomasi & Manduchi 1998).

    Parameters
    ----------
    image : Tensor
        Shape (B, C, H, W); each plane is filtered for itself.
    width : float
        Standard deviation of the weights over the difference of the values, above 0.
    """
    r = BILATERAL_RADIUS
    padded = functional.pad(image, (r, r, r, r), mode="replicate")
    total, weights = torch.zeros_like(image), torch.zeros_like(image)
    height, columns = image.shape[-2:]
    for dy in range(2 * r + 1):
        for dx in range(2 * r + 1):
            other = padded[..., dy : dy + height, dx : dx + columns]
            distance = ((dy - r) ** 2 + (dx - r) ** 2) / _BILATERAL_SIGMA**2
            weight = torch.exp(-0.5 * (((other - image) / width) ** 2 + distance))
            total += weight * other
            weights += weight
    return total / weights


def mean_around(image: Tensor, side: int) -> Tensor:
    """Average an image over a box around each pixel, along one axis after the other: it is faster.

    Parameters
    ----------
    image : Tensor
        Shape ``(B, C, H, W)``; beyond its edges it is 0.
    side : int
        Side of the box in pixels, odd.

    Returns
    -------
    Tensor
        Shape of ``image``.
    """
    half = side // 2
    along = functional.avg_pool2d(image, (side, 1), 1, (half, 0))
    return functional.avg_pool2d(along, (1, side), 1, (0, half))


def highest_around(image: Tensor, side: int) -> Tensor:
    """Return the highest pixel of a box around each, as a maximum filter; on CPUs faster.

    Parameters
    ----------
    image : Tensor
        Shape ``(..., H, W)``; beyond its edges there is nothing.
    side : int
        Side of the box in pixels, odd.

    Returns
    -------
    Tensor
        Shape of ``image``.
    """
    half = side // 2
    for axis in (-2, -1):
        ends = (half, half) if axis == -1 else (0, 0, half, half)
        image, width = functional.pad(image, ends, value=-math.inf), 1
        while width < side:
            # Of two windows side by side or overlapping, the higher maximum is that of both.
            step = min(width, side - width)
            n = image.shape[axis] - step
            image = torch.maximum(image.narrow(axis, 0, n), image.narrow(axis, step, n))
            width += step
    return image


def without_border(image: Tensor, border: int) -> Tensor:
    """Cut ``border`` pixels, 0 or more, off every side."""
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]
