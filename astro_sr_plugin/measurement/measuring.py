"""Measurement of an image, plane by plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astro_sr_plugin.data.keywords import read_number
from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, unpack
from astro_sr_plugin.data.pixel_kind import check_linear
from astro_sr_plugin.data.signatures import shared_parameters
from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.measurement.plane import MeasuredPlane, open_planes
from astro_sr_plugin.measurement.quality import Numbers, Quality
from astro_sr_plugin.measurement.sampling import judge_sampling, measure_pixel_scale
from astro_sr_plugin.measurement.sky.gain import read_gain
from astro_sr_plugin.measurement.sky.pixels import describe_fill

__all__ = ["measure"]


@shared_parameters
def measure(
    image: Image,
    *,
    mask: MaskLike | None = None,
    psf_grid: tuple[int, int] | None = None,
    force: bool = False,
    hdu: HDUChoice = None,
) -> Quality:
    """Measure sky, noise, stars and sampling of an image, plane by plane.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array or path, shape (ny, nx) or (n, ny, nx)
        Linear image; (3, ny, nx) is colour. It is not changed.
    psf_grid : tuple of int, optional
        Number of cells (gy, gx) of a map of the stars' shape over the field.

    Returns
    -------
    Quality
        The figures; ``print(quality.to_text())`` shows them.

    Raises
    ------
    InputError
        If the image cannot be measured: no usable pixel, not two or three dimensions, complex.
    ImageReadError
        If a path cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:128, :128]
    >>> image = rng.normal(100.0, 5.0, y.shape)
    >>> for x0, y0 in rng.uniform(8, 120, (20, 2)):
    ...     image += 2000 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 1.5**2))
    >>> quality = asr.measure(image)
    >>> print(f"noise {quality.sigma[0]:.0f}, FWHM {quality.fwhm[0]:.1f} pixels")
    noise 5, FWHM 3.5 pixels
    """
    parts = unpack(image, mask=mask, hdu=hdu)
    check_linear(parts, force=force)
    planes = open_planes(parts)
    fill = describe_fill([plane.pixels for plane in planes])
    if fill is not None:
        warn(fill)
    for plane in planes:
        if plane.unusable.all():
            warn(f"{plane.name} has no usable pixel: nothing is measured")
    results = [
        _nothing() if plane.unusable.all() else _figures(plane, psf_grid) for plane in planes
    ]

    def column(name: str) -> tuple[Any, ...]:
        return tuple(result[name] for result in results)

    scale = measure_pixel_scale(parts.wcs, parts.meta)
    fwhm: Numbers = column("fwhm")
    estimated = any(value is not None for value in column("gain"))
    in_header = read_gain(parts.meta) is not None
    return Quality(
        shape=tuple(int(side) for side in parts.data.shape),
        unit=None if parts.unit is None or not str(parts.unit) else str(parts.unit),
        gain_source="header" if in_header else "estimated" if estimated else None,
        readnoise=_readnoise(parts.meta),
        pixel_scale=scale,
        fwhm_arcsec=tuple(None if scale is None else value * scale for value in fwhm),
        sampling=judge_sampling(fwhm, column("psf_confidence")),
        **{name: column(name) for name in results[0]},
        planes=planes,
    )


def _figures(plane: MeasuredPlane, psf_grid: tuple[int, int] | None) -> dict[str, Any]:
    noise, psf, unit = plane.noise, plane.psf.moffat, plane.unit
    return {
        "background": plane.background.level * unit,
        "background_rms": plane.background.rms * unit,
        "sigma": plane.sigma * unit,
        "noise_confidence": noise.confidence if noise.sigma > 0 else 0.0,
        "noise_correlation": noise.correlation,
        "gain": plane.gain,
        "saturation": None if plane.saturation is None else plane.saturation * unit,
        "fwhm": psf.fwhm,
        "fwhm_error": psf.fwhm_error,
        "beta": psf.beta,
        "ellipticity": psf.ellipticity,
        "theta": psf.theta,
        "residual_fraction": psf.residual_fraction,
        "n_stars": psf.n_stars,
        "psf_confidence": psf.confidence,
        "psf_confidence_value": psf.confidence_value,
        "psf_grid": None if psf_grid is None else plane.psf_grid(psf_grid),
    }


def _nothing() -> dict[str, Any]:
    """Return the figures of a plane without a usable pixel."""
    unknown = dict.fromkeys(
        (
            *("background", "background_rms", "sigma", "noise_correlation", "fwhm", "fwhm_error"),
            *("beta", "ellipticity", "theta", "residual_fraction"),
        ),
        float("nan"),
    )
    return unknown | {
        "noise_confidence": 0.0,
        "gain": None,
        "saturation": None,
        "n_stars": 0,
        "psf_confidence": "none",
        "psf_confidence_value": 0.0,
        "psf_grid": None,
    }


def _readnoise(meta: Mapping[str, Any]) -> float | None:
    for keyword in ("RDNOISE", "READNOIS", "READNOISE", "RON", "ENOISE"):
        value = read_number(meta, keyword)
        if value is not None and value >= 0:
            return value
    return None
