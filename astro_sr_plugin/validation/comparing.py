"""Compare two images of one field in numbers: total flux, magnitudes and widths of stars."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from astropy.table import Table

from astro_sr_plugin.data.nddata import HDUChoice, Image
from astro_sr_plugin.data.records import as_html, as_plain
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.validation.matching import match_planes
from astro_sr_plugin.validation.pair import ImagePair, pair_images
from astro_sr_plugin.validation.photometry import StarPhotometry, measure_stars, summarise_stars

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two images of one field in numbers.

    Attributes
    ----------
    scale : int
        Pixels of the image after per pixel of the image before, along an axis.
    flux_ratio : float
        Total flux after over that before, at equal surface brightness; NaN if the sum is 0.
    psf_matched : bool
        Whether both images were brought to the wider PSF of the two for the magnitudes. False if
        the PSF of the image after is not known, because it shows no star or is mixed with its
        input; then the apertures are as wide as the wider PSF asks for.
    n_stars : int
        Number of isolated stars measured on both images, over all planes.
    magnitude_difference, magnitude_scatter : float
        Median of their magnitudes after minus before in mag, and the robust standard deviation;
        NaN without stars.
    fwhm_before, fwhm_after : float
        Medians of twice their half-flux radius, in pixels of the image before; NaN without stars.
    stars : tuple of StarPhotometry
        The stars, brightest first.
    pair : ImagePair
        The images and the measurement of the first.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> sky = np.random.default_rng(0).normal(100.0, 2.0, (64, 64))
    >>> found = asr.compare(sky, sky + 10.0)
    >>> round(found.flux_ratio, 3), found.n_stars, len(found.to_table())
    (1.1, 0, 0)
    """

    scale: int
    flux_ratio: float
    psf_matched: bool
    n_stars: int
    magnitude_difference: float
    magnitude_scatter: float
    fwhm_before: float
    fwhm_after: float
    stars: tuple[StarPhotometry, ...] = field(repr=False)
    pair: ImagePair = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes but `pair` as plain values for JSON; NaN becomes None."""
        names = [entry.name for entry in fields(self) if entry.name != "pair"]
        return {name: as_plain(getattr(self, name)) for name in names}

    def to_table(self) -> Table:
        """Return the stars as a table.

        The columns are those of `StarPhotometry`; ``meta`` holds the other figures by name.
        """
        types = (int, *[float] * (len(StarPhotometry._fields) - 1))
        rows = [tuple(star) for star in self.stars]
        table = Table(rows=rows or None, names=StarPhotometry._fields, dtype=types)
        for name in ("x", "y", "fwhm_before", "fwhm_after"):
            table[name].unit = "pix"
        table["difference"].unit = "mag"
        table.meta = {key: value for key, value in self.to_dict().items() if key != "stars"}
        return table

    def to_text(self) -> str:
        """Return one line for a person."""
        return ", ".join(f"{label} {text}" for label, text in self._rows())

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("total flux x", f"{self.flux_ratio:.4f}")]
        if self.stars:
            matched = "" if self.psf_matched else ", PSF not matched"
            rows += [
                (
                    f"{self.n_stars} {'star' if self.n_stars == 1 else 'stars'}",
                    f"{self.magnitude_difference:+.4f} mag (scatter "
                    f"{self.magnitude_scatter:.4f}{matched})",
                ),
                ("FWHM", f"{self.fwhm_before:.2f} -> {self.fwhm_after:.2f} px"),
            ]
        return rows


def compare(
    before: Image,
    after: Image,
    *,
    target_fwhm: float | None = None,
    conserve_flux: bool = False,
    measured: Quality | None = None,
    hdu: HDUChoice = None,
) -> Comparison:
    """Compare the total flux and the isolated stars of two images of one field.

    The stars are those of the star finder on ``before``. Their magnitudes are measured in apertures
    of two FWHM, after ``after`` was reconvolved to the PSF and the pixels of ``before``: the same
    figures as those of `audit`.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Images of shape (ny, nx) or (n, ny, nx), not changed; `after` may be larger by a whole
        factor.
    target_fwhm : float, optional
        FWHM of stars in ``after`` in its pixels; by default that in its header (``ASRFWHMO``), or
        else that measured on it.
    conserve_flux : bool
        Whether a larger ``after`` keeps the sum of the pixels instead of the surface brightness.
    measured : Quality, optional
        What `measure` found on ``before``, to be used again.
    hdu : int, str or (str, int), optional
        Which image of the file ``before``.

    Returns
    -------
    Comparison
        The figures; ``print(comparison.to_text())`` shows them.

    Raises
    ------
    InputError
        If the shapes do not fit, or `measured` belongs to another image.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> sky = np.random.default_rng(0).normal(100.0, 2.0, (64, 64))
    >>> found = asr.compare(sky, 1.5 * sky)
    >>> print(found.to_text())
    total flux x 1.5000
    """
    pair = pair_images(before, after, conserve_flux=conserve_flux, measured=measured, hdu=hdu)
    planes = match_planes(pair, target_fwhm)
    stars = measure_stars(planes, widths=True)
    summary = summarise_stars(stars)
    return Comparison(
        scale=pair.scale,
        flux_ratio=pair.flux_ratio(),
        psf_matched=bool(planes) and all(plane.psf_matched for plane in planes),
        **summary._asdict(),
        stars=stars,
        pair=pair,
    )
