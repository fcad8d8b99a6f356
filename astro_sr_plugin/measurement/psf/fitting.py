"""Fits of elliptical Moffat profiles, integrated over the pixel, to many stars at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MoffatFit", "fit_moffat"]

_SHAPE_LOW = np.array([np.log(0.3), 0.01, -0.6, -0.6])
"""Lower bounds of the four parameters of the shape: logarithm of the FWHM in pixels, 1/beta (so
that a Gaussian is near 0, not at infinity), and the two components of the distortion g, with
|g| = (1 - q)/(1 + q) and the axis ratio q."""
_SHAPE_HIGH = np.array([np.log(40.0), 0.75, 0.6, 0.6])
"""Upper bounds of the same."""
_STAR_PARAMETERS = 3
"""Parameters of a star beside those of its sky: amplitude, x, y."""
_SHAPE_PARAMETERS = 4
"""Parameters of a shape."""


@dataclass(frozen=True, eq=False)
class MoffatFit:
    """Result of `fit_moffat` for n stars in m groups.

    Attributes
    ----------
    log_fwhm, inverse_beta, g1, g2 : numpy.ndarray, shape (m,)
        Shape of each group: logarithm of the FWHM in pixels, 1/beta, distortion.
    errors : numpy.ndarray, shape (m, 4)
        1-sigma errors of these four, from the curvature and the scatter of the residuals.
    amplitude, x, y, sky : numpy.ndarray, shape (n,)
        Peak of the profile before integration over the pixel, position in the stamp, local sky.
    chi2 : numpy.ndarray, shape (n,)
        Weighted mean square of the residuals of each star.
    residual_power : numpy.ndarray, shape (n,)
        Mean square of the residuals less that of the noise of the sky, over that of the profile.
    """

    log_fwhm: NDArray[np.float64]
    inverse_beta: NDArray[np.float64]
    g1: NDArray[np.float64]
    g2: NDArray[np.float64]
    errors: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sky: NDArray[np.float64]
    chi2: NDArray[np.float64]
    residual_power: NDArray[np.float64]

    @property
    def fwhm(self) -> NDArray[np.float64]:
        """FWHM of each group in pixels, geometric mean of both axes."""
        return np.exp(self.log_fwhm)

    @property
    def beta(self) -> NDArray[np.float64]:
        """Moffat beta of each group."""
        return 1 / self.inverse_beta

    @property
    def ellipticity(self) -> NDArray[np.float64]:
        """1 - b/a of each group."""
        g = np.hypot(self.g1, self.g2)
        return 1 - (1 - g) / (1 + g)

    @property
    def theta(self) -> NDArray[np.float64]:
        """Position angle of the major axis in radians, counter-clockwise from +x, -pi/2..pi/2."""
        return 0.5 * np.arctan2(self.g2, self.g1)


def fit_moffat(
    stamps: NDArray[np.float64],
    usable: NDArray[np.bool_],
    *,
    sigma: float,
    fwhm: float,
    groups: NDArray[np.int_] | None = None,
    inverse_beta: float = 0.3,
    fit_beta: bool = True,
    fit_ellipticity: bool = True,
    model_error: float = 0.005,
    iterations: int = 25,
    curved_sky: bool = False,
) -> MoffatFit:
    """Fit stars, each with its own position, amplitude and sky, and one shape for each group.

    A Levenberg-Marquardt fit for all stars together; the parameters of the single stars are
    eliminated from the normal equations, so that the cost grows linearly with their number. The
    profile is integrated over the pixel by Gauss-Legendre quadrature. Weights follow the noise
    of the sky, the photon noise as far as the residuals show it, and an error proportional to
    the signal for what a Moffat profile cannot describe; outlying pixels lose weight.

    Parameters
    ----------
    stamps : numpy.ndarray, shape (n, side, side)
        Square cut-outs of odd side with the star near the centre.
    usable : numpy.ndarray of bool, shape (n, side, side)
        False leaves a pixel out.
    sigma : float
        Noise of the sky of one pixel, in the units of the stamps; above 0.
    fwhm : float
        Starting value in pixels.
    groups : numpy.ndarray of int, shape (n,), optional
        Index 0..m-1 of the group of each star; by default all stars share one shape.
    inverse_beta : float
        Starting value of 1/beta, or its fixed value.
    fit_beta, fit_ellipticity : bool
        False keeps the starting value (for the ellipticity 0).
    model_error : float
        Error of the profile as a fraction of the signal.
    iterations : int
        The largest number of iterations.
    curved_sky : bool
        Give each star a quadratic sky instead of a constant one, for stars on nebulae.

    Returns
    -------
    MoffatFit
        Shapes for the groups, and the parameters of the stars.
    """
    count, side, _ = stamps.shape
    if groups is None:
        groups = np.zeros(count, dtype=int)
    number = int(groups.max()) + 1
    half = side // 2
    free = np.array([True, fit_beta, fit_ellipticity, fit_ellipticity])
    nodes = _quadrature(fwhm, half, curved_sky)

    values = stamps.reshape(count, -1).astype(np.float64)
    mask = usable.reshape(count, -1)
    shapes = np.tile([np.log(fwhm), inverse_beta, 0.0, 0.0], (number, 1))
    local = np.pad(_start(values, mask, side), ((0, 0), (0, len(nodes.sky) - 1)))
    damping = np.full(number, 1e-2)

    model, jacobian = _evaluate(local, shapes[groups], nodes)
    weights = _weights(values, mask, model, _sky(local, nodes), sigma, model_error)
    cost = _group_cost(values, model, weights, groups, number)
    for _ in range(iterations):
        step_shape, step_local = _solve(
            values - model, jacobian, weights, groups, number, damping, free
        )
        new_shapes = np.clip(shapes + step_shape, _SHAPE_LOW, _SHAPE_HIGH)
        new_local = local + step_local
        new_local[:, 1:3] = np.clip(new_local[:, 1:3], -half / 2, half / 2)
        new_model, new_jacobian = _evaluate(new_local, new_shapes[groups], nodes)
        new_cost = _group_cost(values, new_model, weights, groups, number)
        better = new_cost <= cost
        taken = better[groups]
        moved = np.abs(new_shapes - shapes)[better].max(initial=0.0)
        shapes[better] = new_shapes[better]
        local[taken] = new_local[taken]
        model[taken] = new_model[taken]
        jacobian[taken] = new_jacobian[taken]
        damping = np.clip(np.where(better, damping * 0.2, damping * 8), 1e-7, 1e7)
        weights = _weights(values, mask, model, _sky(local, nodes), sigma, model_error)
        cost = _group_cost(values, model, weights, groups, number)
        if better.any() and moved < 2e-4:
            break
    residuals = values - model
    pixels = np.maximum((weights > 0).sum(axis=1) - local.shape[1], 1)
    chi2 = (residuals**2 * weights).sum(axis=1) / pixels
    errors = _shape_errors(jacobian, weights, groups, number, chi2, free)
    beyond = ((residuals**2 - sigma**2) * mask).sum(axis=1)
    light = ((model - _sky(local, nodes)) ** 2 * mask).sum(axis=1)
    return MoffatFit(
        log_fwhm=shapes[:, 0],
        inverse_beta=shapes[:, 1],
        g1=shapes[:, 2],
        g2=shapes[:, 3],
        errors=errors,
        amplitude=local[:, 0],
        x=local[:, 1] + half,
        y=local[:, 2] + half,
        sky=local[:, _STAR_PARAMETERS],
        chi2=chi2,
        residual_power=beyond / np.maximum(light, 1e-30),
    )


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Quadrature points in a pixel, the pixels' coordinates, the sky's terms (terms, pixels)."""

    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    weight: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sky: NDArray[np.float64]


