"""Empirical PSFs by other programs from the same stars: photutils' EPSFBuilder, and PSFEx."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import Table
from numpy.typing import NDArray
from photutils.psf import EPSFBuilder, extract_stars

__all__ = ["build_epsf", "run_psfex"]

Array = NDArray[np.float64]

_SIDE = 25
"""Side in pixels of the cut-outs of stars."""
_DETECT = {
    "CATALOG_TYPE": "FITS_LDAC",
    "DETECT_MINAREA": "4",
    "DETECT_THRESH": "4",
    "BACK_TYPE": "MANUAL",
    "BACK_VALUE": "0",
    "ASSOC_PARAMS": "1,2",
    "ASSOC_DATA": "1,2",
    "ASSOC_RADIUS": "3.0",
    "ASSOCSELEC_TYPE": "MATCHED",
    "VERBOSE_TYPE": "QUIET",
}
"""Source Extractor: the given stars alone, on an image without sky."""
_COLUMNS = (
    f"VIGNET({_SIDE},{_SIDE})",
    *("X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "FLUX_APER(1)", "FLUXERR_APER(1)", "ELONGATION"),
    *("SNR_WIN", "FLAGS", "VECTOR_ASSOC(2)"),
)
"""What PSFEx asks for."""
_PSFEX = {
    "SAMPLE_AUTOSELECT": "N",
    "SAMPLE_FWHMRANGE": "0.5,60.0",
    "SAMPLE_MINSN": "1",
    "SAMPLE_MAXELLIP": "1.0",
    "SAMPLE_FLAGMASK": "0x0000",
    "CHECKIMAGE_TYPE": "NONE",
    "CHECKPLOT_TYPE": "NONE",
    "WRITE_XML": "N",
    "VERBOSE_TYPE": "QUIET",
}
"""PSFEx: all stars that it gets."""


def build_epsf(image: Array, x: Array, y: Array, oversampling: int) -> Array:
    """Build the effective PSF with photutils.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Image without sky.
    x, y : ndarray, shape (n,)
        Places of the stars.
    oversampling : int
        Nodes per pixel.

    Returns
    -------
    ndarray
        Light per pixel of a star of flux 1, at nodes about the middle one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stars = extract_stars(NDData(image), Table({"x": x, "y": y}), size=_SIDE)
        builder = EPSFBuilder(oversampling=oversampling, maxiters=10, progress_bar=False)
        epsf, _ = builder(stars)
    return np.asarray(epsf.data, dtype=np.float64)


def run_psfex(
    image: Array, x: Array, y: Array, oversampling: int, order: int
) -> tuple[Array, Array]:
    """Run Source Extractor and PSFEx.

    Parameters
    ----------
    image, x, y, oversampling
        As for `build_epsf`.
    order : int
        Order of the polynomials over the field.

    Returns
    -------
    images : ndarray, shape (terms, n, n)
        Coefficients of the polynomials, at the nodes.
    scale : ndarray, shape (2, 2)
        Zero point and scale of the polynomials' x and y (0-based pixels).
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", image.astype(np.float32))
        np.savetxt(folder / "stars.list", np.column_stack([x + 1, y + 1]))
        (folder / "columns").write_text("\n".join(_COLUMNS) + "\n", encoding="utf-8")
        (folder / "filter").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n", encoding="utf-8")
        files = {"PARAMETERS_NAME": "columns", "FILTER_NAME": "filter", "ASSOC_NAME": "stars.list"}
        _run(
            folder, "source-extractor", "image.fits", {**_DETECT, **files, "CATALOG_NAME": "c.cat"}
        )
        side = 24 * oversampling + 1
        fitted = {
            "PSFVAR_DEGREES": str(order),
            "PSF_SAMPLING": str(1 / oversampling),
            "PSF_SIZE": f"{side},{side}",
        }
        _run(folder, "psfex", "c.cat", {**_PSFEX, **fitted})
        with fits.open(folder / "c.psf") as hdus:
            header, data = hdus[1].header, np.array(hdus[1].data["PSF_MASK"][0], dtype=np.float64)
    places = [[header.get(f"POL{what}{k}", 1.0) for k in (1, 2)] for what in ("ZERO", "SCAL")]
    scale = np.array(places, dtype=np.float64)
    scale[0] -= 1
    return data.reshape(-1, *data.shape[-2:]), scale


def _run(folder: Path, program: str, file: str, options: dict[str, str]) -> None:
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    subprocess.run([program, file, "-c", "/dev/null", *words], cwd=folder, check=True)
