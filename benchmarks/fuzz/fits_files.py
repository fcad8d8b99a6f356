"""FITS files: odd header cards, scaled integers, extensions, tile compression, damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.fuzz.case import (
    Case,
    Draw,
    chance,
    damaged,
    image_shapes,
    pixels_of,
    truncated,
)

__all__ = ["compressed_fits", "fits_files", "odd_cards"]

_BLOCK = 2880
_LEAST_SCALE = 1e-30
_TYPES = {"u1": 8, ">i2": 16, ">i4": 32, ">i8": 64, ">f4": -32, ">f8": -64}
_PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
# Values of BSCALE and BZERO as texts, with the number they stand for; None where there is none.
_SCALES = {
    "1.0": 1.0,
    "2": 2.0,
    "0.5": 0.5,
    "-1": -1.0,
    "1.5D-3": 1.5e-3,
    "1E20": 1e20,
    "1E36": 1e36,
    "1E-40": 1e-40,
    "'2.5'": 2.5,
}
_ZEROS = {"0": 0.0, "32768": 32768.0, "2147483648": 2147483648.0, "-128": -128.0, "0.1": 0.1}
_ODD_NUMBERS = ("NaN", "INF", "'x'", "T", "1E400", "(1,2)", "", "1,5", "-1E-320")
_LEAST_PLIO_ROW = 8
_BLANKS = ("-32768", "0", "255", "7", "99999", "2.5", "'7'", "NaN", "T", "-2147483648")
_VALUES = (
    "NaN",
    "-1",
    "0",
    "1E400",
    "'x'",
    "T",
    "F",
    "99999999999",
    "''",
    "1.0D0",
    "(1,2)",
    "-32768",
    "INF",
    "1,5",
    "'1.5'",
    "",
    "'open",
    "'it''s'",
    "2",
    "1E-300",
    "123456789012345678901234567890",
    "'[1:10,1:10]'",
    "'RGGB'",
    "'RA---TAN'",
    "'2020-13-45T99:99:99'",
    "1e5",
    "0.5",
    "9.87654321E+107",
)
_KEYWORDS = (  # noqa: SIM905 - a table to be read
    "BUNIT GAIN EGAIN RDNOISE EXPTIME EXPOSURE SATURATE DATAMAX DATAMIN CBLACK CWHITE PEDESTAL "
    "CTYPE1 CTYPE2 CTYPE3 CRVAL1 CRVAL2 CRPIX1 CRPIX2 CD1_1 CD1_2 CD2_1 CD2_2 CDELT1 CDELT2 "
    "CDELT3 CROTA1 CROTA2 CUNIT1 CUNIT2 PC1_1 PC2_2 PC3_3 PV1_1 PV2_1 LONPOLE LATPOLE EQUINOX "
    "RADESYS WCSAXES WCSNAME A_ORDER B_ORDER A_2_0 B_0_2 AP_ORDER A_DMAX CPDIS1 DP1 D2IMDIS1 "
    "WAT0_001 WAT1_001 AMDX1 AMDY1 PLTRAH CNPIX1 XPIXSZ YPIXSZ XPIXELSZ PIXSCALE FOCALLEN "
    "XBINNING LTV1 LTM1_1 BAYERPAT XBAYROFF ROWORDER COLORTYP IMAGETYP FILTER OBJECT DATE-OBS "
    "MJD-OBS INSTRUME TELESCOP SWCREATE PROGRAM CREATOR ORIGIN EXTNAME EXTVER EXTEND INHERIT "
    "NEXTEND CHECKSUM DATASUM ASRDTYPE ASRBSCAL ASRBZERO ASRBLANK ASRBOUND ASRTASK ASRMODEL "
    "ASRFWHMO ASRSCALE ASRSTREN ASRSTRET ASRNOISE STACKCNT NCOMBINE PHOTFLAM MAGZERO ZEROPOINT "
    "SIMPLE BITPIX NAXIS NAXIS1 PCOUNT GCOUNT GROUPS ZIMAGE ZBLANK TFIELDS UTYPE DATASEC "
    "TRIMSEC BIASSEC CCDSEC HISTORY COMMENT MP_BAD MP_SAT"
).split()
_NAMES = (
    "SCI",
    "MASK",
    "DQ",
    "ERR",
    "UNCERT",
    "WHT",
    "WEIGHT",
    "IVAR",
    "VARIANCE",
    "VAR",
    "IMAGE",
    "BPM",
    "mask",
    "PRIMARY",
)
_HARMLESS = {
    "OBSERVER": ("'O''Hara'", "O'Hara"),
    "AIRTEMP": ("-3.25", -3.25),
    "NCLOUDS": ("12", 12),
    "DOMEOPEN": ("T", True),
    "LOTNAME": ("'0012'", "0012"),
    "SMALLNUM": ("1.25E-30", 1.25e-30),
}
_ALGORITHMS = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS")
_TILE_KEYWORDS = (  # noqa: SIM905 - a table to be read
    "ZBLANK ZSCALE ZZERO ZQUANTIZ ZDITHER0 ZTILE1 ZTILE2 ZCMPTYPE ZBITPIX ZNAXIS ZNAXIS1 "
    "ZNAXIS2 TFORM1 TTYPE1 NAXIS1 NAXIS2 PCOUNT GCOUNT TFIELDS ZNAME1 ZVAL1 ZVAL2 ZIMAGE THEAP "
    "BSCALE BZERO BLANK XTENSION TFORM2 TTYPE2"
).split()


@dataclass(frozen=True)
class _Hdu:
    """One HDU; `pixels` are its physical values where they are known."""

    content: bytes
    pixels: NDArray | None
    note: str
    keywords: dict[str, object] = field(default_factory=dict)
    odd: bool = False
    comparable: bool = True


def _card(keyword: str, value: str, comment: str = "") -> bytes:
    return f"{keyword:<8}= {value:>20} / {comment}"[:80].ljust(80).encode("latin-1")


def _padded(content: bytes, fill: bytes) -> bytes:
    return content + fill * (-len(content) % _BLOCK)


def odd_cards() -> st.SearchStrategy[list[bytes]]:
    """Give a few header cards that are rare, wrong or senseless."""
    known = st.builds(_card, st.sampled_from(_KEYWORDS), st.sampled_from(_VALUES))
    indexed = st.builds(
        lambda letter, i, j, value: _card(f"{letter}_{i}_{j}", value),
        st.sampled_from(["A", "B", "AP", "BP"]),
        st.integers(0, 12),
        st.integers(0, 12),
        st.sampled_from(_VALUES),
    )
    hierarch = st.builds(
        lambda name, value: f"HIERARCH {name} = {value}"[:80].ljust(80).encode("latin-1"),
        st.text("ABC abc.=-_'", min_size=1, max_size=60),
        st.sampled_from(_VALUES),
    )
    continued = st.builds(
        lambda text: b"LONGTEXT= 'begins &'".ljust(80) + b"CONTINUE  ".ljust(10) + text.ljust(70),
        st.sampled_from([b"'ends'", b"'goes on &'", b"", b"no quote", b"'open", b"'a' / 'b' / c"]),
    )
    commentary = st.builds(
        lambda keyword, text: (keyword.ljust(8) + text)[:80].ljust(80),
        st.sampled_from([b"HISTORY", b"COMMENT", b"", b"CONTINUE", b"HISTORY="]),
        st.binary(max_size=72),
    )
    raw = st.binary(min_size=1, max_size=80).map(lambda text: text.ljust(80))
    assigned = st.builds(
        lambda keyword, text: (keyword.encode().ljust(8) + b"= " + text)[:80].ljust(80),
        st.sampled_from(_KEYWORDS),
        st.binary(max_size=70),
    )
    return st.lists(
        st.one_of(known, known, known, indexed, hierarch, continued, commentary, raw, assigned),
        max_size=6,
    )


@st.composite
def _wcs_cards(draw: Draw) -> list[bytes]:
    ending = draw(st.sampled_from(["TAN", "TAN-SIP", "TPV", "SIN", "ZPN", "CAR", "XXX", "TNX"]))
    separator = "-" * (8 - len("RA") - min(3, len(ending)))
    names = [f"RA{separator}{ending}", f"DEC{separator[1:]}{ending}"]
    numbers = {"CRVAL1": "10.5", "CRVAL2": "20.5", "CRPIX1": "5", "CRPIX2": "6"}
    form = draw(st.sampled_from(["CD", "CDELT", "CROTA"]))
    if form == "CD":
        numbers |= {"CD1_1": "-3E-4", "CD1_2": "1E-5", "CD2_1": "1E-5", "CD2_2": "3E-4"}
    else:
        numbers |= {"CDELT1": "-3E-4", "CDELT2": "3E-4"}
    if form == "CROTA":
        numbers["CROTA2"] = "30"
    if ending == "TAN-SIP":
        numbers |= {"A_ORDER": "2", "B_ORDER": "2", "A_2_0": "1E-6", "B_0_2": "1E-6"}
    cards = {"CTYPE1": f"'{names[0]}'", "CTYPE2": f"'{names[1]}'"} | numbers
    for keyword in draw(st.lists(st.sampled_from(sorted(cards)), max_size=2)):
        cards[keyword] = draw(st.sampled_from(_VALUES))
    return [_card(keyword, value) for keyword, value in cards.items()]


@st.composite
def _scaling(
    draw: Draw, dtype: np.dtype
) -> tuple[list[bytes], float | None, float | None, int | None]:
    """Give cards for BSCALE, BZERO and BLANK, and their numbers where they make sense."""
    if chance(draw, 0.4):
        return [], 1.0, 0.0, None
    cards: list[bytes] = []
    numbers: list[float | None] = []
    for keyword, known, default in (("BSCALE", _SCALES, 1.0), ("BZERO", _ZEROS, 0.0)):
        texts = st.sampled_from([*known, *known, *known, *_ODD_NUMBERS])
        text = draw(st.one_of(st.none(), texts))
        numbers.append(default if text is None else known.get(text))
        if text is not None:
            cards.append(_card(keyword, text))
    text = draw(st.one_of(st.none(), st.sampled_from(_BLANKS)))
    blank = None
    if text is not None:
        cards.append(_card("BLANK", text))
        if text.lstrip("-").isdigit() and dtype.kind != "f":
            blank = int(text)
        elif text == "'7'" and dtype.kind != "f":
            blank = 7
        elif text == "NaN" or (text in ("2.5", "T") and dtype.kind != "f"):
            numbers[0] = None
    return cards, numbers[0], numbers[1], blank


def _physical(stored: NDArray, scale: float, zero: float, blank: int | None) -> NDArray:
    values = stored.astype(np.longdouble) * np.longdouble(scale) + np.longdouble(zero)
    if blank is not None:
        values[stored.astype(object) == blank] = np.nan
    return values


@st.composite
def _image(draw: Draw, first: bool) -> _Hdu:
    dtype = np.dtype(draw(st.sampled_from(sorted(_TYPES))))
    shape = draw(image_shapes())
    axes = draw(st.sampled_from([(), (), (), (1,), (1, 1)])) + shape
    stored = draw(pixels_of(dtype.newbyteorder("=").str, shape)).astype(dtype)
    scaling, scale, zero, blank = draw(_scaling(dtype))
    odd = draw(odd_cards()) if chance(draw, 0.4) else []
    coordinates = draw(_wcs_cards()) if chance(draw, 0.25) else []
    names = draw(st.lists(st.sampled_from(sorted(_HARMLESS)), unique=True, max_size=3))
    head = [_card("SIMPLE", "T") if first else b"XTENSION= 'IMAGE   '".ljust(80)]
    head += [_card("BITPIX", str(_TYPES[dtype.str.lstrip("|")])), _card("NAXIS", str(len(axes)))]
    head += [_card(f"NAXIS{i}", str(n)) for i, n in enumerate(axes[::-1], start=1)]
    if not first:
        head += [_card("PCOUNT", "0"), _card("GCOUNT", "1")]
        if draw(st.booleans()):
            head.append(_card("EXTNAME", f"'{draw(st.sampled_from(_NAMES))}'"))
            head.append(_card("EXTVER", draw(st.sampled_from(["1", "2", "'a'", "-1", "NaN"]))))
    head += scaling + [_card(name, _HARMLESS[name][0]) for name in names] + coordinates + odd
    header = _padded(b"".join(head) + b"END".ljust(80), b" ")
    known = scale is not None and zero is not None
    # A second BSCALE or NAXIS among the odd cards leaves open which one counts.
    known &= not any(card[:5] in (b"BITPI", b"NAXIS", b"GROUP", b"BAYER") for card in odd)
    known &= not any(card[:8].strip() in (b"", b"END", b"SIMPLE", b"XTENSION") for card in odd)
    known &= not any(card[:6].strip() in (b"PCOUNT", b"GCOUNT", b"ZIMAGE") for card in odd)
    pixels = _physical(stored, scale, zero, blank) if known else None
    note = f"{dtype.str} {axes} {b' | '.join(c.rstrip() for c in scaling + coordinates + odd)!r}"
    keywords = {} if odd else {name: _HARMLESS[name][1] for name in names}
    plain = not odd and not coordinates and known
    content = header + _padded(stored.tobytes(), b"\0")
    # astropy 8.0 takes BLANK = 0 and BLANK = '7' for none, and scales in float32.
    comparable = scale is not None and zero is not None and abs(scale) > _LEAST_SCALE
    comparable &= blank != 0 and not any(b"'7'" in card for card in scaling)
    return _Hdu(content, pixels, note, keywords, not plain, comparable)


def _hdu_bytes(hdu: fits.PrimaryHDU, *, first: bool) -> bytes:
    """Give one HDU as astropy writes it."""
    stream = io.BytesIO()
    hdus = fits.HDUList([hdu] if first else [fits.PrimaryHDU(), hdu])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus.writeto(stream, output_verify="silentfix")
    return stream.getvalue()[0 if first else _BLOCK :]


_EMPTY = _Hdu(_hdu_bytes(fits.PrimaryHDU(), first=True), None, "empty")
_TABLE = _Hdu(
    _hdu_bytes(fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]), first=False),
    None,
    "table",
)


@st.composite
def compressed_fits(draw: Draw) -> _Hdu:
    """Make a tile-compressed image, by the writer of astropy."""
    algorithm = draw(st.sampled_from(_ALGORITHMS))
    shape = draw(image_shapes())
    dtype = draw(st.sampled_from(["u1", "i2", "i4", "f4", "f8", "u2"]))
    data = draw(pixels_of(dtype, shape))
    if algorithm == "PLIO_1":
        data = np.abs(np.nan_to_num(data.astype(np.float64))) % 100
        data = data.astype(draw(st.sampled_from(["i2", "i4", "u1"])))
        # The writer of astropy 8.0 corrupts the memory where a row is short or does not compress
        # (CFITSIO issue 136): rows of one value, as masks have them.
        assume(shape[-1] >= _LEAST_PLIO_ROW)
        data = np.repeat(data[..., :1], shape[-1], axis=-1)
    lossy = data.dtype.kind == "f"
    options = {"compression_type": algorithm}
    if lossy:
        options["quantize_level"] = draw(st.sampled_from([0.0, 0.01, 1.0, 16.0, 100.0, -0.5, -5.0]))
        options["quantize_method"] = draw(st.sampled_from([-1, 1, 2]))
        options["dither_seed"] = draw(st.sampled_from([1, 5000, 10000]))
    if algorithm == "HCOMPRESS_1":
        options["hcomp_scale"] = draw(st.sampled_from([0.0, 0.0, 1.0, 4.0]))
        options["hcomp_smooth"] = draw(st.sampled_from([0, 1]))
    if algorithm != "PLIO_1" and draw(st.booleans()):
        options["tile_shape"] = tuple(draw(st.integers(1, n)) for n in shape)
    header = fits.Header()
    if draw(st.booleans()):
        header["OBJECT"] = "M 1"
    blank = draw(st.sampled_from([None, None, 0, 7, -32768])) if not lossy else None
    if blank is not None:
        header["BLANK"] = blank
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = _hdu_bytes(fits.CompImageHDU(data.copy(), header, **options), first=False)
    # What this writer cannot write makes no file.
    except Exception:  # noqa: BLE001
        assume(False)
    note = f"{data.dtype} {shape} {options} BLANK={blank}"
    exact = not lossy and not options.get("hcomp_scale")
    # BZERO of unsigned types shifts the stored numbers; another writer may store them otherwise.
    # A blank value outside of the type is none, and this reader fails on it.
    fits_type = blank is None or np.iinfo(data.dtype).min <= blank <= np.iinfo(data.dtype).max
    shifted = dtype == "u2" and blank is not None or not fits_type
    pixels = _physical(data, 1.0, 0.0, blank) if exact and not shifted else None
    return _Hdu(content, pixels, note, odd=not exact or shifted, comparable=blank is None)


@st.composite
def fits_files(draw: Draw) -> Case:
    """Make a FITS file of one to five HDUs, sound or damaged."""
    layout = draw(st.sampled_from(["primary", "primary", "tiles", "several"]))
    if layout == "primary":
        parts = [draw(_image(first=True))]
    elif layout == "tiles":
        parts = [_EMPTY, draw(compressed_fits())]
    else:
        parts = [draw(st.one_of(st.just(_EMPTY), _image(first=True)))]
        others = st.one_of(_image(first=False), _image(first=False), compressed_fits())
        parts += draw(st.lists(st.one_of(others, others, st.just(_TABLE)), min_size=1, max_size=3))
    images = [i for i, part in enumerate(parts) if part is not _EMPTY and part is not _TABLE]
    chosen = draw(st.sampled_from(images)) if images else 0
    note = "; ".join(part.note for part in parts)
    content = b"".join(part.content for part in parts)
    if layout == "tiles" and chance(draw, 0.3):
        content, how = draw(_tampered_tiles(content))
        hdu = draw(st.sampled_from([None, 1]))
        # astropy 8.0 takes BLANK = 0 for none.
        comparable = parts[1].comparable and "BLANK=" not in how
        return Case(".fits", content, f"{note}; {how}", hdu=hdu, comparable=comparable)
    packing = draw(st.sampled_from(["", "", "", "", ".gz", ".bz2", ".xz"]))
    if chance(draw, 0.3):
        if packing and draw(st.booleans()):
            content = _PACKERS[packing](content)
            content, how = draw(damaged(content, 40))
        else:
            content, how = draw(damaged(content, _BLOCK))
            content = _PACKERS[packing](content) if packing else content
        # Which image is read by default depends on names, which damage may change.
        comparable = all(part.comparable for part in parts) and len(images) == 1
        return Case(f".fits{packing}", content, f"{note}; {how}", comparable=comparable)
    if packing:
        content = _PACKERS[packing](content)
    wanted = parts[chosen] if images else _EMPTY
    # An odd card of an HDU before may break the chain of HDUs.
    clean = not any(part.odd for part in parts[:chosen])
    case = Case(
        f".fits{packing}",
        content,
        note,
        hdu=chosen if len(parts) > 1 else None,
        pixels=wanted.pixels if clean else None,
        # A damaged uncertainty or mask beside an image is refused with it.
        valid=bool(images) and not any(part.odd for part in parts),
        keywords=wanted.keywords if clean and not wanted.odd else {},
        comparable=wanted.comparable,
    )
    return draw(truncated(case)) if chance(draw, 0.1) else case


@st.composite
def _tampered_tiles(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Give keywords of the table that holds the tiles other values."""
    data = bytearray(content)
    notes = []
    for keyword in draw(st.lists(st.sampled_from(_TILE_KEYWORDS), min_size=1, max_size=2)):
        place = data.find(keyword.encode().ljust(8) + b"=", _BLOCK)
        value = draw(st.sampled_from((*_VALUES, "'RICE_1'", "'GZIP_2'", "'1PB(10)'", "3", "1")))
        card = _card(keyword, value)
        if place >= 0 and place % 80 == 0:
            data[place : place + 80] = card
        else:
            end = data.find(b"END".ljust(80), _BLOCK)
            data[end : end + 160] = card + b"END".ljust(80)
        notes.append(f"{keyword}={value}")
    return bytes(data), ", ".join(notes)
