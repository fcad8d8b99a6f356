"""Whether a result keeps what the package promises: nothing made up, nothing lost, flux kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from astro_sr_plugin.data.records import align_rows, as_html, as_plain
from astro_sr_plugin.validation.evidence import Source

__all__ = ["Audit"]

_FLUX = 0.002
_MAGNITUDE = 0.02
_FEWEST_STARS = 5
_MISFIT = 1.2
#: Sources that the table lists unless all are asked for.
_ROWS = 20


@dataclass(frozen=True)
class Audit:
    """A result held against its input. Tuples have one entry per plane (colour channel).

    Attributes
    ----------
    new, lost, split, ringed : tuple of Source
        Sources that the result shows and the input does not support; clear sources of the input
        that it shows less than half; sources shown as two that the input shows as one just as well;
        isolated stars with a dark and a bright ring that the input does not show.
    sources : int
        Sources that the result shows at 5 sigma or more.
    flux_ratio : float
        Total flux of the result over that of the input, at equal surface brightness.
    stars : int
        Isolated stars that were measured on both.
    magnitude_difference, magnitude_scatter : float
        Of these stars, result minus input, both at the PSF of the input: median and robust standard
        deviation; NaN without stars.
    chi2 : tuple of float
        Mean squared residual of the sky in units of the noise: input less the result blurred again.
        About 1 if the result explains all but the noise, below 1 if it has kept a part of that.
    residual_correlation, noise_correlation : tuple of float
        Correlation of neighbouring pixels of the residual, and of the noise: about the same.
    misfit : tuple of float
        Root mean square of the matched filter of that residual, over what noise alone gives.
    bright_residual : tuple of float
        Root mean square of the residual over the light, where that is above 30 sigma; NaN if it is
        nowhere.
    """

    new: tuple[Source, ...]
    lost: tuple[Source, ...]
    split: tuple[Source, ...]
    ringed: tuple[Source, ...]
    sources: int
    flux_ratio: float
    stars: int
    magnitude_difference: float
    magnitude_scatter: float
    chi2: tuple[float, ...]
    residual_correlation: tuple[float, ...]
    noise_correlation: tuple[float, ...]
    misfit: tuple[float, ...]
    bright_residual: tuple[float, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Sentences on the promises that the result breaks; empty if it keeps all."""
        found = [
            f"{len(sources)} of {self.sources} sources {what}"
            for sources, what in (
                (self.new, "are not supported by the input"),
                (self.split, "are one star in the input"),
            )
            if sources
        ]
        if self.lost:
            found.append(f"{len(self.lost)} sources of the input are lost")
        if self.ringed:
            found.append(f"{len(self.ringed)} stars have rings that the input does not show")
        if abs(self.flux_ratio - 1) > _FLUX:
            found.append(f"the total flux is {self.flux_ratio:.4f} of the input's")
        error = 2.5 * self.magnitude_scatter / np.sqrt(max(self.stars, 1))
        if self.stars >= _FEWEST_STARS and abs(self.magnitude_difference) > _MAGNITUDE + error:
            found.append(f"stars differ from the input by {self.magnitude_difference:+.3f} mag")
        if any(value > _MISFIT for value in self.misfit):
            worst = max(self.misfit)
            found.append(f"blurred again it misses the input by {worst:.2f} times the noise")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings for JSON; NaN becomes None."""
        return {"kept": not self.broken, "broken": list(self.broken), **as_plain(self)}

    def to_table(self) -> Table:
        """Return the sources that input and result do not agree on, one a row.

        The columns are those of `Source`; ``meta`` holds the other figures by name.
        """
        rows = [tuple(source) for source in self._sources]
        types = (str, int, float, float, float, float)
        table = Table(rows=rows or None, names=Source._fields, dtype=types)
        table["x"].unit = table["y"].unit = "pix"
        lists = ("new", "lost", "split", "ringed")
        table.meta = {key: value for key, value in self.to_dict().items() if key not in lists}
        return table

    @property
    def _sources(self) -> tuple[Source, ...]:
        return (*self.new, *self.lost, *self.split, *self.ringed)

    def to_text(self, *, everything: bool = False) -> str:
        """Return a table for a person.

        Parameters
        ----------
        everything : bool
            List all sources that input and result do not agree on, not only the first 20.
        """
        lines = [align_rows(self._rows())]
        found = self._sources
        lines += [_describe(source) for source in (found if everything else found[:_ROWS])]
        if not everything and len(found) > _ROWS:
            lines.append(f"  and {len(found) - _ROWS} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("Sources shown at 5 sigma", str(self.sources)),
            ("  not supported by the input", str(len(self.new))),
            ("  one star shown as two", str(len(self.split))),
            ("Sources of the input lost", str(len(self.lost))),
            ("Stars with rings", str(len(self.ringed))),
            ("Total flux, result / input", f"{self.flux_ratio:.5f}"),
            (
                "Stars, result - input",
                f"{self.magnitude_difference:+.4f} mag, scatter {self.magnitude_scatter:.4f}, "
                f"{self.stars} stars"
                if self.stars
                else "no isolated stars",
            ),
            ("Residual of the sky, chi-square", _join(self.chi2, ".3f")),
            ("  its correlation", _join(self.residual_correlation, "+.3f")),
            ("  that of the noise", _join(self.noise_correlation, "+.3f")),
            ("  matched filter / noise alone", _join(self.misfit, ".3f")),
            ("Residual / light in bright parts", _join(self.bright_residual, ".3f")),
        ]
        verdict = "; ".join(self.broken) if self.broken else "all promises kept"
        return [*rows, ("Verdict", verdict)]


def _describe(source: Source) -> str:
    what = {
        "split": f"two stars improve chi-square by {source.supported:.1f}",
        "ringed": f"the light around it rises by {source.shown:.1f} sigma, {source.supported:.1f} "
        "in the input",
    }.get(source.kind, f"{source.shown:.1f} sigma shown, {source.supported:.1f} in the input")
    return f"  {source.kind:<6} at ({source.x:.1f}, {source.y:.1f}), plane {source.plane}: {what}"


def _join(values: tuple[float, ...], form: str) -> str:
    return "  ".join(format(value, form) if np.isfinite(value) else "unknown" for value in values)
