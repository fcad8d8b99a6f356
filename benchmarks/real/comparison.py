"""Figures of one result against better data of the same field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from astro_sr_plugin.metrics import asinh_psnr_db, cross_coherence, photometric_bias_scatter
from benchmarks.real.matching import (
    SEEN,
    Array,
    find_maxima,
    half_width,
    largest_near,
    match_psf,
    sky_level,
    sky_noise,
    values_at,
    without_smooth,
)
from benchmarks.real.pairs import Pair

__all__ = ["BANDS", "Comparison"]

BANDS = ((0.0, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.35))
"""Bands of spatial frequency of the coherence, in cycles per pixel of the result."""

_ABSENT = 3.0  # below it the better data have nothing
_CLEAR = 10.0
_BRIGHT = 20.0  # least SNR of the sources of the photometry


@dataclass(frozen=True)
class Comparison:
    """A result and the better data, at the broader of both profiles.

    Attributes
    ----------
    pair : Pair
        What was observed.
    result : numpy.ndarray
        (ny, nx) on the grid of the better data, in the units of the poorer ones.
    psf : numpy.ndarray or None
        Profile of the result on its grid. None: it is compared as it is with what a result of the
        profile `claimed` would be compared with.
    claimed : numpy.ndarray or None
        Profile that the task asks for, used where `psf` is None.
    """

    pair: Pair
    result: Array
    psf: Array | None
    claimed: Array | None = None

    def figures(self) -> dict[str, float]:
        """Return all figures; see docs/science_validation.rst for what each one says."""
        use = ~self.pair.better_mask
        x, y = self.seen[0][use], self.seen[1][use]
        # The noise of the better data may be the larger one: HST is sharper than it is deep.
        noise = max(self.pair.sigma, self.floor)
        stretched = [np.arcsinh(values / (3 * noise)) for values in (x, y)]
        frequency, coherence = cross_coherence(*(self._windowed(plane) for plane in self.seen))
        figures = {
            "correlation": float(np.corrcoef(x, y)[0, 1]),
            "correlation_asinh": float(np.corrcoef(*stretched)[0, 1]),
            "k50": _falls_through(frequency, coherence, 0.5),
            "residual": float(np.sqrt(np.mean((x - y) ** 2))) / self.pair.sigma,
            "db": asinh_psnr_db(x, y, sigma=noise),
        }
        for low, high in BANDS:
            band = (frequency >= low) & (frequency < high)
            figures[f"coherence_{low:g}_{high:g}"] = (
                float(np.mean(coherence[band])) if band.any() else float("nan")
            )
        return figures | self._errors() | self._photometry() | self._sources()

    @cached_property
    def target(self) -> Array:
        """Profile that result and better data are brought to."""
        claimed = self.claimed if self.psf is None else self.psf
        if claimed is None or half_width(self.pair.better_psf) > half_width(claimed):
            return self.pair.better_psf
        return claimed

    @cached_property
    def seen(self) -> tuple[Array, Array]:
        """Result and better data at one profile, less the sky of the latter."""
        result, better = self.result, self.pair.better
        if self.psf is not None and not _same(self.psf, self.target):
            result = match_psf(result, self.psf, self.target)
        if not _same(self.pair.better_psf, self.target):
            better = match_psf(better, self.pair.better_psf, self.target)
        return result - self.level, better - self.level

    @cached_property
    def level(self) -> float:
        """Sky of the better data, one value."""
        bad = self.pair.better_mask
        return float(np.median(sky_level(self.pair.better, bad)[~bad]))

    def _windowed(self, plane: Array) -> Array:
        """Return the rectangle about the pixels that are used; the others in it are NaN."""
        use = ~self.pair.better_mask
        rows, columns = np.flatnonzero(use.any(axis=1)), np.flatnonzero(use.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return np.where(use, plane, np.nan)[box]

    @cached_property
    def floor(self) -> float:
        """Noise of a pixel of the better data at the common profile."""
        return sky_noise(self.seen[1], self.pair.better_mask)

    @cached_property
    def sky(self) -> NDArray[np.bool_]:
        """True where neither the better data nor the poorer ones show a source."""
        near = int(np.ceil(half_width(self.target)))
        source = ndimage.binary_dilation(self.pair.better_snr > _ABSENT + 0.5, iterations=near)
        return ~source & ~self.pair.better_mask

    def _errors(self) -> dict[str, float]:
        """Mean square error freed of the noise of the better data, which is independent."""
        x, y = self.seen
        square = (x - y) ** 2
        sigma = self.pair.sigma
        own = self.pair.better_variance
        floor = self.floor
        sky, source = self.sky, ~self.sky & ~self.pair.better_mask
        figures = {"floor": floor / sigma}
        # Without a map of the variance only that of the sky is known.
        variance = np.full(y.shape, floor**2) if own is None else own
        for name, where in (("sky", sky), ("source", source)):
            if name == "source" and own is None:
                continue
            error = float(np.mean(square[where] - variance[where])) / sigma**2
            figures[f"mse_{name}"] = error
        return figures

    def _photometry(self) -> dict[str, float]:
        """Magnitudes against the better data, of the result and of the poorer data themselves."""
        pair, scale = self.pair, self.pair.scale
        places, snr = pair.known
        bright, all_seen = places[snr > _BRIGHT], places[snr > SEEN]
        x, y = self.seen
        width = half_width(self.target)
        figures = {}
        score = photometric_bias_scatter(
            x, y, bright, target_fwhm=width, neighbours=all_seen, mask=pair.better_mask
        )
        figures |= {"stars": float(score.stars), "bias": score.bias, "scatter": score.scatter}
        width = max(half_width(pair.poorer_psf), half_width(pair.better_psf) / scale)
        low, near = ((p + 0.5) / scale - 0.5 for p in (bright, all_seen))
        same = half_width(pair.better_psf) > half_width(pair.poorer_psf) and scale == 1
        seen = match_psf(pair.poorer, pair.poorer_psf, pair.better_psf) if same else pair.poorer
        score = photometric_bias_scatter(
            seen - self.level,
            pair.reference - self.level,
            low,
            target_fwhm=width,
            neighbours=near,
            mask=pair.mask,
        )
        return figures | {
            "input_stars": float(score.stars),
            "input_bias": score.bias,
            "input_scatter": score.scatter,
        }

    def _sources(self) -> dict[str, float]:
        """Count sources of the better data that are lost, and sources that they do not have."""
        pair, scale = self.pair, self.pair.scale
        flux, error = pair.poorer_flux
        known, snr = pair.known
        x, y = self.seen
        width = half_width(self.target)
        # Surface brightness is kept: a star has scale**2 times as much in the sum.
        star = without_smooth(np.pad(self.target, int(6 * width)), width)
        peak = SEEN * error * scale**2 * float(star.max())
        compact = without_smooth(x, width)
        tops = find_maxima(compact, 0.5 * peak, pair.better_mask)
        reach = max(1.5, 0.6 * width)
        found = _has_near(known, tops, reach)
        clear = snr > _CLEAR
        visible = (snr > SEEN) & ~clear
        bright = tops[values_at(compact, tops) > peak]
        new = bright[values_at(largest_near(self.pair.better_snr, reach), bright) < _ABSENT]
        low_reach = max(1.0, reach / scale)
        support = values_at(largest_near(flux / error, low_reach), (new + 0.5) / scale - 0.5)
        excess = values_at(without_smooth(x - y, width), bright)
        noise = self.floor
        allowed = peak + 3 * noise + 0.1 * np.abs(values_at(largest_near(y, 1.5), bright))
        places = find_maxima(flux / error, SEEN, pair.mask)
        there = values_at(largest_near(self.pair.better_snr, reach), (places + 0.5) * scale - 0.5)
        return {
            "sources_5_10": float(visible.sum()),
            "complete_5_10": float(found[visible].mean()) if visible.any() else float("nan"),
            "sources_10": float(clear.sum()),
            "complete_10": float(found[clear].mean()) if clear.any() else float("nan"),
            "lost": float((~found[visible | clear]).sum()),
            "detections": float(len(bright)),
            "invented": float(len(new)),
            "unsupported": float((support < _ABSENT).sum()),
            "excess": float((excess > allowed).sum()),
            "input_detections": float(len(places)),
            "input_invented": float((there < _ABSENT).sum()),
        }


def _same(psf: Array, other: Array) -> bool:
    return psf is other or (psf.shape == other.shape and bool(np.allclose(psf, other, atol=1e-6)))


def _falls_through(frequency: Array, curve: Array, level: float) -> float:
    """Return where a curve first falls below a level, by linear interpolation."""
    below = np.flatnonzero(~(curve >= level))
    if not below.size:
        return float(frequency[-1])
    i = int(below[0])
    if i == 0 or not np.isfinite(curve[i]):
        return float(frequency[i])
    part = (curve[i - 1] - level) / (curve[i - 1] - curve[i])
    return float(frequency[i - 1] + part * (frequency[i] - frequency[i - 1]))


def _has_near(places: Array, others: Array, reach: float) -> NDArray[np.bool_]:
    if not len(places) or not len(others):
        return np.zeros(len(places), dtype=bool)
    return np.asarray(cKDTree(others).query(places)[0] <= reach)
