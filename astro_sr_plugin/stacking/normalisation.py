"""Normalisation of frames: the scale from stars that frames have in common, and the sky apart.

The scale is that of the flux of stars, so that neither gradients nor nebulae change it. What the
sky of a frame then has more than that of the reference varies slowly over the field, and is
subtracted as a polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import KDTree

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.frame_header import FrameHeader
from astro_sr_plugin.registration.star_table import SATURATED
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.measuring import APERTURES, FrameMeasurement, Sky

__all__ = [
    "NORMALISATIONS",
    "WEIGHTS",
    "Normalisation",
    "NormalisationMode",
    "WeightMode",
    "find_normalisation",
    "find_weights",
]

NormalisationMode = Literal["photometric", "additive", "none"]
NORMALISATIONS: tuple[NormalisationMode, ...] = get_args(NormalisationMode)
"""Names of the ways to normalise."""
WeightMode = Literal["snr", "noise", "fwhm", "exposure", "none"]
WEIGHTS: tuple[WeightMode, ...] = get_args(WeightMode)
"""Names of the ways to weight."""

_NODES = 12
"""Places along each axis of the reference at which the skies are compared."""
_LEAST_NODES = {2: 24, 1: 8}
"""Number of places that a polynomial of this degree needs."""
_MOST_SHARED = 0.6
"""Part of the reference that a frame covers at least to tell curvature beyond it."""
_APART = 0.5
"""Distance in FWHM, and one pixel at least, within which two stars are one."""
_APERTURE = 2.5
"""Radius in FWHM of the wider stars of the aperture that two frames are compared in: 0.5 % of the
light of a Moffat profile of beta 4 lies outside."""
_LINEAR = 0.7
"""Peak, over that of the faintest saturated star, up to which stars are used."""
_LEAST_STARS = 3
"""Number of common stars from which a scale is measured."""
_SNR = 10.0
"""Signal-to-noise ratio of stars that it is measured by."""
_CLIP = 3.0
"""Standard deviations beyond which a star or a place does not count."""
_ROUNDS = 5
"""Rounds of clipping."""
_SIGNIFICANT = 2.0
"""Errors by which a scale has to differ from 1 to be applied."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """How the values of a frame become those of the reference.

    Attributes
    ----------
    scale : float
        Factor of the values.
    error : float
        Its relative error; NaN where it does not come from stars.
    n_stars : int
        Number of stars that it comes from.
    offsets : ndarray, shape (n, 6)
        For each colour the coefficients of 1, x, y, x^2, xy, y^2 of what is added then, where x and
        y run from -1 to 1 over the reference.
    reach : ((float, float), (float, float))
        Least and largest x and y in pixels of the reference near which the skies were compared.
    """

    scale: float
    error: float
    n_stars: int
    offsets: NDArray[np.float64]
    reach: tuple[tuple[float, float], tuple[float, float]] = ((-np.inf, np.inf), (-np.inf, np.inf))

    def offset_at(
        self, plane: int, x: NDArray, y: NDArray, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Evaluate what is added to a colour at places of the reference, of shape (ny, nx).

        Far from where the skies were compared it goes on linearly.
        """
        (left, right), (bottom, top) = self.reach
        near_x, near_y = np.clip(x, left, right), np.clip(y, bottom, top)
        s, t = _span(near_x, shape[1]), _span(near_y, shape[0])
        constant, of_x, of_y, of_xx, of_xy, of_yy = self.offsets[plane]
        # Where rows and columns are given, only the last two sums are over a plane.
        along_x, along_y = constant + of_x * s + of_xx * s**2, of_y * t + of_yy * t**2
        added = along_x.astype(np.float32) + along_y.astype(np.float32)
        added += (of_xy * t).astype(np.float32) * s.astype(np.float32)
        beyond_x, beyond_y = x - near_x, y - near_y
        if np.any(beyond_x) or np.any(beyond_y):
            along_x = (of_x + 2 * of_xx * s + of_xy * t) * 2 / max(shape[1] - 1, 1)
            along_y = (of_y + of_xy * s + 2 * of_yy * t) * 2 / max(shape[0] - 1, 1)
            added = added + along_x * beyond_x + along_y * beyond_y
        return np.asarray(added, np.float32)


