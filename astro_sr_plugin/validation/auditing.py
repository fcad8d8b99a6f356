"""Hold a result against the image it was made from."""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.nddata import HDUChoice, Unpacked, iter_planes, unpack
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane, open_planes
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement, measure_psf
from astro_sr_plugin.measurement.psf.profiles import moffat_stamp
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.measurement.sources.hot_pixels import find_hot_pixels
from astro_sr_plugin.metrics import aperture_photometry
from astro_sr_plugin.validation.comparison import compare_images
from astro_sr_plugin.validation.evidence import Evidence, Optics, Source
from astro_sr_plugin.validation.photometry import total_flux
from astro_sr_plugin.validation.promises import Audit
from astro_sr_plugin.validation.reconvolution import REACH, Reblur
from astro_sr_plugin.validation.regions import Stars, find_stars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["audit"]

_CORE = 768
_SAME_PSF = 0.95
_SKY = 1.0
_BRIGHT = 30.0


def audit(
    before: Any,
    after: Any,
    *,
    target_fwhm: float | None = None,
    conserve_flux: bool = False,
    measured: Quality | None = None,
    hdu: HDUChoice = None,
) -> Audit:
    """Hold a denoised, deconvolved or upscaled image against the image it was made from.

    The result is blurred again to the PSF and the pixels of the input. What is left of the input
    should be noise, at the place of every source that the result shows.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        The input (ny, nx) or (n, ny, nx), and the result, which may be larger by a whole factor.
        Works in pieces: images of any size are read as they are needed.
    target_fwhm : float, optional
        FWHM of stars in the result in its pixels; by default that in its header (``ASRFWHMO``), or
        else that measured on it. Taken as a Gaussian if it is sharper than the input.
    conserve_flux : bool
        Whether a larger result keeps the sum of the pixels instead of the surface brightness.
    measured : Quality, optional
        What `measure` found on ``before``, to be used again.
    hdu : int, str or (str, int), optional
        Which image of the file `before`.

    Returns
    -------
    Audit

    Raises
    ------
    InputError
        If the shapes do not fit, no star shows the PSF of the input, or the result of a
        deconvolution was mixed with its input (strength below 1).

    Notes
    -----
    Saturated, hot and masked pixels, and two FWHM around them and along the edges, are left out.
    """
    before, after = (
        read_image(image, hdu=choice) if isinstance(image, str | os.PathLike) else image
        for image, choice in ((before, hdu), (after, None))
    )
    first, second = unpack(before), unpack(after)
    pair = compare_images(before, after)
    factor = pair.scale**2 if conserve_flux else 1
    fwhm = target_fwhm or _header_fwhm(second)
    planes = open_planes(first) if measured is None else measured.planes_of(first)
    references = [_reference(plane) for plane in planes]
    if all(reference is None for reference in references):
        msg = "the input shows no noise; there is nothing to hold a result against"
        raise InputError(msg)
    stars = find_stars(pair)
    tallies = []
    for number, (_, result) in enumerate(iter_planes(second.data)):
        sky = _with_psf(number, references)
        if sky is None:
            tallies.append((_Tally(number, stars), float("nan")))
            continue
        target = fwhm or measure_psf(open_plane(result).data).fwhm
        if not target > 0:
            msg = "the result shows no star to measure; give target_fwhm, in its pixels"
            raise InputError(msg)
        _check_strength(second, sharper=target < _SAME_PSF * pair.scale * sky.moffat.fwhm)
        tally = _Tally(number, stars)
        for piece in _pieces(sky, result, target, factor):
            tally.add(*piece)
        tallies.append((tally, sky.plane.noise.correlation))
    differences = np.concatenate([tally.differences for tally, _ in tallies])
    middle = float(np.median(differences)) if differences.size else float("nan")
    sources = [source for tally, _ in tallies for source in tally.sources]
    new, lost, split, ringed = (
        tuple(s for s in sources if s.kind == kind) for kind in ("new", "lost", "split", "ringed")
    )
    return Audit(
        new=new,
        lost=lost,
        split=split,
        ringed=ringed,
        sources=sum(tally.shown for tally, _ in tallies),
        flux_ratio=total_flux(pair) * factor,
        stars=differences.size,
        magnitude_difference=middle,
        magnitude_scatter=1.4826 * float(np.median(np.abs(differences - middle)))
        if differences.size
        else float("nan"),
        chi2=tuple(tally.chi2 for tally, _ in tallies),
        residual_correlation=tuple(tally.correlation for tally, _ in tallies),
        noise_correlation=tuple(correlation for _, correlation in tallies),
        misfit=tuple(tally.misfit for tally, _ in tallies),
        bright_residual=tuple(tally.bright for tally, _ in tallies),
    )


