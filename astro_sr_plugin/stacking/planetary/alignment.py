"""Shifts of frames against a reference, as a whole and at alignment points.

The shift of the whole frame comes from the cross-correlation of the band-passed planes. What is
left is found at the nodes of a grid: around each node the frame is fitted by the reference times a
gain, and the reference's gradients times a shift (Lucas & Kanade 1981, Proc. IJCAI, 674), under a
Gaussian window. The sums of the fit are smooth over the field, and a small weight for no shift at
all keeps nodes without structure still: the field needs no further smoothing, and reaches beyond
the structure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from astro_sr_plugin.stacking.planetary.filters import Plane, band_pass, binned
from astro_sr_plugin.stacking.planetary.sampling import (
    Places,
    cut,
    sample_shifted,
    smooth_spline,
)

__all__ = ["Reference", "Shift"]

_LARGEST_SIDE = 700
"""Pixels of the longer side above which shifts are measured in means of 2 x 2 pixels or more."""
_SEARCH_SIDE = 400
"""Pixels of the longer side of the planes that are correlated."""
PITCH = 16
"""Pixels between alignment points."""
_WINDOW = 16.0
"""Standard deviation of the window around a point, in pixels: about that of a box of 56 pixels. If
a warp changes over 30 pixels, 12 is as good with little noise, and worse with much."""
_FINE = (1,)
"""Binomial filter of the smallest structures: shifts of noisy frames come out better with them."""
_WINDOW_REACH = 3.0
"""Standard deviations at which the window ends."""
_LARGEST_LOCAL = 8.0
"""Pixels by which a point may move against the frame as a whole."""
_STRUCTURE = 0.02
"""Structure of a point over that of the median one with structure, that counts as still."""
_LEAST_GAIN = 0.2
"""Gain of a point over that of the whole frame, below which it has no shift."""
_WHOLE_STEPS = 3
"""Most steps of the shift of the whole frame at each scale."""
_SETTLED = 0.1
"""Pixels of the scale; a smaller step is the last one."""
_COARSE_STEPS = 2
"""Steps of the field at half of the finest scale, before one at that scale."""
_LARGEST_STEP, _LARGEST_LOCAL_STEP = 2.0, 1.5
"""Pixels of the scale that such a step, and one of the field, may have."""
_LEAST_ENERGY = 0.01
"""Structure in the cell of a point over that of the strongest cell: less is empty sky."""
_TINY = 1e-12
"""Added where there is nothing at all."""
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
    """

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.shape: tuple[int, int] = plane.shape  # type: ignore[assignment]
        self.factor = -(-max(self.shape) // _LARGEST_SIDE)
        own = binned(plane, self.factor)
        self._shape = own.shape
        weight = _edge_weight(own.shape)
        self._coarse = -(-max(own.shape) // _SEARCH_SIDE)
        bands = band_pass(own)
        self._box = _find_structure(bands * weight)
        part = cut(own, *self._box)
        counts = _count_points(part.shape)
        self._levels = [
            _Level(
                band_pass(binned(part, factor), _FINE),
                binned(cut(weight, *self._box), factor),
                factor,
                counts,
            )
            for factor in (2, 1)
        ]
        small = binned(own, self._coarse)
        self._pattern = band_pass(small) * binned(weight, self._coarse)

    @property
    def nodes(self) -> tuple[int, int]:
        """Number of alignment points along y and x."""
        rows, columns = _count_points(self._shape)
        return rows + 2 * _PAD, columns + 2 * _PAD

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
        top, left, shape = self._box
        columns, rows = round(dx), round(dy)
        dx, dy = dx - columns, dy - rows
        part = cut(own, top + rows, left + columns, shape)
        fine = band_pass(part, _FINE)
        coarse = band_pass(binned(part, 2), _FINE)
        correlation = gain = 0.0
        for level, bands in ((self._levels[0], coarse), (self._levels[1], fine)):
            scale = level.factor
            for _ in range(_WHOLE_STEPS):
                step, correlation, gain = level.whole(bands, dx / scale, dy / scale)
                dx, dy = dx + scale * step[0], dy + scale * step[1]
                if max(abs(step[0]), abs(step[1])) < _SETTLED:
                    break
        whole = Shift((columns + dx) * self.factor, (rows + dy) * self.factor, correlation)
        if not points or not gain > 0:
            return whole
        local = np.zeros((2, *self._levels[1].nodes), np.float32)
        for level, bands in (*[(self._levels[0], coarse)] * _COARSE_STEPS, (self._levels[1], fine)):
            local += level.local(bands, dx, dy, local, gain)
            np.clip(local, -_LARGEST_LOCAL, _LARGEST_LOCAL, out=local)
        field = np.zeros((2, *self.nodes), np.float32)
        first = (top // PITCH, left // PITCH)
        inside = tuple(slice(k, k + count) for k, count in zip(first, local.shape[1:], strict=True))
        field[:, *inside] = local[:, : field.shape[1] - first[0], : field.shape[2] - first[1]]
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

    @cached_property
    def _transform(self) -> tuple[tuple[int, int], NDArray[np.complexfloating]]:
        """The shape in which planes are correlated, and the conjugate transform of the reference.

        Planets, whose shift follows from the disc, do without.
        """
        from scipy.fft import next_fast_len, rfft2

        ny, nx = (next_fast_len(side, real=True) for side in self._pattern.shape)
        return (ny, nx), np.conj(rfft2(self._pattern, (ny, nx)))

    def straightened(self, shift: Shift, mean: NDArray[np.float32]) -> Shift:
        """Return a shift against this reference after a field is taken out of it.

        Parameters
        ----------
        shift : Shift
            Against the reference as it is.
        mean : ndarray of float32, shape (2, nodes in y, nodes in x)
            Mean of the fields of the frames, by which the reference is moved.

        Returns
        -------
        Shift
        """
        if shift.field is None:
            return shift
        nodes = np.mgrid[: mean.shape[1], : mean.shape[2]] - mean[::-1] / (PITCH * self.factor)
        field = [map_coordinates(part, nodes, order=1, mode="nearest") for part in shift.field]
        return replace(shift, field=np.stack(field) - mean)

    def _correlate(self, plane: Plane) -> tuple[float, float]:
        """Find the shift at the maximum of the cross-correlation, to about a pixel."""
        from scipy.fft import irfft2, rfft2

        shape, transform = self._transform
        bands = band_pass(binned(plane, self._coarse))
        bands[:2] = bands[-2:] = 0
        bands[:, :2] = bands[:, -2:] = 0
        found = irfft2(rfft2(bands, shape) * transform, shape)
        y, x = np.unravel_index(int(found.argmax()), found.shape)
        ny, nx = found.shape
        dx = float(x if x <= nx // 2 else x - nx)
        dy = float(y if y <= ny // 2 else y - ny)
        dx += _vertex(found[y, (x - 1) % nx], found[y, x], found[y, (x + 1) % nx])
        dy += _vertex(found[(y - 1) % ny, x], found[y, x], found[(y + 1) % ny, x])
        return dx * self._coarse, dy * self._coarse


class _Level:
    """The band-passed reference at one scale, and the sums of the fit that do not change."""

    def __init__(self, bands: Plane, weight: Plane, factor: int, counts: tuple[int, int]) -> None:
        self.factor, self._counts = factor, counts
        self._pitch = PITCH // factor
        # Sampling smooths frames; the reference is smoothed in the same way.
        bands = smooth_spline(bands)
        gx, gy = np.zeros_like(bands), np.zeros_like(bands)
        gx[:, 1:-1] = (bands[:, 2:] - bands[:, :-2]) / 2
        gy[1:-1] = (bands[2:] - bands[:-2]) / 2
        self._shape = bands.shape
        # The fit is frame = gain * reference + gain * (dx * gx + dy * gy).
        terms = (bands, gx, gy)
        self._weight = weight
        self._weighted = [term * weight for term in terms]
        self._cells = [self._in_cells(term) for term in self._weighted]
        self.nodes = (counts[0] + 2 * _PAD, counts[1] + 2 * _PAD)
        self._windows = [_window(count) for count in counts]
        whole = np.array([[np.sum(a * b, dtype=float) for b in terms] for a in self._weighted])
        self._power = float(whole[0, 0])
        self._whole = np.linalg.inv(whole + (1e-9 * np.trace(whole) + _TINY) * np.eye(3))
        local = np.stack([self._windowed(term) for term in terms], axis=-1)
        trace = local[..., 1, 1] + local[..., 2, 2]
        structured = trace[trace > 0.01 * trace.max()] if trace.max() > 0 else trace
        still = _STRUCTURE * float(np.median(structured)) if structured.size else 1.0
        self._prior = _STRUCTURE * float(local[..., 0, 0].max()) + _TINY
        local[..., 0, 0] += self._prior
        for k in (1, 2):
            local[..., k, k] += still / 2 + _TINY
        self._local = np.linalg.inv(local)

    def _in_cells(self, plane: Plane) -> Plane:
        """Arrange a plane in cells that are centred on the alignment points.

        The points lie on every `pitch`-th pixel, from the first one on.
        """
        pitch, half = self._pitch, self._pitch // 2
        rows, columns = self._counts
        padded = np.zeros((rows * pitch, columns * pitch), np.float32)
        part = plane[: padded.shape[0] - half, : padded.shape[1] - half]
        padded[half : half + part.shape[0], half : half + part.shape[1]] = part
        return padded.reshape(rows, pitch, columns, pitch)

    def _windowed(self, plane: Plane) -> NDArray[np.float64]:
        """Sum a plane times each of the terms, under the window around each alignment point."""
        cells = self._in_cells(plane)
        sums = np.stack([np.einsum("aibj,aibj->ab", term, cells) for term in self._cells])
        windowed = self._windows[0] @ sums.astype(np.float64) @ self._windows[1].T
        return np.moveaxis(windowed, 0, -1)

    def whole(self, bands: Plane, dx: float, dy: float) -> tuple[tuple[float, float], float, float]:
        """Return the step of the shift of the whole frame, the correlation before it, the gain."""
        moved = sample_shifted(bands, dx, dy)
        sums = np.array([float(np.einsum("ij,ij->", term, moved)) for term in self._weighted])
        power = float(np.einsum("ij,ij,ij->", self._weight, moved, moved))
        correlation = float(sums[0] / np.sqrt(max(power * self._power, _TINY)))
        gain, gx, gy = (float(value) for value in (self._whole * sums).sum(axis=1))
        if not gain > 0:
            return (0.0, 0.0), correlation, 0.0
        step = [min(max(-value / gain, -_LARGEST_STEP), _LARGEST_STEP) for value in (gx, gy)]
        return (step[0], step[1]), correlation, gain

    def _moved(self, bands: Plane, dx: float, dy: float, field: NDArray[np.float32]) -> Plane:
        """Sample the bands at places that are shifted by the field."""
        ny, nx = shape = self._shape
        factor = np.float32(self.factor)
        x = (_interpolated(field[0], shape, self._pitch) + np.float32(dx)) / factor
        y = (_interpolated(field[1], shape, self._pitch) + np.float32(dy)) / factor
        x += np.arange(nx, dtype=np.float32)
        y += np.arange(ny, dtype=np.float32)[:, None]
        return smooth_spline(Places(x, y, (ny, nx), linear=True).sample(bands))

    def local(
        self, bands: Plane, dx: float, dy: float, field: NDArray[np.float32], gain: float
    ) -> NDArray[np.float32]:
        """Return the step of the field at the alignment points."""
        if field.any():
            moved = self._moved(bands, dx, dy, field)
        else:
            moved = sample_shifted(bands, dx / self.factor, dy / self.factor)
        sums = self._windowed(moved)
        # Where there is little structure the gain is that of the frame as a whole.
        sums[..., 0] += self._prior * gain
        solution = (self._local * sums[..., None, :]).sum(axis=-1)
        own = np.maximum(solution[..., 0], _LEAST_GAIN * gain)
        step = -solution[..., 1:] / own[..., None]
        # Such a gain means that the frame shows nothing here.
        step[solution[..., 0] < _LEAST_GAIN * gain] = 0
        found = np.clip(step, -_LARGEST_LOCAL_STEP, _LARGEST_LOCAL_STEP) * self.factor
        return np.moveaxis(found, -1, 0).astype(np.float32)


def _interpolated(nodes: NDArray[np.float32], shape: tuple[int, ...], pitch: int) -> Plane:
    """Interpolate a field from its nodes to all pixels, linearly along each axis.

    Products of matrices would do the same, in threads that hold up those of the frames.
    """
    share = np.arange(pitch, dtype=np.float32) / np.float32(pitch)
    values = nodes[_PAD:, _PAD:]
    for axis in (0, 1):
        count = -(-shape[axis] // pitch)
        first = values.take(range(count), axis=axis)
        step = values.take(range(1, count + 1), axis=axis) - first
        between = share[:, None] if axis == 0 else share
        first, step = np.expand_dims(first, axis + 1), np.expand_dims(step, axis + 1)
        both = first + between * step
        values = both.reshape(-1, both.shape[-1]) if axis == 0 else both.reshape(len(both), -1)
    return values[: shape[0], : shape[1]]


def _count_points(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of alignment points along y and x that a plane needs."""
    rows, columns = (-(-side // PITCH) + 1 for side in shape)
    return rows, columns


def _window(count: int) -> NDArray[np.float64]:
    """Return the weights of cells along an axis, in rows for the points and those beyond."""
    distance = np.arange(-_PAD, count + _PAD)[:, None] - np.arange(count)
    weights = np.exp(-0.5 * (distance * (PITCH / _WINDOW)) ** 2)
    weights[np.abs(distance) * PITCH > _WINDOW_REACH * _WINDOW] = 0
    return np.asarray(weights)


def _find_structure(bands: Plane) -> tuple[int, int, tuple[int, int]]:
    """Return top, left and shape of the box of whole cells that holds the structure."""
    ny, nx = (-(-side // PITCH) * PITCH for side in bands.shape)
    padded = np.zeros((ny, nx), np.float32)
    padded[: bands.shape[0], : bands.shape[1]] = bands
    energy = np.square(padded).reshape(ny // PITCH, PITCH, nx // PITCH, PITCH).sum((1, 3))
    some = energy > _LEAST_ENERGY * energy.max()
    if not some.any():
        return 0, 0, bands.shape  # type: ignore[return-value]
    edges = []
    for axis in (0, 1):
        index = np.flatnonzero(some.any(axis=1 - axis))
        first = int(index[0]) * PITCH
        edges.append((first, min((int(index[-1]) + 1) * PITCH, bands.shape[axis])))
    (top, bottom), (left, right) = edges
    return top, left, (bottom - top, right - left)


def _edge_weight(shape: tuple[int, ...]) -> Plane:
    """Return weights that fall to 0 at the edges, where the band-pass has no neighbours."""
    ny, nx = shape
    ramps = [np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 8, 0, 1) for n in (ny, nx)]
    return np.outer(ramps[0], ramps[1]).astype(np.float32)


def _vertex(before: float, middle: float, after: float) -> float:
    """Return the place of the maximum of the parabola through three neighbouring values."""
    curvature = before - 2 * middle + after
    return float(0.5 * (before - after) / curvature) if curvature < 0 else 0.0
