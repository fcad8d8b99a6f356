"""Weighted robust fits of transforms to pairs of stars, and the choice of the model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from astro_sr_plugin.exceptions import InputError, check_choice
from astro_sr_plugin.registration.distortion import Distortion, polynomial_terms
from astro_sr_plugin.registration.thin_plate import ThinPlate, fit_thin_plate
from astro_sr_plugin.registration.transform import Transform

__all__ = ["MODELS", "Pairs", "check_model", "common_scatter", "fit_transform"]

Array = NDArray[np.float64]

MODELS = (
    "shift",
    "similarity",
    "affine",
    "homography",
    *(f"polynomial{order}" for order in (2, 3, 4, 5)),
    "thin-plate",
)
"""Names of the models, each freer than the one before."""
_PARAMETERS = dict(zip(MODELS, (2, 4, 6, 8, 12, 20, 30, 42, 60), strict=True))
_HIGH_ORDERS = MODELS[-3:-1]
"""Models that are tried only if the stars ask for polynomials."""
_FEWEST = dict(zip(MODELS, (1, 2, 6, 20, 30, 60, 100, 150, 200), strict=True))
"""Pairs from which a model is tried unasked: some 3 to 7 per pair of parameters, for a freer model
than needed costs accuracy."""
_FEWEST_COMPARED = 10
"""Pairs from which models are compared; fewer give a similarity."""
_TUKEY = 6.0
"""Standardised distance from which a pair has no weight (biweight of Tukey; the usual 4.685 for
one coordinate, wider for the length of a vector)."""
_MEDIAN = 2 * np.log(2)
"""Median of the squared length of a vector of two unit Gaussians."""
_ROUNDS = 8
"""Most rounds of weighting; the weights stand still after some five."""
_STILL = 1e-3
"""Change of the weights, over the largest one, at which they stand still."""
_FOLDS = 5
"""Parts of the pairs that are left out in turn."""
_GAIN = 3.0
"""Standard errors by which a freer model must predict left-out stars better."""
_OPEN = 1e-13
"""Relative eigenvalue of the normal equations below which the stars do not fix a combination of
parameters; rounding is 1e-16."""
_AGREED = 5.0
"""Standard errors by which the residuals of neighbouring stars must be correlated before a spline
is tried."""
_UNDER_A_SPLINE = 3
"""Order of the polynomial whose residuals a thin-plate spline is fitted to."""
_HOMOGRAPHY_ROUNDS = 6
"""Most linear fits with the denominators of the one before."""
_SAME = 1e-9
"""Change of the denominators, which are about 1, at which these fits end."""


class Pairs(NamedTuple):
    """Stars of an image and of its reference that are the same; coordinates in pixels.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Place in the image.
    x_reference, y_reference : ndarray, shape (n,)
        Place in the reference.
    error : ndarray, shape (n,)
        Standard deviation of the difference per axis, in pixels of the image.
    """

    x: Array
    y: Array
    x_reference: Array
    y_reference: Array
    error: Array

    def take(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Keep the pairs that are True."""
        return Pairs(*(values[chosen] for values in self))


def check_model(model: str) -> None:
    """Check the name of a model.

    Raises
    ------
    InputError
        If it is neither ``"auto"`` nor in `MODELS`.
    """
    check_choice("model", model, ("auto", *MODELS))


