"""Check a result against the image it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from astro_sr_plugin.data.nddata import HDUChoice, Image
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.consistency import FAINTEST_LIGHT
from astro_sr_plugin.measurement.psf.matched_filter import MatchedFilter
from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.windows import Window
from astro_sr_plugin.validation.checks import Audit
from astro_sr_plugin.validation.matching import MatchedPlane, match_planes
from astro_sr_plugin.validation.pair import ImagePair, pair_images
from astro_sr_plugin.validation.photometry import measure_stars, summarise_stars
from astro_sr_plugin.validation.residual import Finding, Kind, Residual, Source

__all__ = ["audit"]

_PIECE = 768
"""Side in pixels of the input of the pieces that are checked at a time, without their edges."""
_EDGE = 2.0
"""Width in FWHM of the input of the rim along the edges and around bad pixels that is left out."""
_BRIGHT = 30.0
"""Light in noise sigma from which the residual is given as a fraction of the light."""


def audit(
    before: Image,
    after: Image,
    *,
    target_fwhm: float | None = None,
    conserve_flux: bool = False,
    measured: Quality | None = None,
    hdu: HDUChoice = None,
) -> Audit:
    """Check a denoised, deconvolved or upscaled image against the image it was made from.

    The result is reconvolved to the PSF and the pixels of the input. If it is consistent with the
    input, the residual is noise, at the position of every source of the result too. Where the stars
    of the result are the wider ones, as those of undersampled images, the input is smoothed to
    their width instead; ``chi2`` is then below 1.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        The input (ny, nx) or (n, ny, nx), and the result, which may be larger by a whole factor.
        Neither is changed. Works in pieces: images of any size are read as they are needed.
    target_fwhm : float, optional
        FWHM of stars in the result in its pixels; by default that in its header (``ASRFWHMO``), or
        else that measured on it. Taken as a Gaussian if it is sharper than the input.
    conserve_flux : bool
        Whether a larger result keeps the sum of the pixels instead of the surface brightness.
    measured : Quality, optional
        What `measure` found on ``before``, to be used again.
    hdu : int, str or (str, int), optional
        Which image of the file ``before``.

    Returns
    -------
    Audit
        ``print(found.to_text())`` shows it; ``found.failed`` is empty if all checks pass.

    Raises
    ------
    InputError
        If the shapes do not fit, the input shows no noise or no star, the result shows none, or it
        was mixed with its input (strength below 1).

    Notes
    -----
    Saturated, hot and masked pixels, fill, and two FWHM around them and along the edges, are left
    out. So is the sky as far as their light, blurred again, reaches.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:160, :160]
    >>> stars = [(i + rng.random(), j + rng.random()) for i in range(20, 150, 40)
    ...          for j in range(20, 150, 40)]
    >>> truth = 100 + sum(500 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 4.5) for u, v in stars)
    >>> found = asr.audit(truth + rng.normal(0, 2, truth.shape), truth)
    >>> found.passed
    True
    """
    pair = pair_images(before, after, conserve_flux=conserve_flux, measured=measured, hdu=hdu)
    planes = _checkable(pair, target_fwhm)
    stars = summarise_stars(measure_stars(planes))
    tallies = {plane.number: _check(plane) for plane in planes}
    all_planes = [tallies.get(number, _Tally(number)) for number in range(len(pair.planes))]
    sources = [source for tally in all_planes for source in tally.sources]
    correlations = {plane.number: plane.plane.noise.correlation for plane in planes}
    return Audit(
        spurious=_of_kind(sources, "spurious"),
        missed=_of_kind(sources, "missed"),
        split=_of_kind(sources, "split"),
        ringed=_of_kind(sources, "ringed"),
        n_sources=sum(tally.n_sources for tally in all_planes),
        flux_ratio=pair.flux_ratio(),
        n_stars=stars.n_stars,
        magnitude_difference=stars.magnitude_difference,
        magnitude_scatter=stars.magnitude_scatter,
        chi2=tuple(tally.chi2 for tally in all_planes),
        residual_correlation=tuple(tally.correlation for tally in all_planes),
        noise_correlation=tuple(
            correlations.get(number, float("nan")) for number in range(len(pair.planes))
        ),
        filtered_residual=tuple(tally.filtered for tally in all_planes),
        bright_residual=tuple(tally.bright for tally in all_planes),
    )


def _checkable(pair: ImagePair, target_fwhm: float | None) -> tuple[MatchedPlane, ...]:
    """Return the planes that show noise, or raise what keeps them from being checked."""
    if not any(plane.fault is None and plane.noise.sigma > 0 for plane in pair.planes):
        msg = "the input shows no noise; a result cannot be checked against it"
        raise InputError(msg)
    planes = match_planes(pair, target_fwhm)
    if not planes:
        msg = "the input shows no star to measure; a result cannot be checked against it"
        raise InputError(msg)
    for plane in planes:
        if plane.fault is not None:
            raise InputError(plane.fault)
    return tuple(plane for plane in planes if plane.plane.noise.sigma > 0)


def _of_kind(sources: list[Source], kind: str) -> tuple[Source, ...]:
    return tuple(source for source in sources if source.kind == kind)


class _Piece(NamedTuple):
    """The residual of a piece, which of its pixels count, and where its first pixel lies."""

    residual: Residual
    counted: NDArray[np.bool_]
    x0: int
    y0: int


def _check(plane: MatchedPlane) -> _Tally:
    tally = _Tally(plane.number)
    for piece in _pieces(plane):
        tally.add(piece)
    return tally


def _pieces(plane: MatchedPlane) -> Iterator[_Piece]:
    """Yield overlapping pieces, of which different pixels count."""
    ny, nx = plane.plane.shape
    border = int(np.ceil(_EDGE * plane.profile.fwhm))
    matched_filter = MatchedFilter(
        plane.matched_psf, plane.profile.fwhm, plane.plane.noise.correlation, plane.smooth
    )
    for y0, x0 in product(range(0, ny, _PIECE), range(0, nx, _PIECE)):
        y1, x1 = min(y0 + _PIECE, ny), min(x0 + _PIECE, nx)
        window = Window(y0 - REACH, y1 + REACH, x0 - REACH, x1 + REACH)
        cut = plane.cut(window)
        counted = np.zeros(cut.bad.shape, dtype=bool)
        rows = slice(max(y0, border) - window.y0, min(y1, ny - border) - window.y0)
        columns = slice(max(x0, border) - window.x0, min(x1, nx - border) - window.x0)
        counted[rows, columns] = True
        if cut.bad.any():
            counted &= maximum_filter(cut.bad, size=2 * border + 1) == 0
        yield _Piece(Residual(plane, cut, matched_filter), counted, window.x0, window.y0)


class _Tally:
    """Findings and sums over the pieces of a plane.

    Parameters
    ----------
    plane : int
        Number of the plane.
    """

    def __init__(self, plane: int) -> None:
        self.sources: list[Source] = []
        self.n_sources = 0
        self._plane = plane
        self._sky = np.zeros(3)
        self._pairs = np.zeros(2)
        self._bright = np.zeros(2)

    def add(self, piece: _Piece) -> None:
        """Add what is found on the pixels of a piece that count."""
        residual, counted = piece.residual, piece.counted
        self.n_sources += sum(_holds(counted, x, y) for x, y in residual.positions())
        self._add("spurious", residual.spurious(), piece)
        self._add("missed", residual.missed(), piece)
        self._add("split", residual.split(), piece)
        self._add("ringed", residual.ringed(), piece)
        values, light = residual.residual, residual.reconvolved
        sky = counted & (light < FAINTEST_LIGHT) & ~residual.unknown
        both = sky[:, 1:] & sky[:, :-1]
        bright = counted & (light > _BRIGHT)
        self._sky += (
            np.sum(values[sky] ** 2),
            np.sum(residual.filtered[sky] ** 2),
            np.count_nonzero(sky),
        )
        self._pairs += (np.sum((values[:, 1:] * values[:, :-1])[both]), np.count_nonzero(both))
        self._bright += (np.sum((values[bright] / light[bright]) ** 2), np.count_nonzero(bright))

    def _add(self, kind: Kind, found: list[Finding], piece: _Piece) -> None:
        self.sources += [
            Source(kind, self._plane, x + piece.x0, y + piece.y0, shown, supported)
            for x, y, shown, supported in found
            if _holds(piece.counted, x, y)
        ]

    @property
    def chi2(self) -> float:
        """Mean squared residual of the sky."""
        return _ratio(self._sky[0], self._sky[2])

    @property
    def filtered(self) -> float:
        """Root mean square of the residual of the sky through the matched filter."""
        return float(np.sqrt(_ratio(self._sky[1], self._sky[2])))

    @property
    def correlation(self) -> float:
        """Correlation of neighbouring pixels of the residual of the sky."""
        return _ratio(_ratio(*self._pairs), self.chi2)

    @property
    def bright(self) -> float:
        """Root mean square of the residual over the light."""
        return float(np.sqrt(_ratio(*self._bright)))


def _holds(counted: NDArray[np.bool_], x: float, y: float) -> bool:
    ny, nx = counted.shape
    return bool(-0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5 and counted[round(y), round(x)])


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")
