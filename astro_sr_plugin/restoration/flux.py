"""Keep the light: what the data say at large scales is put back into the result."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    label,
    uniform_filter,
)
from scipy.ndimage import sum as ndimage_sum
from scipy.signal import fftconvolve

from astro_sr_plugin.measurement.psf.profiles import diffraction_wing

__all__ = ["BLOCK", "FluxLedger"]

BLOCK = 4
"""Input pixels per side of the blocks in which light is counted."""

_SIGMA = 4.0
"""Width in blocks of the Gaussian that smooths the correction: 16 input pixels."""

_SCALES = (0.75, 1.5, 3.0, 6.0)
"""Gaussian widths in blocks between which the bands lie: scales of 3 to 24 input pixels."""

_BOX = 8.0
"""Side of the box in which the power of a band is taken, in its finer width."""

_EXCESS = 1.15  # times the power of the noise, from where structure is believed in
_MOST = 8.0  # noise sigma of a pixel
_PSF_ERROR = 0.3  # of the light of a star in a block
_HALO = 10  # blocks around saturated pixels
_EDGE = 4  # blocks
_LEAST = 0.02  # power of the transfer below which structure is not brought back in full
_BAND = 0.4  # blocks

_CORE_RANGE = (0.02, 10.0)
_GRID = 512
_RADIUS = 24


class FluxLedger:
    """Counts light in blocks, in and out, and tells the smooth correction that makes them agree.

    The input seen at the resolution of the output, ``y - (H/T) x``, should hold no light at scales
    far above the PSF. What it holds is smoothed with a Gaussian of 16 pixels and added to the
    output: a data-consistency step ``x + F^-1[W (Y - (H/T) X)]`` whose ``W`` is 1 at zero
    frequency. What is left at scales of 3 to 24 pixels is structure, of nebulae mostly, where its
    power is above that of the noise; that share comes back too, sharpened to the output. A last
    constant makes the sums equal. Around saturated stars, where the input does
    not say how the light was spread, the saturated pixels take what is missing: such a star keeps
    the light that was recorded.

    Parameters
    ----------
    shape : tuple of int
        Shape (ny, nx) of the plane, in input pixels.
    scale : int
        Output pixels per input pixel.
    psf : ndarray
        Effective PSF of the input on its pixels, odd sides. Its sum is the part of a star's light
        that it holds; the rest falls off around it with the third power of the distance.
    target : ndarray
        PSF of the output on input pixels, odd sides, sum 1; or `psf` itself.
    noise_correlation : float
        Of neighbouring input pixels.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        scale: int,
        psf: NDArray[np.float32],
        target: NDArray[np.float32],
        noise_correlation: float = 0.0,
    ) -> None:
        self.shape, self.scale = shape, scale
        self.blocks = (-(-shape[0] // BLOCK), -(-shape[1] // BLOCK))
        self._near = _ratio_kernel(psf, target)
        self._far = _far_kernel(psf.shape[0] // 2, float(1.0 - self._near.sum()))
        self._noise_correlation = noise_correlation
        self._light_in = np.zeros(self.blocks)
        self._light_out = np.zeros(self.blocks)
        self._light_core = np.zeros(self.blocks)
        self._doubtful = np.zeros(self.blocks, dtype=bool)
        self._outside = np.zeros(self.blocks, dtype=bool)
        self._spline: RectBivariateSpline | float = 0.0

    def count_input(
        self, first_row: int, values: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> None:
        """Count rows of the input (in noise sigma), beginning at a multiple of `BLOCK`.

        ``mask`` is 1 where a pixel is saturated or filled in, -1 where data are missing: such
        blocks lie outside of the frame.
        """
        place = slice(first_row // BLOCK, first_row // BLOCK + -(-len(values) // BLOCK))
        self._light_in[place] = _block_means(values, BLOCK)
        self._outside[place] = _block_means(mask.clip(max=0), BLOCK) < 0
        self._doubtful[place] = (_block_means(mask.clip(min=0), BLOCK) > 0) & ~self._outside[place]

    def count_output(
        self, first_row: int, values: NDArray[np.float32], mask: NDArray[np.float32] | None = None
    ) -> None:
        """Count rows of the output, beginning at a multiple of ``BLOCK * scale``.

        ``mask`` is 1 where the output stands for saturated pixels.
        """
        side = BLOCK * self.scale
        place = slice(first_row // side, first_row // side + -(-len(values) // side))
        self._light_out[place] = _block_means(values, side)
        if mask is not None and mask.any():
            self._light_core[place] = _block_means(values * mask, side)

    def close(self) -> None:
        """Balance the counts; afterwards `correction` may be asked."""
        pad = _RADIUS
        if self._outside.all():
            self._core_factor = np.ones(self.blocks)
            return
        if self._outside.any():
            # What a model makes of missing data means nothing: the nearest blocks go on there.
            nearest = distance_transform_edt(
                self._outside, return_distances=False, return_indices=True
            )
            self._light_out = self._light_out[tuple(nearest)]
        out = np.pad(self._light_out, pad, mode="symmetric")
        seen = fftconvolve(out, self._near, mode="same")[pad:-pad, pad:-pad]
        # No star beyond the edge is known of, whose far light would fall into the frame.
        seen += fftconvolve(self._light_out, self._far, mode="same")
        missing = self._light_in - seen
        if self._doubtful.any():
            missing[binary_dilation(self._doubtful, iterations=4)] = 0.0
        # Near the edges, what is missing may well be the light of stars outside.
        edge = min(_EDGE, min(self.blocks) // 4)
        inside = np.zeros(self.blocks, dtype=bool)
        inside[edge : self.blocks[0] - edge, edge : self.blocks[1] - edge] = True
        if self._outside.any():
            beside = binary_dilation(self._outside, np.ones((3, 3)), iterations=_EDGE)
            inside &= ~beside if (inside & ~beside).any() else ~self._outside
        level = missing[inside].mean() if inside.any() else 0.0
        missing = np.where(inside, missing - level, 0.0)
        smooth = level + gaussian_filter(missing, _SIGMA, mode="reflect", truncate=5.0)
        smooth += self._structure(missing, seen)
        sizes = [
            np.minimum(BLOCK, length - BLOCK * np.arange(n))
            for length, n in zip(self.shape, self.blocks, strict=True)
        ]
        area = np.outer(*sizes).astype(float)
        area[self._outside] = 0.0
        left = (self._light_in - self._light_out - smooth) * area
        regions, count = label(binary_dilation(self._doubtful, iterations=16))
        clear = regions == 0
        if area[clear].any():
            constant = np.sum(left[clear]) / np.sum(area[clear])
            smooth += constant
            left -= constant * area
        self._core_factor = np.ones(self.blocks)
        if count:
            numbers = np.arange(1, count + 1)
            missing_light = ndimage_sum(left, regions, numbers)
            core = ndimage_sum(self._light_core * area, regions, numbers)
            factor = 1 + np.divide(missing_light, core, out=np.zeros(count), where=core > 0)
            self._core_factor[~clear] = np.clip(factor, *_CORE_RANGE)[regions[~clear] - 1]
        self._spline = _spline(smooth)

    def _structure(
        self, missing: NDArray[np.float64], seen: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return what is missing in the bands, where it is more than noise."""
        detail = np.maximum(seen - gaussian_filter(seen, _SIGMA), 0.0)
        doubt = np.sqrt(1 / BLOCK**2 + (_PSF_ERROR * gaussian_filter(detail, 1.0)) ** 2)
        clear = np.clip(missing / (BLOCK * doubt), -_MOST, _MOST)
        if self._doubtful.any():
            clear[binary_dilation(self._doubtful, iterations=_HALO)] = 0.0
        clear = clear.astype(np.float32)
        found = np.zeros_like(clear)
        fine = gaussian_filter(clear, _SCALES[0])
        noise = _band_noise(self._noise_correlation)
        for (scale, wider), variance in zip(pairwise(_SCALES), noise, strict=True):
            coarse = gaussian_filter(clear, wider)
            band = fine - coarse
            power = uniform_filter(band**2, round(_BOX * scale))
            found += band * np.maximum(0.0, 1 - _EXCESS * variance / np.maximum(power, 1e-12))
            fine = coarse
        return self._sharpened(found) if found.any() else found

    def _sharpened(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring what the input shows in blocks to the PSF of the output, by Wiener's rule."""
        pad = _RADIUS
        ny, nx = seen.shape
        shape = [fft.next_fast_len(n + 2 * pad, real=True) for n in seen.shape]
        padded = np.pad(
            seen,
            [(pad, n - m - pad) for n, m in zip(shape, seen.shape, strict=True)],
            mode="symmetric",
        )
        place = np.zeros(shape, np.float32)
        place[: 2 * pad + 1, : 2 * pad + 1] = self._near + self._far
        transfer = fft.rfft2(np.roll(place, (-pad, -pad), (0, 1)))
        spectrum = fft.rfft2(padded) * np.conj(transfer) / (np.abs(transfer) ** 2 + _LEAST)
        sharp: NDArray[np.float32] = fft.irfft2(spectrum, s=shape)
        return sharp[pad : pad + ny, pad : pad + nx]

    def core_factor(self, first_row: int, last_row: int) -> NDArray[np.float32]:
        """Return by what saturated pixels in output rows ``first_row:last_row`` are multiplied."""
        side = BLOCK * self.scale
        rows = np.arange(first_row, last_row) // side
        columns = np.arange(self.shape[1] * self.scale) // side
        return self._core_factor[np.ix_(rows, columns)].astype(np.float32)

    def correction(self, first_row: int, last_row: int) -> NDArray[np.float32]:
        """Evaluate the correction on output rows ``first_row:last_row``, all columns."""
        side = BLOCK * self.scale
        y = (np.arange(first_row, last_row) + 0.5) / side - 0.5
        x = (np.arange(self.shape[1] * self.scale) + 0.5) / side - 0.5
        if isinstance(self._spline, float):
            return np.full((len(y), len(x)), self._spline, np.float32)
        y = np.clip(y, 0, self.blocks[0] - 1)
        x = np.clip(x, 0, self.blocks[1] - 1)
        return self._spline(y, x).astype(np.float32)


def _band_noise(correlation: float) -> list[float]:
    """Return the variance in each band of the blocks of noise of variance 1 per pixel.

    Bilinear kernels, of registration or a Bayer matrix, have a lag-2 correlation of their lag-1
    correlation less a half.
    """
    c = min(max(correlation, 0.0), 0.75)
    f = fft.fftfreq(_GRID) / BLOCK
    axis = 1 + 2 * c * np.cos(2 * np.pi * f) + 2 * max(0.0, c - 0.5) * np.cos(4 * np.pi * f)
    k2 = (f[:, None] ** 2 + f[None, :] ** 2) * BLOCK**2
    smooth = [np.exp(-2 * np.pi**2 * scale**2 * k2) for scale in _SCALES]
    power = np.outer(axis, axis) / BLOCK**2
    return [float(np.mean(power * (a - b) ** 2)) for a, b in pairwise(smooth)]


def _spline(mesh: NDArray[np.float64]) -> RectBivariateSpline | float:
    """Smooth map through the block centres; short axes are repeated to carry a cubic."""
    if mesh.size == 1:
        return float(mesh[0, 0])
    axes = []
    for axis, n in enumerate(mesh.shape):
        if n < 4:
            mesh = np.repeat(mesh, 4, axis=axis)
            axes.append((np.arange(4 * n) - 1.5) / 4)
        else:
            axes.append(np.arange(n, dtype=float))
    return RectBivariateSpline(axes[0], axes[1], mesh)


def _block_means(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Mean of each ``side`` x ``side`` block; blocks at the far edges may be smaller."""
    out: NDArray[np.float64] = values.astype(np.float64)
    for axis in (0, 1):
        starts = np.arange(0, out.shape[axis], side)
        counts = np.diff(np.append(starts, out.shape[axis]))
        out = np.add.reduceat(out, starts, axis=axis)
        out /= counts[:, None] if axis == 0 else counts[None, :]
    return out


def _far_kernel(reach: int, light: float) -> NDArray[np.float64]:
    """Spread so much light over the blocks beyond ``reach`` pixels, as ``r**-3``."""
    return max(0.0, light) * diffraction_wing(_RADIUS, reach / BLOCK)


def _ratio_kernel(psf: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """``H/T`` sampled at block centres; the band limit of a block keeps it free of aliases."""
    transfers = []
    for image in (psf, target):
        grid = np.zeros((_GRID, _GRID))
        grid[: image.shape[0], : image.shape[1]] = image
        grid = np.roll(grid, (-(image.shape[0] // 2), -(image.shape[1] // 2)), (0, 1))
        transfers.append(np.fft.rfft2(grid))
    fy, fx = np.fft.fftfreq(_GRID)[:, None], np.fft.rfftfreq(_GRID)[None, :]
    # Only frequencies that blocks can carry matter; there T is far from 0.
    band = np.exp(-2 * np.pi**2 * (_BAND * BLOCK) ** 2 * (fy**2 + fx**2))
    ratio = band * transfers[0] / np.where(np.abs(transfers[1]) > 0.05, transfers[1], 0.05)
    kernel = np.fft.irfft2(ratio, s=(_GRID, _GRID))
    identity = np.fft.irfft2(band, s=(_GRID, _GRID))
    offsets = np.arange(-_RADIUS, _RADIUS + 1) * BLOCK
    sampled = (kernel - identity)[np.ix_(offsets, offsets)] * BLOCK**2
    sampled[_RADIUS, _RADIUS] += float(psf.sum() / target.sum()) - sampled.sum()
    return sampled
