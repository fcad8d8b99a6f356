"""One summary of an image: sky, noise, stars, sampling."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import Unpacked, iter_planes
from astro_sr_plugin.data.records import align_rows, as_html, as_plain
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.grid import PSFGrid

__all__ = ["Numbers", "Quality"]

_RELIABLE, _UNCERTAIN = 0.6, 0.3
"""Confidence in the noise from which it is right to some 5 %, and below which it may be off by a
factor of 2."""

Numbers = tuple[float, ...]
Optionals = tuple[float | None, ...]

_SAMPLE = 64
"""Pixels along each axis by which two images are compared."""


@dataclass(frozen=True)
class Quality:
    """What was measured on an image. Tuples have one entry per plane (colour channel).

    Attributes
    ----------
    shape : tuple of int
        Shape of the image.
    unit : str or None
        Unit of the pixel values; "image units" below.
    background, background_rms : tuple of float
        Sky level, and scatter of the pixels about it, in image units.
    sigma : tuple of float
        Noise of one pixel of the sky, in image units, right also where it is correlated; the one
        that the verbs use. Of an image without noise, its faintest tones.
    noise_confidence : tuple of float
        0..1: how much `sigma` can be relied on; below 0.3 it may be off by a factor of 2, and 0
        means that no noise was found. It falls with few pixels of empty sky, and where faint stars
        or nebulosity cannot be separated from the noise.
    noise_correlation : tuple of float
        Correlation coefficient of the noise of neighbouring pixels; 0 is white.
    gain : tuple of float or None
        Electrons per image unit (e-/adu).
    gain_source : str or None
        ``"header"``, ``"estimated"`` (photon transfer) or None.
    readnoise : float or None
        Electrons, from the header.
    saturation : tuple of float or None
        Value from which pixels are saturated, in image units; None if none is known or found.
    fwhm, beta, ellipticity, theta : tuple of float
        Shape of the stars: FWHM in pixels before integration over the pixel, Moffat beta, 1 - b/a,
        position angle in radians counter-clockwise from +x. NaN if unknown.
    fwhm_error : tuple of float
        1-sigma error of `fwhm` in pixels.
    residual_fraction : tuple of float
        Fraction of the light of the brighter stars that the Moffat profile does not describe (root
        mean square); above 0.22 they are out of focus or badly guided. NaN if unknown.
    n_stars : tuple of int
        Number of stars measured.
    psf_confidence : tuple of str
        ``"high"``, ``"medium"``, ``"low"`` or ``"none"``.
    psf_confidence_value : tuple of float
        The same as a number 0..1; see `PSFMeasurement`.
    psf_grid : tuple of PSFGrid or None
        Shapes over the field, if asked for.
    pixel_scale : float or None
        Arcseconds per pixel, from the WCS, or else from focal length and pixel size.
    fwhm_arcsec : tuple of float or None
        FWHM on the sky in arcseconds.
    sampling : str
        Verdict on the sampling with advice.
    planes : tuple of MeasuredPlane
        What the figures come from; ``measured=`` of the verbs uses it again.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> quality = asr.measure(np.random.default_rng(1).normal(100.0, 5.0, (64, 64)))
    >>> quality.shape, quality.n_stars, quality.psf_confidence
    ((64, 64), (0,), ('none',))
    """

    shape: tuple[int, ...]
    unit: str | None
    background: Numbers
    background_rms: Numbers
    sigma: Numbers
    noise_confidence: Numbers
    noise_correlation: Numbers
    gain: Optionals
    gain_source: str | None
    readnoise: float | None
    saturation: Optionals
    fwhm: Numbers
    fwhm_error: Numbers
    beta: Numbers
    ellipticity: Numbers
    theta: Numbers
    residual_fraction: Numbers
    n_stars: tuple[int, ...]
    psf_confidence: tuple[str, ...]
    psf_confidence_value: Numbers
    psf_grid: tuple[PSFGrid | None, ...]
    pixel_scale: float | None
    fwhm_arcsec: Optionals
    sampling: str
    planes: tuple[MeasuredPlane, ...] = field(default=(), repr=False, compare=False)

    def planes_of(self, parts: Unpacked, mask: object = None) -> tuple[MeasuredPlane, ...]:
        """Return the measured planes, for an image that has to be the one that was measured.

        Parameters
        ----------
        parts : Unpacked
            The image.
        mask : ndarray of bool, optional
            What the caller would exclude: not allowed, since it went to `measure`.

        Raises
        ------
        InputError
            If the image is another one, or a mask comes beside the measurement.
        """
        if mask is not None:
            msg = "mask and measured exclude each other: give the mask to measure()"
            raise InputError(msg)
        images = [plane for _, plane in iter_planes(parts.data)]
        if len(images) != len(self.planes) or not all(
            _same_pixels(image, plane) for image, plane in zip(images, self.planes, strict=True)
        ):
            msg = (
                f"measured is of another image than the one given, of shape {parts.data.shape}: "
                "measure that"
            )
            raise InputError(msg)
        return self.planes

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings for JSON; NaN becomes None."""
        names = [entry.name for entry in fields(self) if entry.name != "planes"]
        return {name: as_plain(getattr(self, name)) for name in names}

    def to_table(self) -> QTable:
        """Return the figures with their units, one row per plane.

        The columns have the names of the attributes; what is unknown is NaN. ``meta`` holds what is
        one for the whole image.

        Examples
        --------
        >>> import numpy as np
        >>> import astro_sr_plugin as asr
        >>> sky = np.random.default_rng(1).normal(100.0, 5.0, (2, 64, 64))
        >>> table = asr.measure(sky).to_table()
        >>> len(table), table.meta["shape"], int(table["n_stars"].sum())
        (2, (2, 64, 64), 0)
        """
        unit = u.Unit(self.unit or "", parse_strict="silent")
        if isinstance(unit, u.UnrecognizedUnit):
            unit = u.dimensionless_unscaled
        units = dict.fromkeys(("background", "background_rms", "sigma", "saturation"), unit)
        units |= {"gain": u.electron / unit, "fwhm": u.pix, "fwhm_error": u.pix, "theta": u.rad}
        units |= {"fwhm_arcsec": u.arcsec}
        table = QTable({"plane": np.arange(len(self.fwhm))})
        for entry in fields(self):
            values = getattr(self, entry.name)
            if entry.name in ("shape", "planes", "psf_grid"):
                continue
            if not isinstance(values, tuple):
                table.meta[entry.name] = values
                continue
            column = np.array([np.nan if value is None else value for value in values])
            known = units.get(entry.name)
            table[entry.name] = column if known is None else u.Quantity(column, known)
        table.meta["shape"] = self.shape
        return table

    def to_text(self) -> str:
        """Return a table for a person, one column per channel."""
        return align_rows(self._rows(), ">" if not self._single else "<")

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    @property
    def _single(self) -> bool:
        return len(self.fwhm) == 1

    def _rows(self) -> list[tuple[str, ...]]:
        return [(label, *cells) for label, cells in self._cells()]

    def _cells(self) -> list[tuple[str, list[str]]]:
        unit = f" [{self.unit}]" if self.unit else ""
        rows = [("Image", [" x ".join(str(side) for side in self.shape[::-1]) + " pixels"])]
        if len(self.fwhm) == 3:
            rows.append(("Channel", ["R", "G", "B"]))
        elif not self._single:
            rows.append(("Plane", [str(i) for i in range(len(self.fwhm))]))
        rows += [
            (f"Background{unit}", [_show(value) for value in self.background]),
            (f"Background rms{unit}", [_show(value) for value in self.background_rms]),
            (f"Noise sigma{unit}", [_show(value) for value in self.sigma]),
            ("Noise confidence", [_name_noise(value) for value in self.noise_confidence]),
            ("Noise correlation", [_show(value, ".2f") for value in self.noise_correlation]),
            (f"Gain [e-/adu], {self.gain_source}", [_show(value) for value in self.gain])
            if self.gain_source
            else ("Gain [e-/adu]", ["unknown"]),
        ]
        if self.readnoise is not None:
            rows.append(("Read noise [e-]", [_show(self.readnoise)]))
        rows += [
            (f"Saturation{unit}", [_show(value, ".5g", "none") for value in self.saturation]),
            ("Stars measured", [str(count) for count in self.n_stars]),
            ("FWHM [pixel]", [_show(value, ".2f") for value in self.fwhm]),
            ("FWHM error [pixel]", [_show(value, ".2f") for value in self.fwhm_error]),
        ]
        if self.pixel_scale is not None:
            rows.append(("FWHM [arcsec]", [_show(value, ".2f") for value in self.fwhm_arcsec]))
            rows.append(("Pixel scale [arcsec]", [_show(self.pixel_scale, ".4g")]))
        rows += [
            ("Moffat beta", [_show(value, ".1f") for value in self.beta]),
            ("Residual of profile", [_show(value, ".3f") for value in self.residual_fraction]),
            ("Ellipticity", [_show(value, ".3f") for value in self.ellipticity]),
            (
                "Position angle [deg]",
                [_show(float(np.degrees(value)), ".0f") for value in self.theta],
            ),
            ("PSF confidence", list(self.psf_confidence)),
            ("Sampling", [self.sampling]),
        ]
        return rows


def _name_noise(confidence: float) -> str:
    if confidence >= _RELIABLE:
        return "high"
    if confidence >= _UNCERTAIN:
        return "medium"
    return "low" if confidence > 0 else "none"


def _show(value: float | None, form: str = ".4g", missing: str = "unknown") -> str:
    return missing if value is None or not np.isfinite(value) else format(value, form)


def _same_pixels(image: NDArray[Any], plane: MeasuredPlane) -> bool:
    """Whether a sample of the pixels is the same."""
    if image.shape != plane.shape:
        return False
    step = tuple(slice(None, None, max(1, side // _SAMPLE)) for side in image.shape)
    mine = np.asarray(plane.data[step], np.float64) * plane.unit
    return np.array_equal(np.asarray(image[step], np.float64), mine, equal_nan=True)
