"""Triangles of stars, by whose shape two lists are brought together."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

__all__ = ["Hypotheses", "Triangles", "compare_triangles", "make_triangles"]

_NEIGHBOURS = 8
"""Nearest stars with which each star makes triangles: enough that some survive where half of the
stars are missing from the other list."""
_BRIGHTEST = 16
"""Stars all of whose triangles are made, for lists that have the bright stars in common."""
_RADIUS = 0.004
"""Distance in the plane of the two ratios within which triangles are alike: three times the error
that centroids of 0.05 pixels give triangles of 60 pixels."""
_LEAST_RATIO = 0.1
"""Shortest over longest side of the thinnest triangle; the order of the corners of thinner ones,
and their orientation, is less certain."""
_AGREEMENT = 0.01
"""Distance, relative to the size of the reference, within which hypotheses are the same."""


class Triangles(NamedTuple):
    """Triangles of a list of n stars.

    Attributes
    ----------
    corners : ndarray of int, shape (m, 3)
        Stars opposite the longest, middle and shortest side.
    ratios : ndarray, shape (m, 2)
        Middle and shortest side over the longest.
    left : ndarray of bool, shape (m,)
        Whether the corners, in that order, turn from x to y.
    """

    corners: NDArray[np.int64]
    ratios: NDArray[np.float64]
    left: NDArray[np.bool_]


class Hypotheses(NamedTuple):
    """Similarities ``reference = a * image + b`` of complex coordinates, the likeliest first.

    Attributes
    ----------
    a, b : ndarray of complex, shape (k,)
        With the complex conjugate of the coordinates of the image where `mirrored`.
    mirrored : ndarray of bool, shape (k,)
        Whether the image is turned over.
    tried : int
        Number of hypotheses before any were left out.
    """

    a: NDArray[np.complex128]
    b: NDArray[np.complex128]
    mirrored: NDArray[np.bool_]
    tried: int


def make_triangles(places: NDArray[np.float64]) -> Triangles:
    """Make triangles of each star with its 8 nearest, and of the 16 first stars.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
        x and y in pixels, the brightest star first.
    """
    n = len(places)
    chosen = {triple for triple in combinations(range(min(n, _BRIGHTEST)), 3)}
    if n > 3:
        _, near = KDTree(places).query(places, k=min(_NEIGHBOURS + 1, n))
        for star, others in enumerate(near.tolist()):
            others = [other for other in others if other != star]
            chosen |= {tuple(sorted((star, *pair))) for pair in combinations(others, 2)}
    if not chosen:
        return Triangles(np.empty((0, 3), int), np.empty((0, 2)), np.empty(0, bool))
    corners = np.array(sorted(chosen))
    points = places[corners]
    # Side k lies opposite corner k.
    sides = np.linalg.norm(np.roll(points, -1, axis=1) - np.roll(points, 1, axis=1), axis=2)
    order = np.argsort(-sides, axis=1, kind="stable")
    corners = np.take_along_axis(corners, order, axis=1)
    sides = np.take_along_axis(sides, order, axis=1)
    good = sides[:, 2] > _LEAST_RATIO * sides[:, 0]
    corners, sides = corners[good], sides[good]
    first, second = (places[corners[:, k]] - places[corners[:, 0]] for k in (1, 2))
    left = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0
    return Triangles(corners, sides[:, 1:] / sides[:, :1], left)


def compare_triangles(
    image: NDArray[np.float64],
    reference: NDArray[np.float64],
    *,
    scale: tuple[float, float],
    mirror: bool,
    most: int,
) -> Hypotheses:
    """List the similarities that bring a triangle of one list onto one of the other.

    Parameters
    ----------
    image, reference : ndarray, shape (n, 2)
        Places of the brightest stars of both lists in pixels, the brightest first.
    scale : (float, float)
        Least and largest number of pixels of the reference per pixel of the image.
    mirror : bool
        Whether the image may be turned over.
    most : int
        Number of hypotheses that are kept: those that most others agree with.
    """
    ours, theirs = make_triangles(image), make_triangles(reference)
    nothing = Hypotheses(np.empty(0, complex), np.empty(0, complex), np.empty(0, bool), 0)
    if not len(ours.corners) or not len(theirs.corners):
        return nothing
    alike = KDTree(ours.ratios).sparse_distance_matrix(
        KDTree(theirs.ratios), _RADIUS, output_type="coo_matrix"
    )
    order = np.lexsort((alike.col, alike.row))
    i, j = alike.row[order], alike.col[order]
    mirrored = ours.left[i] != theirs.left[j]
    if not mirror:
        i, j, mirrored = i[~mirrored], j[~mirrored], mirrored[~mirrored]
    if not i.size:
        return nothing
    z = image[ours.corners[i]] @ [1, 1j]
    z = np.where(mirrored[:, None], z.conj(), z)
    target = reference[theirs.corners[j]] @ [1, 1j]
    middle, target_middle = z.mean(axis=1), target.mean(axis=1)
    z, target = z - middle[:, None], target - target_middle[:, None]
    a = (z.conj() * target).sum(axis=1) / (np.abs(z) ** 2).sum(axis=1)
    b = target_middle - a * middle
    kept = (np.abs(a) >= scale[0]) & (np.abs(a) <= scale[1])
    a, b, mirrored = a[kept], b[kept], mirrored[kept]
    if not a.size:
        return nothing
    chosen = _rank(a, b, mirrored, image, reference)[:most]
    return Hypotheses(a[chosen], b[chosen], mirrored[chosen], a.size)


def _rank(
    a: NDArray[np.complex128],
    b: NDArray[np.complex128],
    mirrored: NDArray[np.bool_],
    image: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Order hypotheses by how many others bring two points of the image to the same places."""
    low, high = image.min(axis=0), image.max(axis=0)
    ends = np.stack([low, high]) @ [1, 1j]
    z = np.where(mirrored[:, None], ends.conj(), ends)
    moved = a[:, None] * z + b[:, None]
    size = float(np.ptp(reference, axis=0).max())
    apart = np.where(mirrored, 10 * size, 0.0)
    places = np.column_stack([moved.real, moved.imag, apart])
    tree = KDTree(places)
    votes = tree.query_ball_point(places, _AGREEMENT * size, return_length=True)
    return np.argsort(-votes, kind="stable")
