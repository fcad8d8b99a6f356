"""Flux consistency at large scales: the result, reconvolved, has the light of the input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, RectBivariateSpline
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    label,
    maximum_filter,
)
from scipy.ndimage import sum as ndimage_sum

from astro_sr_plugin.measurement.convolution import convolve, transform_centred
from astro_sr_plugin.measurement.psf.consistency import PSF_ERROR
from astro_sr_plugin.measurement.psf.profiles import diffraction_wing
from astro_sr_plugin.measurement.statistics import shrink, weighted_median

__all__ = ["BLOCK", "FluxCorrection"]

BLOCK = 4
"""Side in input pixels of the blocks whose mean light is compared."""

_SIGMA = 4.0
"""Standard deviation in blocks of the Gaussian that smooths the correction: 16 input pixels, a few
times the FWHM of the widest stars, so that the correction follows no star."""

_EDGE = 4
"""Blocks beside an edge where missing light may be that of stars outside of the frame."""

_UNKNOWN_REACH = 4
"""Blocks around saturated and filled pixels that do not say how much light is missing."""

_STAR_REACH = 16
"""Blocks around saturated pixels that make up a saturated star: 64 pixels, where the light of the
brightest falls below the noise."""

_STAR_ERROR_REACH = 2
"""Blocks around a star that an error of its PSF reaches, and that of blocks in place of pixels."""

_CORE_RANGE = (0.02, 10.0)
"""Least and greatest factor for the pixels of a saturated core."""

_BRIGHT_RANGE = (-0.05, 0.05)
"""Least and greatest part of the light of bright stars that is added to it: the error of the light
that a PSF holds."""

_MOST_LOST = 0.15
"""Largest part of the light of bright sources at an edge that is given back to them."""

_MOST_SKY = 0.05
"""Light in noise sigma of a pixel that the whole sky takes before that."""

_STAR_SCATTER = 0.02
"""Scatter of the parts of their light that single stars lack."""

_LEAST_SEEN = 0.9
"""Part of the bright light of a star inside the frame, from which what it lacks can be told."""

_NOISE_OF_SUM = 3.0
"""Noise of the sum of all pixels that counts for nothing, over that of white noise."""

_KERNEL_RADIUS = 24
"""Radius in blocks of the kernel between result and input: 96 input pixels."""

_DEGREE = 3
"""Degree of the spline through the block centres."""

_GRID = 512
"""Side in input pixels of the grid on which the kernel is made; above twice its radius."""

_BAND = 0.4
"""Standard deviation in blocks of the Gaussian that limits the kernel to frequencies of blocks."""

_MIN_TRANSFER = 0.05
"""Transfer of the target below which the ratio of the transfers is not trusted."""


class FluxCorrection:
    """A smooth correction after which the reconvolved result has the light of the input.

    Input and result are averaged in blocks. The result is reconvolved to the PSF of the input
    (transfer functions H of the input and T of the result): ``y - (H/T) x`` should hold no light at
    scales far above the PSF. What it holds is smoothed with a Gaussian of 16 pixels and added to
    the result, a data-consistency step ``x + F^-1[W (Y - (H/T) X)]`` with ``W = 1`` at zero
    frequency. The mean is weighted by the inverse variance, to which the error of the PSF adds:
    what it leaves of a bright star is no light of the sky around it. Factors for the light of
    bright stars, then for that of bright sources at the edges, which may have lost some inside of
    the frame, and a last constant make the sums equal. Around saturated stars, where the input does
    not say how the light was spread, the saturated pixels take what is missing: such a star keeps
    the recorded light.

    Parameters
    ----------
    shape : tuple of int
        Shape (ny, nx) of the plane, in input pixels.
    scale : int
        Output pixels per input pixel.
    psf : ndarray
        Effective PSF of the input on its pixels, odd sides. Its sum is the fraction of a star's
        light that it holds; the rest falls with the third power of the distance around it.
    target : ndarray
        PSF of the result on input pixels, odd sides, sum 1; or `psf` itself.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        scale: int,
        psf: NDArray[np.float32],
        target: NDArray[np.float32],
    ) -> None:
        self.shape, self.scale = shape, scale
        self.blocks = (-(-shape[0] // BLOCK), -(-shape[1] // BLOCK))
        self._near = _ratio_kernel(psf, target)
        self._far = _far_kernel(psf.shape[0] // 2, float(1.0 - self._near.sum()))
        self._input = np.zeros(self.blocks)
        self._output = np.zeros(self.blocks)
        self._core = np.zeros(self.blocks)
        self._bright = np.zeros(self.blocks)
        self._bright_part = np.zeros(self.blocks)
        self._unknown = np.zeros(self.blocks, dtype=bool)
        self._saturated = np.zeros(self.blocks, dtype=bool)
        self._outside = np.zeros(self.blocks, dtype=bool)
        self._spline: RectBivariateSpline | float = 0.0

    def add_input(
        self, first_row: int, values: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> None:
        """Add rows of the input (in noise sigma), beginning at a multiple of `BLOCK`.

        ``mask`` is 1 where a pixel is saturated or filled in, -1 where data are missing: such
        blocks lie outside of the frame.
        """
        place = slice(first_row // BLOCK, first_row // BLOCK + -(-len(values) // BLOCK))
        self._input[place] = _block_means(values, BLOCK)
        self._outside[place] = _block_means(mask.clip(max=0), BLOCK) < 0
        self._unknown[place] = (_block_means(mask.clip(min=0), BLOCK) > 0) & ~self._outside[place]

    def add_output(
        self, first_row: int, values: NDArray[np.float32], mask: NDArray[np.float32] | None = None
    ) -> None:
        """Add rows of the output, beginning at a multiple of ``BLOCK * scale``.

        ``mask`` is 1 where the output stands for saturated pixels.
        """
        side = BLOCK * self.scale
        place = slice(first_row // side, first_row // side + -(-len(values) // side))
        self._output[place] = _block_means(values, side)
        self._bright[place] = _block_means(_bright_light(values), side)
        if mask is not None and mask.any():
            self._core[place] = _block_means(values * mask, side)
            self._saturated[place] = _block_means(mask, side) > 0

    def solve(self) -> None:
        """Compute the correction; afterwards `apply` and `core_factor` may be called."""
        pad = _KERNEL_RADIUS
        if self._outside.all():
            self._core_factor = np.ones(self.blocks)
            return
        if self._outside.any():
            # A model's result where data are missing means nothing: the nearest blocks replace it.
            nearest = distance_transform_edt(
                self._outside, return_distances=False, return_indices=True
            )
            self._output = self._output[tuple(nearest)]
        out = np.pad(self._output, pad, mode="symmetric")
        reconvolved = convolve(out, self._near, mode="same")[pad:-pad, pad:-pad]
        # Stars outside of the frame are not known: the extended PSF of none reaches into the frame.
        reconvolved += convolve(self._output, self._far, mode="same")
        missing = self._input - reconvolved
        lacking = missing
        if self._unknown.any():
            missing = missing.copy()
            missing[binary_dilation(self._unknown, iterations=_UNKNOWN_REACH)] = 0.0
        # Near the edges, what is missing may well be the light of stars outside.
        edge = min(_EDGE, min(self.blocks) // 4)
        inside = np.zeros(self.blocks, dtype=bool)
        inside[edge : self.blocks[0] - edge, edge : self.blocks[1] - edge] = True
        if self._outside.any():
            beside = binary_dilation(self._outside, np.ones((3, 3)), iterations=_EDGE)
            inside &= ~beside if (inside & ~beside).any() else ~self._outside
        level = np.median(missing[inside]) if inside.any() else 0.0
        missing = np.where(inside, missing - level, 0.0)
        # What an imperfect PSF leaves of a bright star is no light of the sky around it.
        light = np.maximum(self._input, reconvolved).clip(min=0.0) * BLOCK
        brightest = maximum_filter(light, 2 * _STAR_ERROR_REACH + 1)
        weight = 1.0 / (1.0 + (PSF_ERROR * brightest) ** 2)
        smooth = gaussian_filter(weight * missing, _SIGMA, mode="reflect", truncate=5.0)
        smooth /= gaussian_filter(weight, _SIGMA, mode="reflect", truncate=5.0)
        smooth += level
        sizes = [
            np.minimum(BLOCK, length - BLOCK * np.arange(n))
            for length, n in zip(self.shape, self.blocks, strict=True)
        ]
        area = np.outer(*sizes).astype(float)
        area[self._outside] = 0.0
        left = (self._input - self._output - smooth) * area
        regions, count = label(binary_dilation(self._saturated, iterations=_STAR_REACH))
        clear = regions == 0
        self._bright_part = np.zeros(self.blocks)
        if area[clear].any():
            self._bright_part = self._missing_parts(lacking - smooth, area * (clear & inside))
            self._bright_part[~clear] = 0.0
            left -= self._bright_part * self._bright * area
            back = self._given_back(left * clear, area * clear, inside) * clear
            self._bright_part += back
            left -= back * self._bright * area
            constant = np.sum(left[clear]) / np.sum(area[clear])
            smooth += constant
            left -= constant * area
        self._core_factor = np.ones(self.blocks)
        if count:
            numbers = np.arange(1, count + 1)
            missing_light = ndimage_sum(left, regions, numbers)
            core = ndimage_sum(self._core * area, regions, numbers)
            factor = 1 + np.divide(missing_light, core, out=np.zeros(count), where=core > 0)
            self._core_factor[~clear] = np.clip(factor, *_CORE_RANGE)[regions[~clear] - 1]
        self._spline = _spline(smooth)

    def _given_back(
        self, left: NDArray[np.float64], area: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the part of its light that each bright source at an edge is given back.

        No more than the whole result lacks, beyond what the sky may take: what one source has lost
        there, another may have gained.
        """
        groups, numbers, seen = self._bright_groups(inside)
        numbers = numbers[seen <= _LEAST_SEEN]
        total = float(left.sum() - _MOST_SKY * area.sum())
        if not len(numbers) or total <= 0:
            return np.zeros(self.blocks)
        bright = self._bright * area
        lost, light = (ndimage_sum(image, groups, numbers) for image in (left, bright))
        parts = np.zeros(int(groups.max()) + 1)
        parts[numbers] = np.divide(lost, light, out=np.zeros(len(numbers)), where=light > 0)
        given = parts.clip(0.0, _MOST_LOST)[groups]
        sum_given = float((given * bright).sum())
        return np.asarray(given * min(1.0, total / sum_given) if sum_given > 0 else given)

    def _bright_groups(
        self, inside: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.float64]]:
        """Label bright stars, or groups of them; the part of their light that is inside."""
        near = np.ones((3, 3))
        stars = binary_dilation(self._bright * BLOCK > 1, near, iterations=_STAR_ERROR_REACH)
        groups, count = label(stars, near)
        numbers = np.arange(1, count + 1)
        whole, seen = (
            ndimage_sum(image, groups, numbers) for image in (self._bright, self._bright * inside)
        )
        return groups, numbers, np.asarray(seen / whole)

    def _missing_parts(
        self, missing: NDArray[np.float64], area: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the part of its light that each bright star, or group of them, is short of.

        An error of the light that the PSF holds is common to all: the median over the stars. What
        one star lacks beside is its own, so that a star that a model fails on changes no other.
        """
        groups, numbers, seen = self._bright_groups(area > 0)
        count, numbers = len(numbers), numbers[seen > _LEAST_SEEN]
        if not len(numbers):
            return np.zeros(self.blocks)
        bright, lacking, pixels = (
            ndimage_sum(image, groups, numbers)
            for image in (self._bright * area, missing * area, area)
        )
        # The noise of a sum is that of the sky, not of the stars.
        own, error = lacking / bright, _NOISE_OF_SUM * np.sqrt(pixels) / bright
        weight = 1 / (error**2 + _STAR_SCATTER**2)
        common = float(shrink(weighted_median(own, weight), weight.sum() ** -0.5))
        parts = np.full(count + 1, common)
        parts[numbers] += shrink(own - common, error)
        return parts.clip(*_BRIGHT_RANGE)[groups]

    def core_factor(self, first_row: int, last_row: int) -> NDArray[np.float32]:
        """Return the factors of the saturated pixels of output rows ``first_row:last_row``."""
        return self._on_pixels(self._core_factor, first_row, last_row)

    def _on_pixels(
        self, blocks: NDArray[np.float64], first_row: int, last_row: int
    ) -> NDArray[np.float32]:
        side = BLOCK * self.scale
        rows = np.arange(first_row, last_row) // side
        few = blocks[rows[0] : rows[-1] + 1].astype(np.float32)
        wide = few.repeat(side, axis=1)[:, : self.shape[1] * self.scale]
        return wide[rows - rows[0]]

    def apply(self, first_row: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return corrected output rows, all columns, beginning at ``first_row``."""
        last_row = first_row + len(values)
        part = self._on_pixels(self._bright_part, first_row, last_row)
        part *= _bright_light(values)
        corrected = values + part
        corrected += self._smooth(first_row, last_row)
        return np.asarray(corrected, np.float32)

    def _smooth(self, first_row: int, last_row: int) -> NDArray[np.float32]:
        side = BLOCK * self.scale
        y = (np.arange(first_row, last_row) + 0.5) / side - 0.5
        x = (np.arange(self.shape[1] * self.scale) + 0.5) / side - 0.5
        if isinstance(self._spline, float):
            return np.full((len(y), len(x)), self._spline, np.float32)
        y = np.clip(y, 0, self.blocks[0] - 1)
        x = np.clip(x, 0, self.blocks[1] - 1)
        # What the spline itself gives, three times as fast.
        knots, mesh = self._spline.get_knots(), self._spline.get_coeffs()
        rows, columns = (
            BSpline.design_matrix(place, axis, _DEGREE)
            for place, axis in zip((y, x), knots, strict=True)
        )
        some = slice(rows.indices.min(), rows.indices.max() + 1)
        along = (columns @ mesh.reshape(rows.shape[1], -1)[some].T).T
        smooth: NDArray[np.float32] = (rows[:, some].toarray() @ along).astype(np.float32)
        return smooth


def _bright_light(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light of the pixels in which the error of the PSF is above the noise."""
    light = np.maximum(values, np.float32(0.0))
    error = np.float32(PSF_ERROR) * light
    np.square(error, out=error)
    light *= error
    error += 1
    light /= error
    return np.asarray(light, np.float32)


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
    return RectBivariateSpline(axes[0], axes[1], mesh, kx=_DEGREE, ky=_DEGREE)


def _block_means(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Mean of each ``side`` x ``side`` block; blocks at the far edges may be smaller."""
    rows, columns = ((n + side - 1) // side for n in values.shape)
    beyond = (rows * side - values.shape[0], columns * side - values.shape[1])
    if any(beyond):
        values = np.pad(values, ((0, beyond[0]), (0, beyond[1])))
    out = _sums(values, side)
    out[:-1] /= side
    out[-1:] /= side - beyond[0]
    out = _sums(out.T, side).T
    out[:, :-1] /= side
    out[:, -1:] /= side - beyond[1]
    return out


def _sums(values: NDArray[np.floating], side: int) -> NDArray[np.float64]:
    """Sum of each ``side`` rows; rounded as `numpy.add.reduceat` does, which takes longer."""
    rest = values[1::side].astype(np.float64)
    for k in range(2, side):
        rest += values[k::side]
    rest += values[::side]
    return rest


def _far_kernel(reach: int, light: float) -> NDArray[np.float64]:
    """Spread so much light over the blocks beyond ``reach`` pixels, as ``r**-3``."""
    return max(0.0, light) * diffraction_wing(_KERNEL_RADIUS, reach / BLOCK)


def _ratio_kernel(psf: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """``H/T`` sampled at block centres; the band limit of a block keeps it free of aliases."""
    transfers = [
        transform_centred(image.astype(np.float64), (_GRID, _GRID)) for image in (psf, target)
    ]
    fy, fx = np.fft.fftfreq(_GRID)[:, None], np.fft.rfftfreq(_GRID)[None, :]
    # Only frequencies that blocks can carry matter; there T is far from 0.
    band = np.exp(-2 * np.pi**2 * (_BAND * BLOCK) ** 2 * (fy**2 + fx**2))
    ratio = (
        band
        * transfers[0]
        / np.where(np.abs(transfers[1]) > _MIN_TRANSFER, transfers[1], _MIN_TRANSFER)
    )
    kernel = np.fft.irfft2(ratio, s=(_GRID, _GRID))
    identity = np.fft.irfft2(band, s=(_GRID, _GRID))
    offsets = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1) * BLOCK
    sampled = (kernel - identity)[np.ix_(offsets, offsets)] * BLOCK**2
    sampled[_KERNEL_RADIUS, _KERNEL_RADIUS] += float(psf.sum() / target.sum()) - sampled.sum()
    return sampled
