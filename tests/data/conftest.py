"""A file with every kind of odd header card, and the check of written files."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

ODD_CARDS = [
    (b"OBJECT  = 'G\xc3\xb6ttingen' / h\xe9", "OBJECT", "Gottingen"),
    (b"GAIN    = 1,5 / comma", "GAIN", "1,5"),
    (b"DATE-OBS= 2020-01-01T00:00:00", "DATE-OBS", "2020-01-01T00:00:00"),
    (b"TEMP    = NaN", "TEMP", "NaN"),
    (b"BAD.KEY = 3 / point", "BAD.KEY", 3),
    (b"lower   = 4 / small", "LOWER", 4),
    (b"OPEN    = 'no end", "OPEN", "no end"),
    (b"NOSLASH = 'it''s' a comment", "NOSLASH", "it's"),
    (b"JUSTTEXT some words", "JUSTTEXT", "some words"),
    (b"SPACE = 5", "SPACE", 5),
    (b"TOOLONGKEY= 3", "TOOLONGKEY", 3),
    (b"TIGHT   =3", "TIGHT", 3),
    (b"CPLX    = (1.0, 2.0)", "CPLX", 1 + 2j),
    (b"EXPO    = 1.5d2", "EXPO", 150.0),
    (b"HIERARCH ESO DET CHIP = 'x' / c", "ESO DET CHIP", "x"),
    (b"TWICE   = 1", "TWICE", 1),
    (b"TWICE   = 2", "TWICE", 1),
]


@pytest.fixture
def odd_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "odd.fits"
    fits.PrimaryHDU(np.ones((4, 4), "f4")).writeto(path)
    raw = path.read_bytes()
    place = raw.index(b"END     ")
    cards = [card.ljust(80) for card, _, _ in ODD_CARDS]
    cards += [b"NOVAL   =".ljust(80), b"EQUINOX = 9.87654321E+107".ljust(80)]
    cards += [b"LONG    = 'one &'".ljust(80), b"CONTINUE  'two &'".ljust(80)]
    cards += [b"CONTINUE  'three' / end".ljust(80), b"\x00\x01\x02 garbage \xff".ljust(80)]
    cards += [b"HISTORY \xe4 first".ljust(80), b"HISTORY second".ljust(80)]
    header = raw[:place] + b"".join(cards) + b"END".ljust(80)
    header += b" " * (-len(header) % 2880)
    path.write_bytes(header + raw[2880:])
    return path


@pytest.fixture
def odd_values():
    return {key: value for _, key, value in ODD_CARDS}


def verified(path):
    """Verify structure and checksums as fitscheck does."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            for hdu in hdus:
                if not isinstance(hdu, fits.CompImageHDU):
                    assert hdu.verify_checksum() == hdu.verify_datasum() == 1
                _ = hdu.data
    return path


@pytest.fixture
def check():
    return verified
