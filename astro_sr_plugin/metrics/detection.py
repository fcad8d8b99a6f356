"""Spurious and missed sources: purity and completeness of detections against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["DetectionScore", "invented_and_completeness", "star_peak_threshold"]

"""FWHM of a Gaussian over its standard deviation."""


class DetectionScore(NamedTuple):
    """Detections of an output against the truth.

    Attributes
    ----------
    invented : float
        Fraction of the detections that have no counterpart in the truth; 0 without detections.
    false : float
        Fraction of the detections that have none and stand out of the truth by more than the
        threshold: light that is not there. The others are crests of real structure, displaced.
    completeness : float
        Fraction of the clear true sources that were detected; NaN if there are none.
    detections, sources : int
        The numbers that the fractions are of.
    """

    invented: float
    false: float
    completeness: float
    detections: int
    sources: int


def star_peak_threshold(
    sigma: float, fwhm: float, target_fwhm: float, *, nsigma: float = 5.0, scale: int = 1
) -> float:
    r"""Peak, at the target PSF, of a star that a matched filter finds at so many sigma.

    Such a star has the flux :math:`n \sigma \sqrt{4\pi}\, \mathrm{FWHM} / 2.355`, and a Gaussian
    of the target FWHM spreads it over :math:`2 \pi (\mathrm{FWHM_t} / 2.355)^2` pixels.

    Parameters
    ----------
    sigma : float
        Noise per pixel of the input.
    fwhm : float
        FWHM of the input, in input pixels.
    target_fwhm : float
        FWHM of the output, in output pixels.
    nsigma : float, optional
        Signal to noise ratio of the star in the input.
    scale : int, optional
        Output pixels per input pixel along an axis; surface brightness is kept.

    Returns
    -------
    float
        In the units of the image.
    """
    flux = nsigma * sigma * np.sqrt(4.0 * np.pi) * fwhm / FWHM_PER_SIGMA
    return float(flux * scale**2 / (2.0 * np.pi * (target_fwhm / FWHM_PER_SIGMA) ** 2))


def invented_and_completeness(
    output: ArrayLike,
    truth: ArrayLike,
    *,
    threshold: float,
    target_fwhm: float,
    smoothing: float = 2.5,
    border: int = 0,
    mask: NDArray[np.bool_] | None = None,
) -> DetectionScore:
    """Count invented and found sources.

    From both images a copy smoothed by a Gaussian (sigma of 2.5 target FWHM) is subtracted. A
    detection is a local maximum of the output above `threshold`; it is invented if the truth has
    no local maximum above 0.4 `threshold` within max(1.5 px, 0.6 target FWHM). The completeness
    is the fraction of the maxima of the truth above twice `threshold` that the output has, within
    the same distance, above `threshold`.

    Parameters
    ----------
    output, truth : array_like
        (ny, nx), both at the target PSF and on the same grid. NaN counts as masked.
    threshold : float
        In the units of the image; see `star_peak_threshold`.
    target_fwhm : float
        FWHM of the target PSF, in output pixels.
    smoothing : float, optional
        Sigma of the subtracted smooth copy, in target FWHM.
    border : int, optional
        Pixels at the edges in which maxima are not counted (but do match).
    mask : array of bool, optional
        True = excluded: maxima there are not counted.

    Returns
    -------
    DetectionScore
    """
    from scipy.spatial import cKDTree

    a, b = np.asarray(output, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        msg = f"output and truth have shapes {a.shape} and {b.shape}; both must be one (ny, nx)"
        raise InputError(msg)
    if not threshold > 0.0 or not target_fwhm > 0.0:
        msg = f"threshold is {threshold} and target_fwhm {target_fwhm}; both must be positive"
        raise InputError(msg)
    width = smoothing * target_fwhm
    detected = _maxima(a, width, threshold)
    true = _maxima(b, width, 0.4 * threshold)
    clear = _maxima(b, width, 2.0 * threshold)
    reach = max(1.5, 0.6 * target_fwhm)

    counted = _inside(detected, a, border, mask)
    wanted = _inside(clear, b, border, mask)
    matched = _has_neighbour(cKDTree, counted, true, reach)
    found = _has_neighbour(cKDTree, wanted, detected, reach)
    rows, columns = np.round(counted).astype(int).T
    bright = _without_smooth(a - b, width)[rows, columns] > threshold
    return DetectionScore(
        invented=float(np.mean(~matched)) if len(counted) else 0.0,
        false=float(np.mean(~matched & bright)) if len(counted) else 0.0,
        completeness=float(np.mean(found)) if len(wanted) else float("nan"),
        detections=len(counted),
        sources=len(wanted),
    )


def _maxima(image: NDArray[np.float64], width: float, threshold: float) -> NDArray[np.float64]:
    """Local maxima (8 neighbours) above a threshold; equal neighbours count once."""
    from scipy.ndimage import center_of_mass, label, maximum_filter

    filled = _without_smooth(image, width)
    tops = (filled == maximum_filter(filled, size=3, mode="nearest")) & (filled > threshold)
    labels, count = label(tops, structure=np.ones((3, 3)))
    if count == 0:
        return np.empty((0, 2))
    return np.atleast_2d(center_of_mass(tops, labels, np.arange(1, count + 1)))


def _without_smooth(image: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    filled = np.where(np.isfinite(image), image, 0.0)
    rest: NDArray[np.float64] = filled - gaussian_filter(filled, width)
    return rest


def _inside(
    points: NDArray[np.float64],
    image: NDArray[np.float64],
    border: int,
    mask: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    if len(points) == 0:
        return points
    ny, nx = image.shape
    rows, columns = np.round(points).astype(int).T
    keep = (rows >= border) & (rows < ny - border) & (columns >= border) & (columns < nx - border)
    keep &= np.isfinite(image[rows, columns])
    if mask is not None:
        keep &= ~np.asarray(mask, dtype=bool)[rows, columns]
    return points[keep]


def _has_neighbour(
    tree: type, points: NDArray[np.float64], others: NDArray[np.float64], reach: float
) -> NDArray[np.bool_]:
    if len(points) == 0 or len(others) == 0:
        return np.zeros(len(points), dtype=bool)
    distance, _ = tree(others).query(points)
    return np.asarray(distance <= reach)
