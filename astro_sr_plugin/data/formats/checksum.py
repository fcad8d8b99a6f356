"""The checksum of FITS, computed piece by piece (FITS standard 4.0, appendix J)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningSum", "encode_checksum"]

_EXCLUDED = frozenset([*range(58, 65), *range(91, 97)])
"""Codes of the punctuation that the FITS convention leaves out of a checksum in letters."""


class RunningSum:
    """The 32-bit ones' complement sum of bytes that arrive in pieces.

    Parameters
    ----------
    value : int, default 0
        Sum to start from.
    """

    def __init__(self, value: int = 0) -> None:
        self._sum = value
        self._rest = b""

    def add(self, piece: bytes | memoryview | NDArray) -> None:
        """Add bytes.

        Parameters
        ----------
        piece : bytes, memoryview or ndarray
            Bytes, or a contiguous array as it is stored in the file.
        """
        if isinstance(piece, np.ndarray):
            piece = np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
        data = memoryview(piece)
        if self._rest:
            taken = min(len(data), 4 - len(self._rest))
            self._rest += bytes(data[:taken])
            data = data[taken:]
            if len(self._rest) < 4:
                return
            self._sum += int.from_bytes(self._rest, "big")
        whole = len(data) // 4 * 4
        self._sum += int(np.frombuffer(data[:whole], dtype=">u4").sum(dtype=np.uint64))
        self._rest = bytes(data[whole:])

    @property
    def value(self) -> int:
        """The sum so far, as if zeros filled the last word up."""
        total = self._sum + int.from_bytes(self._rest.ljust(4, b"\0"), "big")
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        return total


def encode_checksum(total: int) -> str:
    """Write the complement of a sum as the 16 letters of the CHECKSUM card.

    Parameters
    ----------
    total : int
        Sum over the HDU with CHECKSUM set to sixteen zeros.

    Returns
    -------
    str
        Letters and digits that make the sum over the HDU come out as minus zero.
    """
    letters = [0] * 16
    for i, byte in enumerate((0xFFFFFFFF - total).to_bytes(4, "big")):
        quarter, remainder = divmod(byte, 4)
        group = [quarter + 48 + remainder, quarter + 48, quarter + 48, quarter + 48]
        while _EXCLUDED.intersection(group):
            for pair in (0, 2):
                if _EXCLUDED.intersection(group[pair : pair + 2]):
                    group[pair] += 1
                    group[pair + 1] -= 1
        for j, letter in enumerate(group):
            letters[4 * j + i] = letter
    return bytes(letters[-1:] + letters[:-1]).decode("ascii")