def fit_transform(
    pairs: Pairs,
    shape: tuple[int, int],
    reference_shape: tuple[int, int],
    *,
    model: str = "auto",
    mirrored: bool = False,
    probability: float = np.nan,
) -> Transform:
    """Fit a transform to pairs of stars.

    Each pair weighs by the inverse square of its error, to which a common scatter is added where
    the stars scatter more than their errors say (the air moves bright stars too). Pairs that
    disagree lose their weight (biweight of Tukey).

    Parameters
    ----------
    pairs : Pairs
        Some may be wrong.
    shape, reference_shape : (int, int)
        Shapes (ny, nx) of the image and of the reference.
    model : str
        A name of `MODELS`, or ``"auto"``: the simplest one such that no freer one predicts stars
        that it was not fitted to better, by three standard errors.
    mirrored : bool
        Whether a shift or similarity is mirrored.
    probability : float
        Handed on to the transform.

    Returns
    -------
    Transform
        With the residual, and the number of pairs that have weight.

    Raises
    ------
    InputError
        If there are fewer pairs than the model needs.
    """
    count = pairs.x.size
    if model != "auto":
        needed = -(-_PARAMETERS[model] // 2)
        if count < needed:
            msg = f"model={model!r} needs {needed} pairs of stars, but there are {count}"
            raise InputError(msg)
        found, weight = _robust(pairs, model, mirrored)
    else:
        if count < _FEWEST["similarity"]:
            msg = f"a transform needs 2 pairs of stars, but there are {count}"
            raise InputError(msg)
        found, weight, model = _choose(pairs, mirrored)
    residual = _distances(found, pairs)
    used = weight > 0
    share = weight / weight.sum()
    transform = _as_transform(found, model, shape, reference_shape)
    in_reference = float(np.sqrt((share * residual**2).sum())) * transform.scale
    return Transform(
        model,
        transform.matrix,
        shape,
        reference_shape,
        transform.distortion,
        residual=in_reference,
        n_pairs=int(used.sum()),
        probability=probability,
    )


class _Fit(NamedTuple):
    """A matrix and what a polynomial adds to it."""

    matrix: Array
    distortion: Distortion | ThinPlate | None


def _as_transform(
    found: _Fit, model: str, shape: tuple[int, int], reference_shape: tuple[int, int]
) -> Transform:
    return Transform(model, found.matrix, shape, reference_shape, found.distortion)


def _choose(pairs: Pairs, mirrored: bool) -> tuple[_Fit, Array, str]:
    """Fit the models in turn, and keep the simplest that no freer one predicts better than."""
    best = "similarity"
    found, weight = _robust(pairs, best, mirrored)
    if pairs.x.size < _FEWEST_COMPARED:
        return found, weight, best
    # One scatter for all, so that their losses are those of the same distances.
    scatter = common_scatter(_distances(found, pairs), pairs.error)
    error = np.hypot(pairs.error, scatter)
    best, loss = "", np.full(pairs.x.size, np.inf)
    for model in MODELS:
        if pairs.x.size < _FEWEST[model]:
            continue
        if model in _HIGH_ORDERS and not best.startswith("polynomial"):
            continue
        if model == "thin-plate" and not _neighbours_agree(found, pairs, error):
            continue
        trial, trial_weight = _robust(pairs, model, mirrored)
        trial_loss = _predicted_loss(pairs, model, mirrored, trial_weight, error)
        if best:
            gain = loss - trial_loss
            # Frames of one night are nearly always turned a little: that needs no proof.
            needed = 0.0 if model == "similarity" else _GAIN * gain.std() / np.sqrt(gain.size)
        if not best or gain.mean() > needed:
            best, found, weight, loss = model, trial, trial_weight, trial_loss
    return found, weight, best


def _neighbours_agree(fit: _Fit, pairs: Pairs, error: Array) -> bool:
    """Whether neighbouring stars lie off to the same side: there is more to follow than noise."""
    shape = (1, 1)
    x, y = _as_transform(fit, "", shape, shape).to_image(pairs.x_reference, pairs.y_reference)
    pull = np.stack([pairs.x - x, pairs.y - y]) / error
    size = np.hypot(*pull)
    pull *= np.minimum(size, _TUKEY) / np.maximum(size, 1e-30)
    places = np.column_stack([pairs.x_reference, pairs.y_reference])
    _, nearest = KDTree(places).query(places, k=2)
    product = np.sum(pull * pull[:, nearest[:, 1]], axis=0)
    return bool(product.mean() > _AGREED * product.std() / np.sqrt(product.size))


def _predicted_loss(pairs: Pairs, model: str, mirrored: bool, weight: Array, error: Array) -> Array:
    """Squared standardised distances of pairs from fits without them, bounded."""
    fold = np.arange(pairs.x.size) % _FOLDS
    loss = np.full(pairs.x.size, _TUKEY**2)
    for number in range(_FOLDS):
        left_out = fold == number
        kept = pairs.take(~left_out)
        fit = _fit(kept, model, mirrored, weight[~left_out])
        distance = _distances(fit, pairs.take(left_out))
        loss[left_out] = np.minimum((distance / error[left_out]) ** 2, _TUKEY**2)
    return loss


def common_scatter(distance: Array, error: Array) -> float:
    """Scatter in pixels that, added to the errors, explains the median distance of the pairs.

    Parameters
    ----------
    distance : ndarray, shape (n,)
        Distances of the pairs in pixels.
    error : ndarray, shape (n,)
        Standard deviations per axis in pixels.
    """
    # The median of distance^2 / (error^2 + scatter^2) is that of Gaussians: solved for the scatter.
    return float(np.sqrt(max(np.median(distance**2 / _MEDIAN - error**2), 0.0)))


def _robust(pairs: Pairs, model: str, mirrored: bool) -> tuple[_Fit, Array]:
    """Fit with weights that follow the residuals; returns the fit and the weights."""
    weight = 1 / np.maximum(pairs.error, np.median(pairs.error)) ** 2
    fit = _fit(pairs, model, mirrored, weight)
    exact = pairs.x.size * 2 <= _PARAMETERS[model] + 1
    for _ in range(0 if exact else _ROUNDS):
        distance = _distances(fit, pairs)
        scatter = common_scatter(distance, pairs.error)
        variance = pairs.error**2 + scatter**2
        factor = max(np.median(distance**2 / variance) / _MEDIAN, 1.0)
        inner = np.maximum(1 - distance**2 / (variance * factor * _TUKEY**2), 0)
        if 2 * (inner > 0).sum() <= _PARAMETERS[model]:
            break
        before, weight = weight, inner**2 / variance
        fit = _fit(pairs, model, mirrored, weight)
        if np.abs(weight - before).max() < _STILL * weight.max():
            break
    return fit, weight


def _distances(fit: _Fit, pairs: Pairs) -> Array:
    shape = (1, 1)
    x, y = _as_transform(fit, "", shape, shape).to_image(pairs.x_reference, pairs.y_reference)
    distance: Array = np.hypot(pairs.x - x, pairs.y - y)
    return np.where(np.isfinite(distance), distance, 1e9)


def _fit(pairs: Pairs, model: str, mirrored: bool, weight: Array) -> _Fit:
    """Weighted least squares, in coordinates about the weighted middles."""
    share = weight / weight.sum()
    cx, cy = float(share @ pairs.x_reference), float(share @ pairs.y_reference)
    tx, ty = float(share @ pairs.x), float(share @ pairs.y)
    u, v, x, y = pairs.x_reference - cx, pairs.y_reference - cy, pairs.x - tx, pairs.y - ty
    radius = float(max(np.abs(u).max(), np.abs(v).max(), 1.0))
    to_middle = np.array([[1, 0, -cx], [0, 1, -cy], [0, 0, 1]])
    back = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    root = np.sqrt(share)
    distortion: Distortion | ThinPlate | None = None
    inner = np.eye(3)
    flip = -1.0 if mirrored else 1.0
    if model == "shift":
        inner[1, 1] = flip
    elif model == "similarity":
        z, target = u + 1j * flip * v, x + 1j * y
        a = (share * z.conj() * target).sum() / max((share * np.abs(z) ** 2).sum(), 1e-30)
        inner[:2, :2] = [[a.real, -flip * a.imag], [a.imag, flip * a.real]]
    elif model == "homography":
        inner = _homography(u / radius, v / radius, x / radius, y / radius, root)
        size = np.diag([radius, radius, 1.0])
        inner = size @ inner @ np.linalg.inv(size)
    else:
        order = {"affine": 1, "thin-plate": _UNDER_A_SPLINE}.get(model) or int(model[-1])
        terms = polynomial_terms(order)
        a, b = u / radius, v / radius
        columns = [np.ones_like(a), a, b, *(a**i * b**j for i, j in terms)]
        design = np.stack(columns, axis=1)
        solution = _solve(design, np.stack([x, y], axis=1), root).T
        inner[:2, 2] = solution[:, 0]
        inner[:2, :2] = solution[:, 1:3] / radius
        if terms:
            distortion = polynomial = Distortion(order, solution[:, 3:], (cx, cy), radius)
        if model == "thin-plate":
            left = np.stack([x, y], axis=1) - design @ solution.T
            with np.errstate(divide="ignore"):
                variance = 1 / share
            places = np.stack([a, b], axis=1)
            distortion = fit_thin_plate(places, left, variance, polynomial, (cx, cy), radius)
    return _Fit(back @ inner @ to_middle, distortion)


def _homography(u: Array, v: Array, x: Array, y: Array, root: Array) -> Array:
    """Fit by linear least squares whose rows are divided by the denominators found before."""
    one, none = np.ones_like(u), np.zeros_like(u)
    denominator = one
    for _ in range(_HOMOGRAPHY_ROUNDS):
        scale = np.tile(root / denominator, 2)
        rows_x = np.stack([u, v, one, none, none, none, -u * x, -v * x], axis=1)
        rows_y = np.stack([none, none, none, u, v, one, -u * y, -v * y], axis=1)
        design = np.concatenate([rows_x, rows_y])
        solution = _solve(design, np.concatenate([x, y]), scale)
        before, denominator = denominator, solution[6] * u + solution[7] * v + 1
        if np.abs(denominator - before).max() < _SAME:
            break
    return np.append(solution, 1.0).reshape(3, 3)


def _solve(design: Array, target: Array, root: Array) -> Array:
    """Least squares by the normal equations, with the roots of the weights.

    Coordinates from -1 to 1 keep these well-conditioned up to the fifth order. Combinations that
    the stars leave open are 0.
    """
    weighted = design * root[:, None]
    normal, right = weighted.T @ weighted, weighted.T @ (target.T * root).T
    return np.asarray(np.linalg.lstsq(normal, right, rcond=_OPEN)[0], dtype=np.float64)
