"""Blocks of bytes in XISF files: checksums, compression and shuffled bytes."""

from __future__ import annotations

import hashlib
import zlib
from importlib import import_module
from pathlib import Path

import numpy as np

from astro_sr_plugin.exceptions import ImageReadError

__all__ = ["xisf_error", "unpack_block", "verify_block"]

_DIGESTS = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512", "sha3-256": "sha3_256"}


def xisf_error(path: Path, reason: str) -> ImageReadError:
    """Make the error of a file, with the reason."""
    return ImageReadError(f"cannot read {path}: {reason}")


def verify_block(path: Path, block: bytearray, checksum: str | None) -> None:
    """Compare a block with its checksum, such as ``sha-1:...``; without one nothing is checked.

    Raises
    ------
    ImageReadError
        If it does not match.
    """
    name, _, expected = (checksum or "").lower().partition(":")
    name = {"sha1": "sha-1", "sha256": "sha-256", "sha512": "sha-512"}.get(name, name)
    if name in _DIGESTS and hashlib.new(_DIGESTS[name], block).hexdigest() != expected:
        raise xisf_error(path, "its pixels are damaged (the checksum does not match)")


def unpack_block(
    path: Path, block: bytearray, packed: str, subblocks: str | None, needed: int
) -> bytearray:
    """Decompress a block of `needed` bytes; large ones consist of several."""
    codec, total, *items = packed.split(":")
    codec, _, shuffled = codec.partition("+")
    sizes = [(len(block), needed)]
    if subblocks:
        pairs = [pair.split(",") for pair in subblocks.split(":")]
        sizes = [(int(size), int(unpacked)) for size, unpacked in pairs]
    if int(total) != needed or sum(unpacked for _, unpacked in sizes) != needed:
        raise xisf_error(path, f"its image unpacks to {int(total)} bytes instead of {needed}")
    if min(min(pair) for pair in sizes) < 0:
        raise xisf_error(path, f"its image has blocks of sizes {subblocks}")
    whole, start = bytearray(), 0
    for size, unpacked in sizes:
        whole += _decode(path, codec, bytes(block[start : start + size]), unpacked)
        start += size
    if len(whole) != needed:
        raise xisf_error(path, f"its image unpacks to {len(whole)} bytes instead of {needed}")
    if shuffled != "sh":
        return whole
    item = int(items[0])
    if item < 1:
        raise xisf_error(path, f"its bytes are shuffled by {item}; allowed are 1 and more")
    return bytearray(_unshuffle(whole, item))


def _decode(path: Path, codec: str, piece: bytes, size: int) -> bytes:
    if codec == "zlib":
        # One byte more than there may be, and no more: a few bytes can unpack to gigabytes.
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(piece, size + 1)
        if not unpacker.eof:
            reason = f"its image is damaged (a block does not unpack to {size} bytes)"
            raise xisf_error(path, reason)
        return unpacked
    names = {"lz4": "lz4_decode", "lz4hc": "lz4_decode", "zstd": "zstd_decode"}
    if codec not in names:
        raise xisf_error(path, f"its compression {codec!r} is not known")
    try:
        codecs = import_module("imagecodecs")
    except ImportError as error:
        reason = f"its compression {codec!r} needs one more package: pip install imagecodecs"
        raise xisf_error(path, reason) from error
    try:
        return bytes(getattr(codecs, names[codec])(piece, out=size))
    except RuntimeError as error:
        raise xisf_error(path, f"its pixels are damaged ({error})") from error


def _unshuffle(raw: bytearray, item: int) -> bytes:
    whole = len(raw) // item * item
    rows = np.frombuffer(bytes(raw[:whole]), np.uint8).reshape(item, -1)
    return rows.T.tobytes() + bytes(raw[whole:])
