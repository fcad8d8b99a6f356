"""The checks of an audit, their limits, and its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from astro_sr_plugin.data.records import align_rows, as_html, as_plain
from astro_sr_plugin.measurement.psf.consistency import (
    FEWEST_STARS,
    LARGEST_MAGNITUDE,
    LARGEST_RESIDUAL,
    MEDIAN_ERROR,
)
from astro_sr_plugin.validation.residual import Source

__all__ = ["Audit"]

_FLUX = 0.002
"""Largest relative change of the total flux."""
_ROWS = 20
"""Number of sources that `Audit.to_text` lists unless it is asked for all."""


@dataclass(frozen=True)
class Audit:
    """A result checked against its input. Tuples of numbers have one entry per plane.

    Attributes
    ----------
    spurious, missed, split, ringed : tuple of Source
        Sources of the result that the input does not support; clear sources of the input of which
        the result lacks over a half; sources shown as two that one star explains as well; stars
        with a dark and a bright ring that the input does not show.
    n_sources : int
        Number of sources of the result of 5 sigma or more.
    flux_ratio : float
        Total flux of the result over that of the input, at equal surface brightness; NaN if the
        sum of the input is 0.
    n_stars : int
        Number of isolated stars measured on both images, over all planes.
    magnitude_difference, magnitude_scatter : float
        Of these stars, result minus input in mag, both at the PSF of the input: median and robust
        standard deviation; NaN without stars.
    chi2 : tuple of float
        Mean squared residual of the sky in units of the noise, input less reconvolved result. About
        1 if the result is noise-free and right, below 1 if it has kept a part of the noise.
    residual_correlation, noise_correlation : tuple of float
        Correlation coefficient of neighbouring pixels of the residual, and of the noise of the
        input: about equal if the residual is noise.
    filtered_residual : tuple of float
        Root mean square of that residual through the matched filter, over that of noise alone.
    bright_residual : tuple of float
        Root mean square of the residual over the light, where that is above 30 sigma; NaN if it is
        nowhere.

    Examples
    --------
    A star that the input does not show is found:

    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:160, :160]
    >>> def star(u, v):
    ...     return 500 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 4.5)
    >>> truth = 100 + sum(star(i + rng.random(), j + rng.random()) for i in range(20, 150, 40)
    ...                   for j in range(20, 150, 40))
    >>> found = asr.audit(truth + rng.normal(0, 2, truth.shape), truth + star(80, 80))
    >>> found.passed, len(found.spurious)
    (False, 1)
    >>> round(found.spurious[0].x), round(found.spurious[0].y)
    (80, 80)
    """

    spurious: tuple[Source, ...]
    missed: tuple[Source, ...]
    split: tuple[Source, ...]
    ringed: tuple[Source, ...]
    n_sources: int
    flux_ratio: float
    n_stars: int
    magnitude_difference: float
    magnitude_scatter: float
    chi2: tuple[float, ...]
    residual_correlation: tuple[float, ...]
    noise_correlation: tuple[float, ...]
    filtered_residual: tuple[float, ...]
    bright_residual: tuple[float, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks pass."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """Sentences, one per failed check; empty if all pass."""
        found = []
        if self.spurious:
            found.append(f"{_of(self.spurious, self.n_sources)} not supported by the input")
        if self.split:
            verb = "is one star" if len(self.split) == 1 else "are single stars"
            found.append(f"{_count(self.split, 'pair')} of sources {verb} in the input")
        if self.missed:
            verb = "is" if len(self.missed) == 1 else "are"
            found.append(f"{_count(self.missed, 'source')} of the input {verb} missing")
        if self.ringed:
            verb = "has" if len(self.ringed) == 1 else "have"
            found.append(f"{_count(self.ringed, 'star')} {verb} rings that the input does not show")
        if abs(self.flux_ratio - 1) > _FLUX:
            found.append(f"the total flux is {self.flux_ratio:.4f} of the input's")
        error = MEDIAN_ERROR * self.magnitude_scatter / np.sqrt(max(self.n_stars, 1))
        if (
            self.n_stars >= FEWEST_STARS
            and abs(self.magnitude_difference) > LARGEST_MAGNITUDE + error
        ):
            found.append(f"stars differ from the input by {self.magnitude_difference:+.3f} mag")
        if any(value > LARGEST_RESIDUAL for value in self.filtered_residual):
            worst = np.nanmax(self.filtered_residual)
            found.append(f"the residual of the sky is {worst:.2f} times that of noise")
        return tuple(found)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources that fail a check."""
        return (*self.spurious, *self.missed, *self.split, *self.ringed)

    def to_dict(self) -> dict[str, Any]:
        """Return ``passed``, ``failed`` and all attributes as plain values; NaN becomes None."""
        return {"passed": self.passed, "failed": list(self.failed), **as_plain(self)}

    def to_table(self) -> Table:
        """Return the sources that fail a check as a table.

        The columns are those of `Source`; ``meta`` holds the other figures by name.
        """
        types = (str, int, float, float, float, float)
        rows = [tuple(source) for source in self.sources]
        table = Table(rows=rows or None, names=Source._fields, dtype=types)
        table["x"].unit = table["y"].unit = "pix"
        lists = ("spurious", "missed", "split", "ringed")
        table.meta = {key: value for key, value in self.to_dict().items() if key not in lists}
        return table

    def to_text(self, *, everything: bool = False) -> str:
        """Return a table for a person.

        Parameters
        ----------
        everything : bool
            List all sources that fail a check, not only the first 20.
        """
        lines, sources = [align_rows(self._rows())], self.sources
        lines += [_describe(source) for source in (sources if everything else sources[:_ROWS])]
        if not everything and len(sources) > _ROWS:
            lines.append(f"  and {len(sources) - _ROWS} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        stars = "no isolated stars"
        if self.n_stars:
            noun = "star" if self.n_stars == 1 else "stars"
            stars = (
                f"{self.magnitude_difference:+.4f} mag, scatter {self.magnitude_scatter:.4f}, "
                f"{self.n_stars} {noun}"
            )
        return [
            ("Sources of 5 sigma or more", str(self.n_sources)),
            ("  spurious", str(len(self.spurious))),
            ("  one star shown as two", str(len(self.split))),
            ("Sources of the input missing", str(len(self.missed))),
            ("Stars with rings", str(len(self.ringed))),
            ("Total flux, result / input", f"{self.flux_ratio:.5f}"),
            ("Stars, result - input", stars),
            ("Residual of the sky, chi-square", _join(self.chi2, ".3f")),
            ("  its correlation", _join(self.residual_correlation, "+.3f")),
            ("  correlation of the noise", _join(self.noise_correlation, "+.3f")),
            ("  matched filter / noise alone", _join(self.filtered_residual, ".3f")),
            ("Residual / light in bright parts", _join(self.bright_residual, ".3f")),
            ("Verdict", "; ".join(self.failed) if self.failed else "all checks passed"),
        ]


def _count(sources: tuple[Source, ...], noun: str) -> str:
    return f"{len(sources)} {noun}{'' if len(sources) == 1 else 's'}"


def _of(sources: tuple[Source, ...], total: int) -> str:
    noun, verb = ("source", "is") if total == 1 else ("sources", "are")
    verb = "is" if len(sources) == 1 else verb
    return f"{len(sources)} of {total} {noun} {verb}"


def _describe(source: Source) -> str:
    if source.kind == "split":
        what = f"two stars improve chi-square by {source.supported:.1f}"
    elif source.kind == "ringed":
        what = f"the light around it rises by {source.shown:.1f} sigma, {source.supported:.1f} in "
        what += "the input"
    else:
        what = f"{source.shown:.1f} sigma shown, {source.supported:.1f} supported by the input"
    return f"  {source.kind:<8} at ({source.x:.1f}, {source.y:.1f}), plane {source.plane}: {what}"


def _join(values: tuple[float, ...], form: str) -> str:
    return "  ".join(format(value, form) if np.isfinite(value) else "unknown" for value in values)