def _quadrature(fwhm: float, half: int, curved_sky: bool) -> _Nodes:
    order = 4 if fwhm < 1.3 else 3 if fwhm < 2.5 else 2
    points, weights = np.polynomial.legendre.leggauss(order)
    dx, dy = np.meshgrid(points / 2, points / 2)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    weight = np.outer(weights, weights).ravel() / 4
    x, y = x.ravel(), y.ravel()
    u, v = x / half, y / half
    sky = [np.ones_like(u)]
    if curved_sky:
        sky += [u, v, u * u, u * v, v * v]
    return _Nodes(dx.ravel(), dy.ravel(), weight, x, y, np.stack(sky))


def _start(values: NDArray[np.float64], mask: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Amplitude, x, y and sky of each star, from its border and its central pixels."""
    half = side // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1).astype(float)
    border = (np.maximum(np.abs(x), np.abs(y)) == half) & mask
    sums = np.where(border, values, 0).sum(axis=1)
    sky = sums / np.maximum(border.sum(axis=1), 1)
    core = np.maximum(np.abs(x), np.abs(y)) <= 1
    signal = np.where(mask & core, np.maximum(values - sky[:, None], 0), 0)
    total = np.maximum(signal.sum(axis=1), 1e-30)
    peak = np.maximum(signal.max(axis=1), 1e-30)
    return np.stack([peak * 1.1, signal @ x / total, signal @ y / total, sky], axis=1)


def _evaluate(
    local: NDArray[np.float64], shapes: NDArray[np.float64], nodes: _Nodes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Model (n, pixels) and its derivatives: star, sky, and the 4 of the shape."""
    amplitude, x0, y0 = (column[:, None] for column in local[:, :_STAR_PARAMETERS].T)
    own = local.shape[1]
    log_fwhm, q, g1, g2 = (column[:, None] for column in shapes.T)
    model, logarithms = np.zeros((2, len(local), nodes.x.size))
    # Sums over the nodes of the slope along w, times 1, x, y, x^2, y^2 and x y.
    sum_x, sum_y, sum_xx, sum_yy, sum_xy = np.zeros((5, *model.shape))
    # Radius in units of half the FWHM: w = r'^2, profile = (1 + (2^q - 1) w)^(-1/q).
    norm = 1 / (1 - g1**2 - g2**2)
    scale = 4 * np.exp(-2 * log_fwhm) * norm
    two_q = np.exp(np.log(2) * q)
    part_xx, part_yy = scale * ((1 - g1) ** 2 + g2**2), scale * ((1 + g1) ** 2 + g2**2)
    part_xy = -4 * scale * g2
    for dx, dy, weight in zip(nodes.dx, nodes.dy, nodes.weight, strict=True):
        x, y = nodes.x + dx - x0, nodes.y + dy - y0
        xx, yy, xy = x * x, y * y, x * y
        w = part_xx * xx + part_yy * yy + part_xy * xy
        base = 1 + (two_q - 1) * w
        logarithm = np.log(base)
        profile = weight * np.exp(logarithm / -q)
        slope = profile / base
        model += profile
        logarithms += profile * logarithm
        sum_x += slope * x
        sum_y += slope * y
        sum_xx += slope * xx
        sum_yy += slope * yy
        sum_xy += slope * xy
    slope = amplitude * (1 - two_q) / q
    radial = slope * (part_xx * sum_xx + part_yy * sum_yy + part_xy * sum_xy)
    jacobian = np.empty((len(local), own + _SHAPE_PARAMETERS, nodes.x.size))
    jacobian[:, 1] = -slope * (2 * part_xx * sum_x + part_xy * sum_y)
    jacobian[:, 2] = -slope * (2 * part_yy * sum_y + part_xy * sum_x)
    jacobian[:, own] = -2 * radial
    jacobian[:, own + 1] = amplitude / q**2 * logarithms
    jacobian[:, own + 1] += np.log(2) * two_q / (two_q - 1) * radial
    slope = 2 * scale * slope
    jacobian[:, own + 2] = slope * ((1 + g1) * sum_yy - (1 - g1) * sum_xx) + 2 * g1 * norm * radial
    jacobian[:, own + 3] = slope * (g2 * (sum_xx + sum_yy) - 2 * sum_xy) + 2 * g2 * norm * radial
    jacobian[:, 0] = model
    jacobian[:, _STAR_PARAMETERS:own] = nodes.sky
    return amplitude * model + _sky(local, nodes), jacobian


def _sky(local: NDArray[np.float64], nodes: _Nodes) -> NDArray[np.float64]:
    """Sky under each star, shape (n, pixels)."""
    result: NDArray[np.float64] = local[:, _STAR_PARAMETERS:] @ nodes.sky
    return result


def _weights(
    values: NDArray[np.float64],
    mask: NDArray[np.bool_],
    model: NDArray[np.float64],
    sky: NDArray[np.float64],
    sigma: float,
    model_error: float,
) -> NDArray[np.float64]:
    signal = np.maximum(model - sky, 0)
    peak = np.maximum(signal.max(axis=1, keepdims=True), 1e-30)
    variance = sigma**2 + (model_error**2) * signal * peak
    deviation = (values - model) ** 2 / variance
    # Cauchy weights about each star's own scatter, so that only true outliers lose weight.
    typical = np.where(mask, deviation, 0).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    robust = 1 / (1 + deviation / (25 * np.maximum(typical[:, None], 1)))
    result: NDArray[np.float64] = mask * robust / variance
    return result


def _group_cost(
    values: NDArray[np.float64],
    model: NDArray[np.float64],
    weights: NDArray[np.float64],
    groups: NDArray[np.int_],
    number: int,
) -> NDArray[np.float64]:
    cost = np.zeros(number)
    np.add.at(cost, groups, ((values - model) ** 2 * weights).sum(axis=1))
    return cost


def _normal_matrix(
    jacobian: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (jacobian * weights[:, None]) @ jacobian.transpose(0, 2, 1)
    return result


def _solve(
    residuals: NDArray[np.float64],
    jacobian: NDArray[np.float64],
    weights: NDArray[np.float64],
    groups: NDArray[np.int_],
    number: int,
    damping: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One damped step of the shapes (m, 4) and of the stars."""
    own = jacobian.shape[1] - _SHAPE_PARAMETERS
    normal = _normal_matrix(jacobian, weights)
    right = (jacobian @ (weights * residuals)[..., None])[..., 0]
    diagonal = np.einsum("nii->ni", normal)
    diagonal *= 1 + damping[groups][:, None]
    diagonal += 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    local, mixed, shape = (
        normal[:, :own, :own],
        normal[:, :own, own:],
        normal[:, own:, own:],
    )
    solved = np.linalg.solve(local, np.concatenate([mixed, right[:, :own, None]], axis=2))
    reduced = shape - mixed.transpose(0, 2, 1) @ solved[..., :_SHAPE_PARAMETERS]
    reduced_right = (
        right[:, own:] - (mixed.transpose(0, 2, 1) @ solved[..., _SHAPE_PARAMETERS:])[..., 0]
    )
    total = np.zeros((number, _SHAPE_PARAMETERS, _SHAPE_PARAMETERS))
    total_right = np.zeros((number, _SHAPE_PARAMETERS))
    np.add.at(total, groups, reduced)
    np.add.at(total_right, groups, reduced_right)
    total[:, ~free], total[:, :, ~free], total_right[:, ~free] = 0, 0, 0
    total[:, ~free, ~free] = 1
    # A weak prior keeps undetermined directions still.
    total += np.diag([1e-2, 1.0, 1e-1, 1e-1])
    step_shape = np.linalg.solve(total, total_right[..., None])[..., 0]
    step_shape = np.clip(step_shape, -0.4, 0.4)
    step_local = (
        solved[..., _SHAPE_PARAMETERS]
        - (solved[..., :_SHAPE_PARAMETERS] @ step_shape[groups][..., None])[..., 0]
    )
    step_local[:, 1:3] = np.clip(step_local[:, 1:3], -1, 1)
    return step_shape, step_local


def _shape_errors(
    jacobian: NDArray[np.float64],
    weights: NDArray[np.float64],
    groups: NDArray[np.int_],
    number: int,
    chi2: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> NDArray[np.float64]:
    own = jacobian.shape[1] - _SHAPE_PARAMETERS
    normal = _normal_matrix(jacobian, weights / np.maximum(chi2, 1e-30)[:, None])
    local = normal[:, :own, :own]
    local += 1e-12 * np.einsum("nii->ni", local).max(axis=1)[:, None, None] * np.eye(own)
    mixed = normal[:, :own, own:]
    reduced = normal[:, own:, own:] - mixed.transpose(0, 2, 1) @ np.linalg.solve(local, mixed)
    total = np.zeros((number, _SHAPE_PARAMETERS, _SHAPE_PARAMETERS))
    np.add.at(total, groups, reduced)
    total += np.diag(np.where(free, 1e-2, 1e12))
    variances = np.einsum("nii->ni", np.linalg.inv(total))
    return np.sqrt(np.maximum(variances, 0)) * free