def find_normalisation(
    frame: FrameMeasurement,
    reference: FrameMeasurement,
    transform: Transform,
    *,
    mode: NormalisationMode = "photometric",
    beyond: bool = False,
    exposures: tuple[float | None, float | None] = (None, None),
) -> Normalisation:
    """Find how a frame is normalised.

    Parameters
    ----------
    frame, reference : FrameMeasurement
        What was measured on both.
    transform : Transform
        From the frame to the reference.
    mode : {"photometric", "additive", "none"}
        ``"additive"`` leaves the scale at 1.
    beyond : bool
        Whether the frame is used beyond the reference, where curvature that is seen in a small part
        of it would lead astray.
    exposures : tuple of float or None
        Exposure times of the frame and of the reference in seconds, which give the scale where the
        frames have fewer than three stars in common.

    Returns
    -------
    Normalisation
        The scale and the polynomials.
    """
    planes = len(reference.sky)
    scale, error, count = 1.0, np.nan, 0
    if mode == "photometric":
        scale, error, count = _scale_of_stars(frame, reference, transform)
        own, other = exposures
        if not count and own and other:
            scale = other / own
    offsets = np.zeros((planes, 6))
    shared = _shared_places(transform)
    if mode != "none" and shared.size:
        for plane in range(planes):
            pair = frame.sky[plane], reference.sky[plane]
            offsets[plane] = _sky_difference(*pair, transform, shared, scale, beyond)
    return Normalisation(scale, error, count, offsets, _reach(shared, transform.reference_shape))


def find_weights(
    mode: WeightMode,
    measurements: list[FrameMeasurement],
    normalisations: list[Normalisation],
    headers: list[FrameHeader],
) -> NDArray[np.float64]:
    """Find the weight of each frame; the largest is 1.

    Parameters
    ----------
    mode : {"snr", "noise", "fwhm", "exposure", "none"}
        ``"snr"`` is the square of the signal-to-noise ratio of a faint star, the best weight for
        stars: 1 / (noise FWHM)^2 after normalisation. ``"noise"`` is the best one for extended
        light, 1 / noise^2.
    measurements, normalisations, headers : list
        Of the frames.

    Returns
    -------
    ndarray, shape (n,)
        Weights.
    """
    noise = np.array(
        [
            normalisation.scale * float(np.mean(measured.noise))
            for measured, normalisation in zip(measurements, normalisations, strict=True)
        ]
    )
    fwhm = np.array([measured.fwhm for measured in measurements])
    known = np.isfinite(fwhm)
    fwhm = np.where(known, fwhm, np.median(fwhm[known]) if known.any() else 1.0)
    weights = np.ones(len(measurements))
    if mode in ("snr", "noise"):
        weights /= noise**2
    if mode in ("snr", "fwhm"):
        weights /= fwhm**2
    if mode == "exposure":
        times = [header.exptime or 0.0 for header in headers]
        if all(time > 0 for time in times):
            weights = np.array(times)
    return weights / weights.max()


def _terms(x: NDArray, y: NDArray, shape: tuple[int, int]) -> list[Any]:
    """Terms of the polynomial of the sky at places of the reference, of shape (ny, nx)."""
    s, t = _span(x, shape[1]), _span(y, shape[0])
    return [1.0, s, t, s**2, s * t, t**2]


def _span(places: NDArray, length: int) -> NDArray[np.float64]:
    """Scale pixel coordinates to -1 to 1."""
    middle = (length - 1) / 2
    scaled: NDArray[np.float64] = (places - middle) / max(middle, 1.0)
    return scaled


