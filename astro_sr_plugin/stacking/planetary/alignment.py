"""Shifts of frames against a reference, as a whole and at alignment points.

The shift of the whole frame comes from the cross-correlation of the band-passed planes. What is
left is found at the nodes of a grid: around each node the frame is fitted by the reference times a
gain, and the reference's gradients times a shift (Lucas & Kanade 1981, Proc. IJCAI, 674), under a
Gaussian window. The sums of the fit are smooth over the field, and a small weight for no shift at
all keeps nodes without structure still: the field needs no further smoothing, and reaches beyond
the structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.stacking.planetary.filters import Plane, band_pass, binned
from astro_sr_plugin.stacking.planetary.sampling import Places, sample_shifted, smooth_spline

__all__ = ["Reference", "Shift"]

_LARGEST_SIDE = 700
"""Pixels of the longer side above which shifts are measured in means of 2 x 2 pixels or more."""
_SEARCH_SIDE = 400
"""Pixels of the longer side of the planes that are correlated."""
PITCH = 16
"""Pixels between alignment points."""
_WINDOW = 12.0
"""Standard deviation of the window around a point, in pixels: about that of a box of 56 pixels."""
_LARGEST_LOCAL = 8.0
"""Pixels by which a point may move against the frame as a whole."""
_STRUCTURE = 0.02
"""Structure of a point over that of the median one with structure, that counts as still."""
_LEAST_GAIN = 0.2
"""Gain of a point over that of the whole frame, below which it has no shift."""
_FINE_STEPS = 1
"""Steps of the field at the finest scale, after one at half of it."""
_PAD = 3
"""Rings of nodes beyond the frame, so that the field can be interpolated up to its edge."""


@dataclass(frozen=True)
class Shift:
    """Where a frame shows what the reference shows: at x + dx, y + dy.

    Attributes
    ----------
    x, y : float
        Of the frame as a whole, in pixels.
    correlation : float
        Of frame and reference, in the band; -1 to 1.
    field : ndarray of float32, shape (2, nodes in y, nodes in x), or None
        dx and dy at the alignment points, in addition to the shift of the whole frame.
    """

    x: float
    y: float
    correlation: float
    field: NDArray[np.float32] | None = None


class Reference:
    """The plane that frames are brought to.

    Parameters
    ----------
    plane : ndarray of float32, shape (ny, nx)
        Luminance of a good frame, or of a stack of good frames.
    region : ndarray of bool, optional
        Where the structure lies; everywhere by default.
    """

    def __init__(self, plane: Plane, region: NDArray[np.bool_] | None = None) -> None:
        self.plane = plane
        self.shape: tuple[int, int] = plane.shape  # type: ignore[assignment]
        self.factor = -(-max(self.shape) // _LARGEST_SIDE)
        own = binned(plane, self.factor)
        self._shape = own.shape
        self._weight = _edge_weight(own.shape)
        if region is not None:
            self._weight *= binned(region.astype(np.float32), self.factor)
        self._coarse = -(-max(own.shape) // _SEARCH_SIDE)
        self._levels = [
            _Level(band_pass(binned(own, factor)), binned(self._weight, factor), factor)
            for factor in (2, 1)
        ]
        small = binned(own, self._coarse)
        self._fft_shape = tuple(next_fast_len(side, real=True) for side in small.shape)
        pattern = band_pass(small) * binned(self._weight, self._coarse)
        self._norm = float(np.sqrt(np.square(pattern).sum()))
        self._transform = np.conj(rfft2(pattern, self._fft_shape))

    @property
    def nodes(self) -> tuple[int, int]:
        """Number of alignment points along y and x."""
        ny, nx = (-(-side // PITCH) + 1 + 2 * _PAD for side in self._shape)
        return ny, nx

    def find_shift(
        self, plane: Plane, *, points: bool = True, near: tuple[float, float] | None = None
    ) -> Shift:
        """Find the shift of a frame.

        Parameters
        ----------
        plane : ndarray of float32, shape (ny, nx)
            Luminance of the frame.
        points : bool
            Also at the alignment points.
        near : (float, float), optional
            Shift of the frame as a whole as it is known already, such as from its disc, to two
            pixels or better; found by correlation otherwise.

        Returns
        -------
        Shift
        """
        own = binned(plane, self.factor)
        if near is None:
            dx, dy = self._correlate(own)
        else:
            dx, dy = near[0] / self.factor, near[1] / self.factor
        fine = band_pass(own)
        coarse = band_pass(binned(own, 2))
        correlation = gain = 0.0
        for level, bands in ((self._levels[0], coarse), (self._levels[1], fine)):
            scale = level.factor
            for _ in range(2):
                step, correlation, gain = level.whole(bands, dx / scale, dy / scale)
                dx, dy = dx + scale * step[0], dy + scale * step[1]
        whole = Shift(dx * self.factor, dy * self.factor, correlation)
        if not points or not gain > 0:
            return whole
        field = np.zeros((2, *self.nodes), np.float32)
        for level, bands in ((self._levels[0], coarse), *[(self._levels[1], fine)] * _FINE_STEPS):
            field += level.local(bands, dx, dy, field, gain)
            np.clip(field, -_LARGEST_LOCAL, _LARGEST_LOCAL, out=field)
        return Shift(whole.x, whole.y, correlation, field * np.float32(self.factor))

    def places(self, shift: Shift) -> tuple[Plane, Plane]:
        """Return the coordinates x and y in the frame of each pixel of the reference."""
        ny, nx = self.shape
        x = np.broadcast_to(np.arange(nx, dtype=np.float32) + np.float32(shift.x), (ny, nx))
        y = np.broadcast_to(
            np.arange(ny, dtype=np.float32)[:, None] + np.float32(shift.y), (ny, nx)
        )
        if shift.field is None:
            return x, y
        dx, dy = (_interpolated(part, self.shape, PITCH * self.factor) for part in shift.field)
        return x + dx, y + dy

    def _correlate(self, plane: Plane) -> tuple[float, float]:
        """Find the shift at the maximum of the cross-correlation, to about a pixel."""
        small = binned(plane, self._coarse)
        bands = band_pass(small)
        bands[:2] = bands[-2:] = 0
        bands[:, :2] = bands[:, -2:] = 0
        found = irfft2(rfft2(bands, self._fft_shape) * self._transform, self._fft_shape)
        y, x = np.unravel_index(int(found.argmax()), found.shape)
        ny, nx = found.shape
        dx = float(x if x <= nx // 2 else x - nx)
        dy = float(y if y <= ny // 2 else y - ny)
        dx += _vertex(found[y, (x - 1) % nx], found[y, x], found[y, (x + 1) % nx])
        dy += _vertex(found[(y - 1) % ny, x], found[y, x], found[(y + 1) % ny, x])
        return dx * self._coarse, dy * self._coarse


class _Level:
    """The band-passed reference at one scale, and the sums of the fit that do not change."""

    def __init__(self, bands: Plane, weight: Plane, factor: int) -> None:
        self.factor = factor
        # Sampling smooths frames; the reference is smoothed in the same way.
        bands = smooth_spline(bands)
        gx, gy = np.zeros_like(bands), np.zeros_like(bands)
        gx[:, 1:-1] = (bands[:, 2:] - bands[:, :-2]) / 2
        gy[1:-1] = (bands[2:] - bands[:-2]) / 2
        self.bands = bands
        # The fit is frame = gain * reference + gain * (dx * gx + dy * gy).
        self._terms = (bands, gx, gy)
        self._weight = weight
        self._weighted = tuple(term * weight for term in self._terms)
        pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
        products = [self._weighted[a] * self._terms[b] for a, b in pairs]
        self._whole = self._matrix([product.sum(keepdims=True) for product in products])[0, 0]
        self._power = float(self._whole[0, 0])
        self._local = self._matrix([self._windowed(product) for product in products])
        trace = self._local[..., 1, 1] + self._local[..., 2, 2]
        structured = trace[trace > 0.01 * trace.max()] if trace.max() > 0 else trace
        still = _STRUCTURE * float(np.median(structured)) if structured.size else 1.0
        self._damped = self._local.copy()
        self._prior = _STRUCTURE * float(self._local[..., 0, 0].max()) + 1e-12
        self._damped[..., 0, 0] += self._prior
        for k in (1, 2):
            self._damped[..., k, k] += still / 2 + 1e-12

    @staticmethod
    def _matrix(sums: list[NDArray]) -> NDArray[np.float64]:
        """Arrange the six sums of products as a symmetric matrix, in the last two axes."""
        a, b, c, d, e, f = (np.asarray(value, np.float64) for value in sums)
        rows = [np.stack(row, axis=-1) for row in ((a, b, c), (b, d, e), (c, e, f))]
        return np.stack(rows, axis=-2)

    def _windowed(self, product: Plane) -> NDArray[np.float32]:
        """Sum a product under the window around each alignment point."""
        pitch = PITCH // self.factor
        ny, nx = product.shape
        nodes = [-(-side // pitch) + 1 for side in product.shape]
        half = pitch // 2
        # Cells are centred on the nodes, which lie on every `pitch`-th pixel from the first on.
        padded = np.zeros((nodes[0] * pitch, nodes[1] * pitch), np.float32)
        rows, columns = min(ny, padded.shape[0] - half), min(nx, padded.shape[1] - half)
        padded[half : half + rows, half : half + columns] = product[:rows, :columns]
        cells = padded.reshape(nodes[0], pitch, nodes[1], pitch).sum((1, 3))
        cells = np.pad(cells, _PAD)
        return np.asarray(
            gaussian_filter(cells, _WINDOW / PITCH, mode="constant", truncate=3), np.float32
        )

    def whole(self, bands: Plane, dx: float, dy: float) -> tuple[tuple[float, float], float, float]:
        """Return the step of the shift of the whole frame, the correlation before it, the gain."""
        moved = sample_shifted(bands, dx, dy)
        sums = np.array([np.float64((term * moved).sum()) for term in self._weighted])
        power = float((self._weight * moved * moved).sum())
        correlation = sums[0] / np.sqrt(max(power * self._power, 1e-30))
        matrix = self._whole + 1e-9 * np.trace(self._whole) * np.eye(3)
        gain, gx, gy = np.linalg.solve(matrix + 1e-30 * np.eye(3), sums)
        if not gain > 0:
            return (0.0, 0.0), float(correlation), 0.0
        limit = 2.0
        return (
            (
                float(-np.clip(gx / gain, -limit, limit)),
                float(-np.clip(gy / gain, -limit, limit)),
            ),
            float(correlation),
            float(gain),
        )

    def _moved(self, bands: Plane, dx: float, dy: float, field: NDArray[np.float32]) -> Plane:
        """Sample the bands at places that are shifted by the field."""
        ny, nx = shape = self.bands.shape
        pitch, factor = PITCH // self.factor, np.float32(self.factor)
        x = (_interpolated(field[0], shape, pitch) + np.float32(dx)) / factor
        y = (_interpolated(field[1], shape, pitch) + np.float32(dy)) / factor
        x += np.arange(nx, dtype=np.float32)
        y += np.arange(ny, dtype=np.float32)[:, None]
        return Places(x, y, (ny, nx)).sample(bands)

    def local(
        self, bands: Plane, dx: float, dy: float, field: NDArray[np.float32], gain: float
    ) -> NDArray[np.float32]:
        """Return the step of the field at the alignment points."""
        if field.any():
            moved = self._moved(bands, dx, dy, field)
        else:
            moved = sample_shifted(bands, dx / self.factor, dy / self.factor)
        sums = np.stack([self._windowed(term * moved) for term in self._weighted], axis=-1)
        sums = sums.astype(np.float64)
        # Where there is little structure the gain is that of the frame as a whole.
        sums[..., 0] += self._prior * gain
        solution = np.linalg.solve(self._damped, sums[..., None])[..., 0]
        own = np.maximum(solution[..., 0], _LEAST_GAIN * gain)
        step = -solution[..., 1:] / own[..., None]
        # Such a gain means that the frame shows nothing here.
        step[solution[..., 0] < _LEAST_GAIN * gain] = 0
        limit = 1.5
        found = np.clip(step, -limit, limit) * self.factor
        return np.moveaxis(found, -1, 0).astype(np.float32)


def _interpolated(nodes: NDArray[np.float32], shape: tuple[int, ...], pitch: int) -> Plane:
    """Interpolate a field from its nodes to all pixels, linearly along each axis."""
    rows = _interpolation(shape[0], nodes.shape[0], pitch)
    columns = _interpolation(shape[1], nodes.shape[1], pitch)
    return np.asarray(rows @ nodes @ columns.T, np.float32)


def _interpolation(length: int, count: int, pitch: int) -> NDArray[np.float32]:
    """Return the matrix of linear interpolation from nodes to pixels along an axis."""
    place = np.arange(length) / pitch + _PAD
    distance = np.abs(place[:, None] - np.arange(count))
    return np.clip(1 - distance, 0, None).astype(np.float32)


def _edge_weight(shape: tuple[int, ...]) -> Plane:
    """Return weights that fall to 0 at the edges, where the band-pass has no neighbours."""
    ny, nx = shape
    ramps = [np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 8, 0, 1) for n in (ny, nx)]
    return np.outer(ramps[0], ramps[1]).astype(np.float32)


def _vertex(before: float, middle: float, after: float) -> float:
    """Return the place of the maximum of the parabola through three neighbouring values."""
    curvature = before - 2 * middle + after
    return float(0.5 * (before - after) / curvature) if curvature < 0 else 0.0