class _Reference(NamedTuple):
    """A plane of the input, with the PSF that its sources have."""

    plane: MeasuredPlane
    moffat: PSFMeasurement
    psf: NDArray[np.float64]


def _reference(plane: MeasuredPlane) -> _Reference | None:
    """Take the measurement of a plane; None if it holds no data or no noise."""
    if plane.unusable.all() or not plane.noise.sigma > 0:
        return None
    image = plane.psf.image
    psf = np.empty((0, 0)) if image is None else image.astype(np.float64)
    return _Reference(plane, plane.psf.moffat, psf)


def _with_psf(number: int, references: Sequence[_Reference | None]) -> _Reference | None:
    """Return a plane with its PSF, or that of the plane with most stars if it shows none."""
    reference = references[number]
    if reference is None:
        return None
    if not np.isfinite(reference.moffat.fwhm):
        known = [other for other in references if other is not None]
        best = max(known, key=lambda m: (np.isfinite(m.moffat.fwhm), m.moffat.n_stars))
        if not np.isfinite(best.moffat.fwhm):
            msg = "the input shows no star to measure; a result cannot be held against it"
            raise InputError(msg)
        reference = reference._replace(moffat=best.moffat, psf=best.psf)
    if reference.psf.size == 0:
        reference = reference._replace(psf=moffat_stamp(reference.moffat, 0.0, 0.0))
    return reference


def _photons(plane: MeasuredPlane) -> float | None:
    """Return the variance that light of one noise sigma adds, in sigma squared."""
    if plane.gain is None:
        return None
    return 1.0 / (plane.gain * plane.unit * plane.noise.sigma)


def _header_fwhm(image: Unpacked) -> float | None:
    value = image.meta.get("ASRFWHMO")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _check_strength(image: Unpacked, *, sharper: bool) -> None:
    strength = image.meta.get("ASRSTREN", 1.0)
    if sharper and strength != 1.0:
        msg = (
            f"the result has strength {strength}: it is mixed with its input and has no one PSF; "
            "allowed is a result of strength 1"
        )
        raise InputError(msg)


def _pieces(
    sky: _Reference,
    after: NDArray[Any],
    target: float,
    factor: float,
) -> Iterator[tuple[Evidence, NDArray[np.bool_], tuple[int, int]]]:
    """Yield evidence on overlapping pieces, which of their pixels count, and their first one."""
    from scipy.ndimage import maximum_filter

    plane, sigma = sky.plane, sky.plane.noise.sigma
    ny, nx = plane.shape
    scale = after.shape[0] // ny
    sharper = target < _SAME_PSF * scale * sky.moffat.fwhm
    reblur = Reblur(sky.psf, target if sharper else None, scale)
    optics = Optics(sky.psf, sky.moffat, target, scale, plane.noise.correlation, _photons(plane))
    border = int(np.ceil(2 * sky.moffat.fwhm))
    for y0, x0 in product(range(0, ny, _CORE), range(0, nx, _CORE)):
        y1, x1 = min(y0 + _CORE, ny), min(x0 + _CORE, nx)
        box = (y0 - REACH, y1 + REACH, x0 - REACH, x1 + REACH)
        raw = _cut(plane.data, box)
        missing = _cut(plane.unusable, box) != 0
        bad = missing.copy()
        if plane.saturation is not None:
            bad |= raw >= plane.saturation
        level = _cut_level(plane.background, box)
        observed = np.where(missing, 0.0, (raw - level) / sigma)
        _mark_hot_pixels(observed, bad, sky.psf)
        fine = level.repeat(scale, axis=0).repeat(scale, axis=1)
        result = _cut(after, tuple(scale * side for side in box)) / plane.unit * factor
        result = np.nan_to_num((result - fine) / sigma)
        result[missing.repeat(scale, axis=0).repeat(scale, axis=1)] = 0.0
        counted = np.zeros(raw.shape, dtype=bool)
        low_y, low_x = max(y0, border) - box[0], max(x0, border) - box[2]
        counted[low_y : min(y1, ny - border) - box[0], low_x : min(x1, nx - border) - box[2]] = True
        if bad.any():
            counted &= maximum_filter(bad, size=2 * border + 1) == 0
        yield Evidence(observed, result, reblur, optics), counted, (box[0], box[2])