def _scale_of_stars(
    frame: FrameMeasurement, reference: FrameMeasurement, transform: Transform
) -> tuple[float, float, int]:
    """Slope through zero of the fluxes of common stars: scale, relative error, number of stars."""
    stars, others = frame.stars, reference.stars
    if not len(stars) or not len(others):
        return 1.0, np.nan, 0
    x, y = transform.to_reference(np.asarray(stars["x"], float), np.asarray(stars["y"], float))
    places = np.column_stack([others["x"], others["y"]])
    reach = max(1.0, _APART * np.nanmin([frame.fwhm, reference.fwhm]))
    inside = np.isfinite(x) & np.isfinite(y)
    moved = np.where(inside[:, None], np.column_stack([x, y]), -1e9)
    distance, index = KDTree(places).query(moved, distance_upper_bound=reach)
    paired = np.isfinite(distance)
    mine, theirs = stars[paired], others[index[paired]]
    radius = _APERTURE * np.nanmax([frame.fwhm, reference.fwhm])
    chosen = min(int(np.searchsorted(APERTURES, radius)), len(APERTURES) - 1)
    flux, error, target, target_error = (
        _column(table, name)[:, chosen]
        for table in (mine, theirs)
        for name in ("aperture_flux", "aperture_error")
    )
    clean = (_column(mine, "peak") < _peak_limit(stars)) & (
        _column(theirs, "peak") < _peak_limit(others)
    )
    with np.errstate(invalid="ignore"):
        good = clean & (flux > _SNR * error) & (target > _SNR * target_error)
    if good.sum() < _LEAST_STARS:
        return 1.0, np.nan, 0
    flux, error, target, target_error = (
        values[good] for values in (flux, error, target, target_error)
    )
    scale = float(np.median(target / flux))
    # A relative error of 1 % stands for what differs between stars beside noise.
    variance = target_error**2 + (scale * error) ** 2 + (0.01 * target) ** 2
    weight = 1 / variance
    kept = np.ones(flux.size, bool)
    for _ in range(_ROUNDS):
        w = np.where(kept, weight, 0)
        scale = float(np.sum(w * flux * target) / np.sum(w * flux**2))
        pull = (target - scale * flux) / np.sqrt(variance)
        limit = _CLIP * max(MAD_TO_SIGMA * float(np.median(np.abs(pull[kept]))), 1e-6)
        new = np.abs(pull) <= limit
        if new.sum() < _LEAST_STARS or np.array_equal(new, kept):
            break
        kept = new
    scatter = float(np.sqrt(np.mean(pull[kept] ** 2)))
    relative = max(scatter, 0.5) / np.sqrt(float(np.sum(weight[kept] * flux[kept] ** 2))) / scale
    if abs(np.log(scale)) < _SIGNIFICANT * relative:
        scale = 1.0
    return scale, relative, int(kept.sum())


def _peak_limit(stars: Table) -> float:
    """Peak below which stars are not saturated, not even in one pixel."""
    peaks = _column(stars, "peak")[_column(stars, "flags").astype(int) & SATURATED > 0]
    return _LINEAR * float(peaks.min()) if peaks.size else np.inf


def _column(table: object, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name], dtype=np.float64)  # type: ignore[index]


def _sky_difference(
    own: Sky,
    other: Sky,
    transform: Transform,
    shared: NDArray[np.float64],
    scale: float,
    beyond: bool,
) -> NDArray[np.float64]:
    """Fit what has to be added to a scaled frame so that its sky is that of the reference."""
    x, y, u, v = shared
    result = np.zeros(6)
    level = _level(own, u, v) * scale * transform.area(x, y)
    difference = _level(other, x, y) - level
    degree = next((d for d, least in _LEAST_NODES.items() if difference.size >= least), 0)
    if beyond and difference.size < _MOST_SHARED * _NODES**2:
        degree = min(degree, 1)
    terms = (1, 3, 6)[degree]
    every = _terms(x, y, transform.reference_shape)
    basis = np.column_stack(np.broadcast_arrays(*every))[:, :terms]
    kept = np.ones(difference.size, bool)
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(basis[kept], difference[kept], rcond=None)[0]
        residual = difference - basis @ found
        limit = _CLIP * MAD_TO_SIGMA * np.median(np.abs(residual[kept]))
        new = np.abs(residual) <= max(limit, 1e-12)
        if new.sum() < 2 * terms or np.array_equal(new, kept):
            break
        kept = new
    result[:terms] = found
    return result


def _shared_places(transform: Transform) -> NDArray[np.float64]:
    """Places on a grid that the frame covers: x, y in the reference, x, y in the frame."""
    ny, nx = transform.reference_shape
    grid = np.meshgrid(
        np.linspace(0, ny - 1, _NODES), np.linspace(0, nx - 1, _NODES), indexing="ij"
    )
    y, x = (places.ravel() for places in grid)
    u, v = transform.to_image(x, y)
    rows, columns = transform.shape
    inside = (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
    return np.stack([x, y, u, v])[:, inside]


def _reach(
    shared: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least and largest x and y of the area in which skies are compared, and of its rim."""
    if not shared.size:
        return (-np.inf, np.inf), (-np.inf, np.inf)
    steps = [(n - 1) / (_NODES - 1) for n in shape[::-1]]
    x, y = (
        (float(p.min() - step), float(p.max() + step))
        for p, step in zip(shared[:2], steps, strict=True)
    )
    return x, y


def _level(sky: Sky, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate the sky of a frame at places in its pixels."""
    mesh = sky.background.mesh
    nodes = list(sky.nodes)
    for axis, length in enumerate(mesh.shape):
        if length == 1:
            mesh = np.repeat(mesh, 2, axis=axis)
            nodes[axis] = np.array([nodes[axis][0], nodes[axis][0] + 1.0])
    found = RegularGridInterpolator(tuple(nodes), mesh, bounds_error=False, fill_value=None)
    level: NDArray[np.float64] = found(np.column_stack([y, x]))
    return level
