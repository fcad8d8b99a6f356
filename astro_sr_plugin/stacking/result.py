"""The result of a stack: the image, its maps and table, and the file that holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import CFA_KEYWORDS
from astro_sr_plugin.data.formats.fits_hdu import append_image
from astro_sr_plugin.data.formats.fits_output import list_companions
from astro_sr_plugin.data.formats.header import clean_header, quiet
from astro_sr_plugin.data.formats.registry import write_image
from astro_sr_plugin.data.frame_header import FrameHeader
from astro_sr_plugin.data.output import PLAIN_FITS, write_errors, writing
from astro_sr_plugin.data.provenance import add_keywords
from astro_sr_plugin.data.units import store_unit
from astro_sr_plugin.data.wcs_keywords import store_wcs
from astro_sr_plugin.measurement.sky.gain import read_gain
from astro_sr_plugin.stacking.correlation import NoiseCorrelation

__all__ = ["StackResult", "make_header"]

_STALE = (
    "PEDESTAL",
    "FRAMETYP",
    "EXPOINUS",
    "ASRDTYPE",
    "ASRBSCAL",
    "ASRBZERO",
    "ASRBLANK",
    "TOTALEXP",
    "UT-OBS",
    "LST-OBS",
    "TIME-OBS",
    "MJD-OBS",
)
"""Keywords of a frame that are wrong for the stack."""


@dataclass(frozen=True, eq=False)
class StackResult:
    """A stack, with what became of the frames.

    Attributes
    ----------
    image : CCDData, shape (ny, nx) or (3, ny, nx)
        The stack, with the standard deviation of each pixel as its uncertainty; NaN and masked
        where no frame has a value.
    n_used, rejected_low, rejected_high : ndarray of uint16
        Numbers of the values that are in each pixel, and that were rejected as too low and too
        high; of the shape of the image.
    table : astropy.table.Table
        One row for each frame.
    left_out : dict of str to str
        Frames that are not in the stack, and why.
    reference : str
        Name of the reference.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> frames = [rng.normal(100.0, 5.0, (64, 64)) for _ in range(4)]
    >>> result = asr.stack(frames, align=False)
    >>> result.table["weight"].size, int(result.n_used.max())
    (4, 4)
    """

    image: CCDData
    n_used: NDArray[np.uint16]
    rejected_low: NDArray[np.uint16]
    rejected_high: NDArray[np.uint16]
    table: Table
    left_out: dict[str, str]
    reference: str

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the stack; the file appears only when it is complete.

        Parameters
        ----------
        path : str or Path
            Plain FITS holds everything: the image, the extensions MASK and UNCERT, the maps NUSED,
            REJLOW and REJHIGH, and the table FRAMES. Other formats hold what `write_image` writes.
        overwrite : bool, default False
            Whether a file that exists already may be replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputError
            If it cannot be written, or exists already.
        """
        if not str(path).lower().endswith(PLAIN_FITS):
            return write_image(self.image, path, overwrite=overwrite)
        image = self.image
        header = clean_header(image.meta)
        store_unit(header, image.unit)
        header = store_wcs(header, image.wcs, image.data.shape)
        maps = {
            "NUSED": (self.n_used, "number of frames used"),
            "REJLOW": (self.rejected_low, "number of values rejected as too low"),
            "REJHIGH": (self.rejected_high, "number of values rejected as too high"),
        }
        mask = image.mask if np.any(image.mask) else None
        with writing(path, overwrite=overwrite) as part:
            with part.open("w+b") as stream:
                append_image(stream, image.data, header)
                for own, array in list_companions(
                    image.data.shape, header, mask, image.uncertainty, None, image.wcs
                ):
                    append_image(stream, array, own)
                for name, (array, comment) in maps.items():
                    append_image(stream, array, Header([("EXTNAME", name, comment)]))
            with quiet(), write_errors(Path(path)), fits.open(part, mode="append") as hdus:
                table = fits.table_to_hdu(self.table)
                table.name = "FRAMES"
                table.add_checksum()
                hdus.append(table)
        return Path(path)


def make_header(
    meta: Header,
    frames: Sequence[tuple[str, FrameHeader]],
    *,
    reference: str,
    weights: NDArray[np.float64],
    correlation: NoiseCorrelation,
    methods: Mapping[str, Any],
    scale: float = 1.0,
) -> Header:
    """Make the header of a stack from that of its reference.

    Parameters
    ----------
    meta : fits.Header
        Header of the reference.
    frames : sequence of (str, FrameHeader)
        The frames that are in it.
    reference : str
        Name of the reference.
    weights : ndarray
        Weights of the frames.
    correlation : NoiseCorrelation
        Of the noise of the stack.
    methods : mapping
        Parameters of the stack, for HISTORY; ``rejection`` and ``normalise`` become keywords too.
    scale : float
        Pixels of the stack per pixel of the frames.

    Returns
    -------
    fits.Header
        A new header.
    """
    header = clean_header(meta)
    for keyword in (*CFA_KEYWORDS, *_STALE):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    headers = [one for _, one in frames]
    count = sum(one.count for one in headers)
    # Frames in a weighted mean that have the noise of this number of equal ones.
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    gain = read_gain(meta)
    with quiet():
        if "IMAGETYP" in header:
            header["IMAGETYP"] = "Light"
        header["NCOMBINE"] = (len(frames), "number of frames in the stack")
        header["STACKCNT"] = (count, "number of exposures in the stack")
        if all(one.livetime is not None for one in headers):
            header["LIVETIME"] = (sum(one.livetime or 0 for one in headers), "[s] sum of exposures")
        _store_times(header, headers)
        header["REFFRAME"] = (os.path.basename(reference)[:68], "frame whose grid is kept")
        header["REJMETH"] = (str(methods["rejection"]), "rejection of outliers")
        header["NORMMETH"] = (str(methods["normalise"]), "normalisation of the frames")
        if "drizzle" in methods:
            header["DRIZSCAL"] = (scale, "pixels per pixel of the frames along an axis")
            header["PIXFRAC"] = (methods["pixfrac"], "side of a drop over that of a pixel")
        if gain is not None:
            header["EGAIN"] = (float(f"{gain * effective:.6g}"), "[e-/adu] of the mean")
    add_keywords(header, task="stack", scale=scale if scale != 1 else None, parameters=methods)
    header["NOISCORR"] = (round(correlation.ratio, 4), "noise of large areas over that of pixels")
    header["NOISLAG1"] = (round(correlation.neighbours, 4), "correlation of neighbouring noise")
    return header


def _store_times(header: Header, headers: list[FrameHeader]) -> None:
    starts = [one.start for one in headers]
    ends = [one.end or one.start for one in headers]
    known = [(a, b) for a, b in zip(starts, ends, strict=True) if a is not None and b is not None]
    if len(known) < len(headers):
        return
    first, last = min(a for a, _ in known), max(b for _, b in known)
    middle = [a + (b - a) / 2 for a, b in known]
    mean = first + sum(((m - first) for m in middle), timedelta()) / len(middle)
    for keyword, moment, comment in (
        ("DATE-OBS", first, "start of the first exposure, UTC"),
        ("DATE-END", last, "end of the last exposure, UTC"),
        ("DATE-AVG", mean, "mean of the middles of the exposures, UTC"),
    ):
        header[keyword] = (_iso(moment), comment)
    header["TELAPSE"] = (
        round((last - first).total_seconds(), 3),
        "[s] from first start to last end",
    )
    for keyword, moment in (("EXPSTART", first), ("EXPEND", last)):
        header[keyword] = (round(float(Time(moment).jd), 8), "Julian date")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