def _mark_hot_pixels(
    observed: NDArray[np.float64], bad: NDArray[np.bool_], psf: NDArray[np.float64]
) -> None:
    """Mark what did not come through the optics in ``bad``: no PSF says what becomes of it."""

    def window(
        y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        invalid = bad[y0:y1, x0:x1]
        return observed[y0:y1, x0:x1].astype(np.float32), invalid, np.zeros_like(invalid)

    found = find_hot_pixels(window, observed.shape, psf.astype(np.float32))
    if found is not None:
        bad[tuple(found[0].T)] = True


def _cut(array: Any, box: tuple[int, ...]) -> NDArray[np.float64]:
    """Cut a box ``y0, y1, x0, x1`` out, in float64; beyond the edges the image is mirrored."""
    (y0, y1, x0, x1), outside = _inside(box, array.shape)
    return np.pad(array[y0:y1, x0:x1].astype(np.float64), outside, mode="symmetric")


def _cut_level(background: Background, box: tuple[int, ...]) -> NDArray[np.float64]:
    there, outside = _inside(box, background.shape)
    return np.pad(background.level_at(*there).astype(np.float64), outside, mode="symmetric")


def _inside(
    box: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, int, int, int], tuple[tuple[int, int], tuple[int, int]]]:
    """Return the part of a box in an image, and how far the box reaches beyond each edge."""
    ny, nx = shape
    y0, y1, x0, x1 = max(0, box[0]), min(box[1], ny), max(0, box[2]), min(box[3], nx)
    return (y0, y1, x0, x1), ((y0 - box[0], box[1] - y1), (x0 - box[2], box[3] - x1))


class _Tally:
    """Sums over the pieces of a plane."""

    def __init__(self, plane: int, stars: Stars) -> None:
        self.sources: list[Source] = []
        self.shown = 0
        self.differences = np.empty(0)
        self._plane, self._stars = plane, stars
        self._sky = np.zeros(3)
        self._pairs = np.zeros(2)
        self._bright = np.zeros(2)

    def add(self, evidence: Evidence, counted: NDArray[np.bool_], origin: tuple[int, int]) -> None:
        """Add what is found on the pixels of a piece that count."""
        self.shown += sum(_holds(counted, x, y) for x, y in evidence.positions())
        here = self._stars.positions - origin[::-1]
        isolated = [(float(x), float(y)) for x, y in here if _holds(counted, x, y)]
        for kind, found in (
            ("new", evidence.new()),
            ("lost", evidence.lost()),
            ("split", evidence.split()),
            ("ringed", evidence.ringed()),
        ):
            self.sources += [
                Source(kind, self._plane, x + origin[1], y + origin[0], *numbers)
                for x, y, *numbers in found
                if _holds(counted, x, y)
            ]
        self.differences = np.append(self.differences, self._magnitudes(evidence, isolated))
        residual, light = evidence.residual, evidence.seen
        sky = counted & (light < _SKY)
        both = sky[:, 1:] & sky[:, :-1]
        bright = counted & (light > _BRIGHT)
        self._sky += (
            np.sum(residual[sky] ** 2),
            np.sum(evidence.excess[sky] ** 2),
            np.count_nonzero(sky),
        )
        self._pairs += (
            np.sum((residual[:, 1:] * residual[:, :-1])[both]),
            np.count_nonzero(both),
        )
        self._bright += (np.sum((residual[bright] / light[bright]) ** 2), np.count_nonzero(bright))

    def _magnitudes(
        self, evidence: Evidence, places: list[tuple[float, float]]
    ) -> NDArray[np.float64]:
        """Return result less input in circles of two FWHM, both at the PSF of the input."""
        if not places:
            return np.empty(0)
        radius, inner, outer = 2.0 * self._stars.fwhm, 1.5, 2.2
        shown = aperture_photometry(
            evidence.seen, places, radius=radius, annulus=(inner * radius, outer * radius)
        ).flux
        # Sums alone: a median of noisy pixels takes faint light for sky that it does not find there
        # without the noise.
        left = [
            aperture_photometry(
                evidence.residual, places, radius=part * radius, annulus=(0.0, 0.0)
            ).flux
            for part in (1.0, inner, outer)
        ]
        given = shown + left[0] - (left[2] - left[1]) / (outer**2 - inner**2)
        good = (shown > 0) & (given > 0)
        result: NDArray[np.float64] = -2.5 * np.log10(shown[good] / given[good])
        return result

    @property
    def chi2(self) -> float:
        return _ratio(self._sky[0], self._sky[2])

    @property
    def misfit(self) -> float:
        return float(np.sqrt(_ratio(self._sky[1], self._sky[2])))

    @property
    def correlation(self) -> float:
        return _ratio(_ratio(*self._pairs), self.chi2)

    @property
    def bright(self) -> float:
        return float(np.sqrt(_ratio(*self._bright)))


def _holds(counted: NDArray[np.bool_], x: float, y: float) -> bool:
    ny, nx = counted.shape
    return bool(-0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5 and counted[round(y), round(x)])


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")
