"""Geometric transforms between the pixels of an image and those of its reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.registration.distortion import Distortion
from astro_sr_plugin.registration.projection import fit_wcs
from astro_sr_plugin.registration.thin_plate import ThinPlate

__all__ = ["Points", "Transform"]

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Coordinates x and y in pixels, 0-based, pixel centres at whole numbers."""

_NEWTON_STEPS = 20
"""Most steps with which a polynomial is inverted; each squares the error."""
_PRECISION = 1e-9
"""Distance in pixels at which the inversion ends."""
_MOVED = 0.2
"""Distance in pixels within which a transform is the identity: well above the errors of a fit,
and below any dither."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Where the pixels of an image lie in its reference, and back.

    Parameters
    ----------
    model : str
        ``'shift'``, ``'similarity'``, ``'affine'``, ``'homography'``, or ``'polynomial2'`` to
        ``'polynomial5'``, or ``'thin-plate'``.
    matrix : ndarray, shape (3, 3)
        From homogeneous coordinates of the reference to those of the image.
    shape, reference_shape : (int, int)
        Shapes (ny, nx) of the image and of the reference, in pixels.
    distortion : Distortion or ThinPlate, optional
        What a polynomial or spline adds to the matrix, in pixels of the image.
    residual : float
        Weighted rms distance of the stars from where the transform puts them, in pixels of the
        reference; NaN for a transform that was not fitted.
    n_pairs : int
        Number of pairs of stars that it was fitted to.
    probability : float
        Probability that the pairs agree by chance.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> moved = asr.Transform.from_matrix([[1, 0, 2], [0, 1, -3], [0, 0, 1]], (100, 100))
    >>> x, y = moved.to_image([10, 50], [10, 50])
    >>> x, y
    (array([12., 52.]), array([ 7., 47.]))
    >>> moved.shift
    (-2.0, 3.0)
    """

    model: str
    matrix: NDArray[np.float64]
    shape: tuple[int, int]
    reference_shape: tuple[int, int]
    distortion: Distortion | ThinPlate | None = None
    residual: float = np.nan
    n_pairs: int = 0
    probability: float = np.nan
    _inverse: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            msg = f"matrix has shape {matrix.shape}; allowed are 3 x 3 finite numbers"
            raise InputError(msg)
        if not abs(np.linalg.det(matrix)) > 0:
            msg = "matrix cannot be inverted: its determinant is 0"
            raise InputError(msg)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "_inverse", np.linalg.inv(matrix))

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        reference_shape: tuple[int, int],
        shape: tuple[int, int] | None = None,
    ) -> Transform:
        """Make a transform from a 3 x 3 matrix (reference to image).

        Parameters
        ----------
        matrix : array_like, shape (3, 3)
            From homogeneous coordinates (x, y, 1) of the reference to those of the image.
        reference_shape, shape : (int, int)
            Shapes (ny, nx) of the reference and of the image; that of the reference by default.
        """
        values = np.asarray(matrix, dtype=np.float64)
        model = "affine"
        if values.shape == (3, 3) and values[2, 2] != 0:
            values = values / values[2, 2]
            if values[2, :2].any():
                model = "homography"
        return cls(model, values, reference_shape if shape is None else shape, reference_shape)

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> Transform:
        """Make the transform of the reference itself, of shape (ny, nx)."""
        return cls("shift", np.eye(3), shape, shape)

    def within(self, y: int, x: int, shape: tuple[int, int]) -> Transform:
        """Make the transform to a part of the grid of the reference, which may go beyond it.

        Parameters
        ----------
        y, x : int
            Row and column of the reference that the part begins with.
        shape : (int, int)
            Its shape (ny, nx).
        """
        moved = np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
        return replace(
            self,
            matrix=self.matrix @ moved,
            reference_shape=shape,
            distortion=None if self.distortion is None else self.distortion.moved(x, y),
        )

    def to_image(self, x: ArrayLike, y: ArrayLike) -> Points:
        """Find where points of the reference lie in the image.

        Parameters
        ----------
        x, y : array_like
            Coordinates in the reference in pixels.

        Returns
        -------
        x, y : ndarray
            Coordinates in the image in pixels.
        """
        u, v = _project(self.matrix, x, y)
        if self.distortion is not None:
            dx, dy = self.distortion.at(x, y)
            u, v = u + dx, v + dy
        return u, v

    def to_reference(self, x: ArrayLike, y: ArrayLike) -> Points:
        """Find where points of the image lie in the reference.

        Parameters
        ----------
        x, y : array_like
            Coordinates in the image in pixels.

        Returns
        -------
        x, y : ndarray
            Coordinates in the reference in pixels. NaN where a polynomial, far outside of the
            image, cannot be inverted.
        """
        if self.distortion is None:
            return _project(self._inverse, x, y)
        u, v = (np.asarray(values, dtype=np.float64) for values in (x, y))
        px, py = _project(self._inverse, u, v)
        with np.errstate(all="ignore"):
            for _ in range(_NEWTON_STEPS):
                at_x, at_y = self.to_image(px, py)
                fx, fy = at_x - u, at_y - v
                if not (np.hypot(fx, fy) > _PRECISION).any():
                    break
                xx, xy, yx, yy = self._jacobian(px, py)
                det = xx * yy - xy * yx
                px, py = px - (yy * fx - xy * fy) / det, py - (xx * fy - yx * fx) / det
            far = ~(np.hypot(fx, fy) <= 1e3 * _PRECISION)
        return np.where(far, np.nan, px), np.where(far, np.nan, py)

    def area(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Give the area in the image, in its pixels, that one pixel of the reference covers.

        Parameters
        ----------
        x, y : array_like
            Coordinates in the reference in pixels.
        """
        xx, xy, yx, yy = self._jacobian(x, y)
        area: NDArray[np.float64] = np.abs(xx * yy - xy * yx)
        return np.broadcast_to(area, np.broadcast_shapes(np.shape(x), np.shape(y)))

    @property
    def shift(self) -> tuple[float, float]:
        """Where the middle of the image lies in the reference, less the middle of that, in pixels.

        x and y.
        """
        x, y = self.to_reference(*_middle(self.shape))
        cx, cy = _middle(self.reference_shape)
        return float(x) - cx, float(y) - cy

    @property
    def rotation(self) -> float:
        """Angle in degrees, -180 to 180, by which the image is turned to lie on the reference.

        From x to y. A mirrored image has its y axis turned over before.
        """
        xx, xy, yx, yy = self._turn()
        sign = -1.0 if self.mirrored else 1.0
        return float(np.degrees(np.arctan2(yx - sign * xy, xx + sign * yy)))

    @property
    def scale(self) -> float:
        """Pixels of the reference per pixel of the image."""
        xx, xy, yx, yy = self._turn()
        return float(np.sqrt(abs(xx * yy - xy * yx)))

    @property
    def mirrored(self) -> bool:
        """Whether the image is the mirror image of the reference."""
        xx, xy, yx, yy = self._turn()
        return bool(xx * yy - xy * yx < 0)

    @property
    def is_linear(self) -> bool:
        """Whether equal steps in the reference are equal steps in the image."""
        return self.distortion is None and not self.matrix[2, :2].any()

    @property
    def is_identity(self) -> bool:
        """Whether it moves no pixel by more than 0.2 pixels."""
        ny, nx = self.reference_shape
        x, y = np.array([0.0, nx - 1, 0, nx - 1]), np.array([0.0, 0, ny - 1, ny - 1])
        u, v = self.to_image(x, y)
        return bool((np.hypot(u - x, v - y) < _MOVED).all())

    def footprint(self) -> NDArray[np.float32]:
        """Which pixels of the reference the image covers: 1, else 0; shape (ny, nx)."""
        ny, nx = self.shape
        rows, columns = self.reference_shape
        covered = np.empty(self.reference_shape, dtype=np.float32)
        for row in range(rows):
            x, y = self.to_image(np.arange(columns), np.full(columns, row))
            covered[row] = (x >= -0.5) & (x <= nx - 0.5) & (y >= -0.5) & (y <= ny - 0.5)
        return covered

    def wcs(self, reference: WCS) -> WCS:
        """Give the world coordinates of the image from those of the reference.

        Parameters
        ----------
        reference : astropy.wcs.WCS
            World coordinates of the reference; celestial.

        Returns
        -------
        astropy.wcs.WCS
            A tangential projection, with SIP polynomials where it needs them.

        Raises
        ------
        InputError
            If the world coordinates of the reference are not those of the sky.
        """
        return fit_wcs(self.shape, self.to_reference, reference)

    def _turn(self) -> tuple[float, float, float, float]:
        """Return the Jacobian of `to_reference` in the middle: dx/dx, dx/dy, dy/dx, dy/dy."""
        xx, xy, yx, yy = (float(v) for v in self._jacobian(*_middle(self.reference_shape)))
        det = xx * yy - xy * yx
        return yy / det, -xy / det, -yx / det, xx / det

    def _jacobian(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], ...]:
        """Return the derivatives of `to_image`: dx/dx, dx/dy, dy/dx, dy/dy.

        Those that are the same everywhere have no dimensions.
        """
        m = self.matrix
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if m[2, 0] == m[2, 1] == 0:
            found = [np.asarray(m[row, column] / m[2, 2]) for row in (0, 1) for column in (0, 1)]
        else:
            w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
            u, v = _project(m, x, y)
            found = [
                (m[0, 0] - m[2, 0] * u) / w,
                (m[0, 1] - m[2, 1] * u) / w,
                (m[1, 0] - m[2, 0] * v) / w,
                (m[1, 1] - m[2, 1] * v) / w,
            ]
        if self.distortion is not None:
            slopes = self.distortion.slopes(x, y)
            found = [a + b for a, b in zip(found, slopes, strict=True)]
        return tuple(found)


def _middle(shape: tuple[int, int]) -> tuple[float, float]:
    return (shape[1] - 1) / 2, (shape[0] - 1) / 2


def _project(matrix: NDArray[np.float64], x: ArrayLike, y: ArrayLike) -> Points:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if matrix[2, 0] == matrix[2, 1] == 0:
        matrix = matrix / matrix[2, 2]
    # Where rows and columns are given, only the last sum is over a plane.
    u, v = (line[0] * x + (line[1] * y + line[2]) for line in matrix[:2])
    if matrix[2, 0] == matrix[2, 1] == 0:
        return u, v
    w = matrix[2, 0] * x + (matrix[2, 1] * y + matrix[2, 2])
    # Beyond the horizon of a homography there is nothing.
    w = np.where(w * matrix[2, 2] > 0, w, np.nan)
    return u / w, v / w
