"""Images with masks, uncertainties, units and metadata, to be written and read again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io.fits import Header
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from hypothesis import strategies as st
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRWarning
from benchmarks.fuzz.case import Draw, image_shapes, pixels_of
from benchmarks.fuzz.properties import assert_same_pixels

__all__ = ["RoundTrip", "check_round_trip", "round_trips"]

_TYPES = ("f4", "f4", ">f4", "f8", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "i1")
_SUFFIXES = (".fits", ".fits", ".fit.gz", ".fits.bz2", ".fts.xz", ".fits.fz", ".xisf", ".tif")
_OUTPUT_TYPES = (None, None, None, "original", "float32", "float64", "uint16", "int16", "uint8")
_UNITS = ("adu", "electron", "", "Jy / beam", "erg / (s cm2)", "1e-9 W / m2", "count / s", "mag")
_UNCERTAINTIES = (StdDevUncertainty, VarianceUncertainty, InverseVariance)
# The mark of wcslib for a value that is not known, which headers lose.
_UNDEFINED = 9.87654321e107
# Values that fill so many steps of the range 0 to 1 are scaled as such, others by their own range.
_FEWEST_STEPS = 8
_PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
_KEYWORDS = st.one_of(
    st.sampled_from(
        ["OBJECT", "GAIN", "EXPTIME", "A_B-C", "12345678", "LONGER KEYWORD HERE", "x y"]
    ),
    st.text("ABCXYZ019_-", min_size=1, max_size=8).filter(lambda name: name[0] not in "-ABXYZ"),
)
_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != _UNDEFINED),
    st.text(_PRINTABLE, max_size=120).map(str.rstrip),
    st.sampled_from(["it's", "''", "&", "ends &", "/", "a / b", "'", "=", "x" * 67 + "'" * 3, "T"]),
)
# A number in a card has 20 characters: 13 digits where sign and exponent take the most room.
_CARD_PRECISION = 1e-12


@dataclass(frozen=True)
class RoundTrip:
    """An image, and how it is written."""

    image: CCDData = field(repr=False)
    suffix: str
    dtype: str | None
    note: str


@st.composite
def round_trips(draw: Draw) -> RoundTrip:
    """Make an image with everything that an image can have."""
    shape = draw(image_shapes())
    dtype = draw(st.sampled_from(_TYPES))
    data = draw(pixels_of(dtype, shape))
    mask = None
    if draw(st.booleans()):
        mask = np.random.default_rng(0).random(shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    uncertainty = None
    if draw(st.integers(0, 2)) == 0:
        kind = draw(st.sampled_from(_UNCERTAINTIES))
        uncertainty = kind(np.full(shape, draw(st.sampled_from([0.0, 1.5, 1e-30])), "f4"))
    unit = draw(st.sampled_from(_UNITS))
    meta: dict[str, Any] | Header = draw(st.dictionaries(_KEYWORDS, _VALUES, max_size=5))
    if draw(st.booleans()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = Header()
            for name, value in meta.items():
                header[name.upper()] = value
            for _ in range(draw(st.integers(0, 2))):
                header.add_history(draw(st.text(_PRINTABLE, max_size=150)))
        meta = header
    image = CCDData(
        data, unit=u.Unit(unit), mask=mask, uncertainty=uncertainty, meta=meta, copy=False
    )
    suffix = draw(st.sampled_from(_SUFFIXES))
    output = draw(st.sampled_from(_OUTPUT_TYPES))
    masked = None if mask is None else int(mask.sum())
    note = f"{dtype} {shape} unit={unit!r} masked={masked} {uncertainty!r:.40} {dict(meta)!r}"
    return RoundTrip(image, suffix, output, note)


def check_round_trip(trip: RoundTrip, folder: Path) -> CCDData | None:
    """Write an image and read it again.

    Parameters
    ----------
    trip : RoundTrip
        The image.
    folder : Path
        Where the file goes.

    Returns
    -------
    CCDData or None
        What was read; None where the image cannot be written so.
    """
    image = trip.image
    before = image.data.copy()
    path = folder / f"image{trip.suffix}"
    path.unlink(missing_ok=True)
    # Formats without masks say that they leave them out; values that are scaled are named too.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", AstroSRWarning)
        try:
            asr.write_image(image, path, dtype=trip.dtype)
        except asr.AstroSRError:
            assert not path.exists(), "a file was left behind"
            return None
        back = asr.read_image(path)
    np.testing.assert_array_equal(before, image.data, "the input was changed")
    truth = before.astype(np.longdouble)
    scaled = any("do not fill" in str(warning.message) for warning in caught)
    _check_pixels(trip, np.asarray(back.data), truth, scaled=scaled)
    if image.unit != u.dimensionless_unscaled:
        assert back.unit == image.unit, f"unit {back.unit} instead of {image.unit}"
    if ".f" in trip.suffix:
        _check_companions(image, back)
    for keyword, value in dict(image.meta).items():
        if keyword not in ("HISTORY", "COMMENT", ""):
            _check_value(back.meta, keyword, value)
    if isinstance(image.meta, Header) and "HISTORY" in image.meta:
        wanted = "".join(str(line) for line in image.meta["HISTORY"]).replace(" ", "")
        found = "".join(str(line) for line in back.meta.get("HISTORY", [])).replace(" ", "")
        assert wanted in found, f"HISTORY {found!r} instead of {wanted!r}"
    return back


def _check_pixels(trip: RoundTrip, found: NDArray, truth: NDArray, *, scaled: bool) -> None:
    short = truth.reshape(tuple(n for n in truth.shape[:-2] if n != 1) + truth.shape[-2:])
    if trip.image.mask is not None and trip.dtype is not None:
        # Where NaN is stored as BLANK, masked pixels keep their values all the same.
        assert found.shape == short.shape
    kind = np.dtype(trip.dtype) if trip.dtype not in (None, "original") else None
    if kind is not None and scaled:
        finite = short[np.isfinite(short)].astype(np.float64)
        largest = float(np.max(np.abs(finite), initial=0))
        whole = largest * np.iinfo(kind).max >= _FEWEST_STEPS
        extent = max(largest, np.ptp(finite) if finite.size else 0.0, 1.0 if whole else 0.0)
        # One number is kept for NaN, and one is not used at the lower end.
        step = extent / (np.iinfo(kind).max - 1)
        np.testing.assert_allclose(found, short.astype(np.float64), rtol=1e-6, atol=step)
        return
    if kind is not None and kind.kind in "iu":
        finite = np.isfinite(short)
        short = np.where(finite, np.rint(short), short)
    if kind is not None and kind.kind == "f" and kind.itemsize < trip.image.data.dtype.itemsize:
        with np.errstate(over="ignore"):
            short = short.astype(kind)
    assert_same_pixels(found, short.astype(np.longdouble))


def _check_companions(image: CCDData, back: CCDData) -> None:
    missing = np.isnan(image.data) if image.data.dtype.kind == "f" else np.zeros(image.shape, bool)
    given = np.zeros(image.shape, bool) if image.mask is None else np.asarray(image.mask)
    found = np.zeros(back.shape, bool) if back.mask is None else np.asarray(back.mask)
    found, given, missing = found.ravel(), given.ravel(), missing.ravel()
    wrong = (found != given) & ~missing
    assert not wrong.any(), f"the mask differs in {int(wrong.sum())} pixels"
    if image.uncertainty is not None:
        assert back.uncertainty is not None, "the uncertainty is lost"
        assert type(back.uncertainty) is type(image.uncertainty), "other kind of uncertainty"
        np.testing.assert_allclose(
            back.uncertainty.array.ravel(), image.uncertainty.array.ravel(), rtol=1e-6
        )


def _check_value(header: Header, keyword: str, value: object) -> None:
    found = header.get(keyword.upper())
    if isinstance(value, float) and not isinstance(found, str) and found is not None:
        same = abs(float(found) - value) <= _CARD_PRECISION * abs(value)
    else:
        same = type(found) is type(value) and found == value
    # A card that has no room for its value becomes a comment, which keeps it.
    kept = any(str(value)[:20] in str(line) for line in header.get("COMMENT", []))
    assert same or kept, f"{keyword} is {found!r} instead of {value!r}"
