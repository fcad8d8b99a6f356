"""Artefacts of a known shape, found by template matching, told from stars and galaxies.

A template of each size is correlated with the image (normalised cross-correlation, Lewis 1995,
"Fast normalized cross-correlation"). What correlates more than empty sky does by chance is held
against the profiles of stars and galaxies of many widths: the likelihood of Gaussian noise decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from astro_sr_plugin.constants import FWHM_PER_SIGMA, MAD_TO_SIGMA

__all__ = ["TEMPLATES", "Artifact", "find_artifacts", "footprint_of", "has_colour"]

Array = NDArray[np.float64]

_SIDE = 65
"""Side of the built-in templates in pixels, before they are brought to a size."""
_WINDOW = 1.6
"""Side of the window that is compared over the diameter of the template."""
_LEAST_CORRELATION = 0.5
"""Correlation below which nothing is an artefact, however rare it is by chance."""
_LEAST_LIKELIHOOD = 10.0
"""Logarithm of how much more likely a template has to be than any star or galaxy."""
_SOFTENING = 5.0
"""Noise sigmas up to which light counts in full; beyond, its logarithm does."""
_MOST_NOISE = 1.3
"""Robust standard deviation of what a template leaves, in noise sigma: that of the noise, and of
the light of some neighbours."""
_MOST_MISFIT = 0.08
"""The same over the brightness of the template, whose shape is never quite that of the artefact."""
_VETO_STEP = 1.3
"""Factor between the widths of the stars and galaxies that a template is compared with."""
_EDGE = 0.1
"""Brightness over that of the peak from which a pixel of a template belongs to the artefact."""
_SOFT = 0.7
"""Standard deviation in pixels of the blur of a built-in template: that of a sharp detector."""


def _built_in(kind: str) -> Array:
    place = np.arange(_SIDE) - _SIDE // 2
    radius = np.hypot(place[:, None], place[None, :])
    disc = np.clip(_SIDE / 2 - radius, 0, 1)
    return disc if kind == "disc" else disc - np.clip(_SIDE / 4 - radius, 0, 1)


TEMPLATES: dict[str, Array] = {kind: _built_in(kind) for kind in ("disc", "ring")}
"""Built-in templates: an even disc, as of a reflection, and a ring of half its width inside, as of
a mirror with an obscuration out of focus. They fill their image."""


@dataclass(frozen=True)
class Artifact:
    """One artefact.

    Attributes
    ----------
    x, y : int
        Pixel of its middle.
    diameter : float
        In pixels.
    template : str
        Name of the template.
    correlation : float
        With the template, up to 1.
    likelihood : float
        Logarithm of how much more likely the template is than the best star or galaxy.
    """

    x: int
    y: int
    diameter: float
    template: str
    correlation: float
    likelihood: float


def _resized(template: Array, diameter: float) -> Array:
    """Bring a template to a diameter, in the middle of a window of an odd side."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    side = 2 * math.ceil(_WINDOW * diameter / 2) + 1
    step = max(template.shape) / diameter
    # Averaged over what a pixel covers, so that fine templates are not aliased.
    smooth = gaussian_filter(template, math.hypot(step / 2, _SOFT * step), mode="constant")
    along = [(np.arange(side) - side // 2) * step + (n - 1) / 2 for n in template.shape]
    return map_coordinates(smooth, np.meshgrid(*along, indexing="ij"), order=1, cval=0.0)


def footprint_of(artifact: Artifact, template: Array) -> NDArray[np.bool_]:
    """Return which pixels of the window around an artefact belong to it."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    image = _resized(template, artifact.diameter)
    inside = binary_fill_holes(image > _EDGE * image.max())
    return np.asarray(binary_dilation(inside), dtype=bool)


def find_artifacts(
    light: NDArray,
    templates: dict[str, Array],
    diameters: Sequence[float],
    *,
    fwhm: float,
    star: NDArray | None = None,
    false_alarms: float = 1.0,
) -> list[Artifact]:
    """Find what looks like a template, and not like a star or a galaxy.

    Parameters
    ----------
    light : ndarray, shape (ny, nx)
        Light above the sky in units of the noise, without NaN.
    templates : dict of ndarray
        Images of artefacts by name, each filling its image.
    diameters : sequence of float
        Sizes to which they are brought, in pixels.
    fwhm : float
        FWHM of the stars in pixels.
    star : ndarray, optional
        Image of a star, of odd sides, whatever its shape: out of focus, stars are rings themselves.
    false_alarms : float
        How many places of a million of empty sky may reach the correlation that is asked for.

    Returns
    -------
    list of Artifact
        The most certain first; none overlaps a more certain one.
    """
    # Compressed, so that a bright star within an artefact does not outweigh it.
    light = _SOFTENING * np.arcsinh(np.asarray(light, dtype=np.float64) / _SOFTENING)
    found = [
        artifact
        for name, template in templates.items()
        for diameter in diameters
        for artifact in _candidates(light, name, template, diameter, fwhm, star, false_alarms)
    ]
    kept: list[Artifact] = []
    for artifact in sorted(found, key=lambda a: -_weight(a)):
        near = (
            other
            for other in kept
            if math.hypot(other.x - artifact.x, other.y - artifact.y)
            < (other.diameter + artifact.diameter) / 2
        )
        if next(near, None) is None:
            kept.append(artifact)
    return kept


def _weight(artifact: Artifact) -> float:
    """Logarithm of the likelihood of the template against that of the sky alone."""
    pixels = (_WINDOW * artifact.diameter) ** 2
    return -pixels / 2 * math.log(max(1 - artifact.correlation**2, 1e-12))


def _candidates(
    light: Array,
    name: str,
    template: Array,
    diameter: float,
    fwhm: float,
    star: NDArray | None,
    false_alarms: float,
) -> Iterator[Artifact]:
    from skimage.feature import match_template, peak_local_max

    image = _resized(template, diameter)
    if min(light.shape) <= max(image.shape):
        return
    correlation = match_template(light, image, pad_input=True, mode="reflect")
    spread = MAD_TO_SIGMA * np.median(np.abs(correlation - np.median(correlation)))
    least = max(-float(ndtri(min(false_alarms * 1e-6, 0.5))) * spread, _LEAST_CORRELATION)
    # Light cut off by the edge has any shape.
    apart = max(1, int(diameter / 2))
    peaks = peak_local_max(
        correlation, min_distance=apart, threshold_abs=least, exclude_border=apart
    )
    radius = image.shape[0] // 2
    padded = np.pad(light, radius, mode="reflect")
    own_shape = [_standardised(image)]
    others = [_standardised(profile) for profile in _profiles(image.shape[0], fwhm, diameter)]
    for y, x in peaks:
        window = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        own = _best(window, padded, (y, x), own_shape)
        measured = [] if star is None else [_standardised(_seen(star, window))]
        best = _best(window, padded, (y, x), [*others, *measured])
        gain = window.size / 2 * math.log((1 - best**2 + 1e-12) / (1 - own**2 + 1e-12))
        if gain > _LEAST_LIKELIHOOD and _is_fitted(window, image):
            yield Artifact(int(x), int(y), diameter, name, float(own), gain)


def _is_fitted(window: Array, image: Array) -> bool:
    """Return whether a template explains most pixels of a window, up to the noise and to its shape.

    The light of a star or galaxy that is not round leaves much more behind.
    """
    shape = image - image.mean()
    amplitude = float((shape * window).sum() / (shape**2).sum())
    left = window - amplitude * shape
    spread = MAD_TO_SIGMA * float(np.median(np.abs(left - np.median(left))))
    return spread < math.hypot(_MOST_NOISE, _MOST_MISFIT * amplitude * float(np.ptp(image)))


def _profiles(side: int, fwhm: float, diameter: float) -> Iterator[Array]:
    """Yield profiles of stars and galaxies, from the PSF up to the size of the template.

    Gaussians and exponentials (discs of galaxies) and the PSF with wide wings.
    """
    place = np.arange(side) - side // 2
    radius = np.hypot(place[:, None], place[None, :])
    width = fwhm
    while width < 2 * diameter:
        sigma = width / FWHM_PER_SIGMA
        yield np.exp(-0.5 * (radius / sigma) ** 2)
        yield np.exp(-radius * (2 * math.log(2)) / width)
        yield (1 + (radius / (0.65 * width)) ** 2) ** -2.5
        width *= _VETO_STEP


def _seen(star: NDArray, window: Array) -> Array:
    """Return a star as bright as a window, compressed like it, and of its size."""
    side, reach = window.shape[0], star.shape[0] // 2
    radius = side // 2
    padded = np.pad(star, max(0, radius - reach))
    middle = padded.shape[0] // 2
    cut = padded[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1]
    height = np.sinh(max(float(window.max()), 1.0) / _SOFTENING) / cut.max()
    return np.asarray(_SOFTENING * np.arcsinh(height * cut))


def _standardised(image: Array) -> Array:
    """Return an image of mean 0 and standard deviation 1."""
    return (image - image.mean()) / max(float(image.std()), 1e-12)


def _best(window: Array, padded: Array, place: tuple[int, int], shapes: Sequence[Array]) -> float:
    """Return the best correlation of `_standardised` images with a place, to a pixel."""
    best = 0.0
    side = window.shape[0]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            top, left = max(place[0] + dy, 0), max(place[1] + dx, 0)
            part = padded[top : top + side, left : left + side]
            if part.shape != window.shape or part.std() == 0:
                continue
            scaled = (part - part.mean()) / part.std()
            best = max(best, *(float((scaled * shape).mean()) for shape in shapes))
    return min(best, 1.0)


def has_colour(
    planes: NDArray, artifact: Artifact, template: Array, wanted: Array, tolerance: float
) -> bool:
    """Return whether the light of an artefact has given shares in the planes.

    Parameters
    ----------
    planes : ndarray, shape (n, ny, nx)
        Light above the sky.
    artifact : Artifact
        One of `find_artifacts`.
    template : ndarray
        Its template.
    wanted : ndarray, shape (n,)
        Shares, of sum 1.
    tolerance : float
        Largest difference.
    """
    shape = _resized(template, artifact.diameter)
    shape = shape - shape.mean()
    radius = shape.shape[0] // 2
    padded = np.pad(planes, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    y, x = artifact.y, artifact.x
    window = padded[:, y : y + 2 * radius + 1, x : x + 2 * radius + 1]
    light = np.maximum((window * shape).sum((1, 2)), 0.0)
    total = float(light.sum())
    return total > 0 and bool((np.abs(light / total - wanted) <= tolerance).all())
