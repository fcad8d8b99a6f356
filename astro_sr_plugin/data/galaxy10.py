"""Galaxy10 DECaLS: colour pictures of galaxies with their kinds, in one HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import ImageReadError, InputError

__all__ = ["Galaxy10", "GalaxyPicture"]

_NUMBERS = ("ra", "dec", "redshift", "pxscale")
"""Sets of numbers that the file has beside pictures and kinds."""
_PLANES = 3
"""Red, green and blue."""


@dataclass(frozen=True, eq=False)
class GalaxyPicture:
    """A picture of a galaxy.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (ny, nx, 3)
        A display picture: red, green and blue are the bands z, r and g.
    kind : int
        0 to 9, in the order of the data set: disturbed, merging, round smooth, in-between round
        smooth, cigar-shaped, barred spiral, tight spiral, loose spiral, edge-on without bulge,
        edge-on with bulge.
    ra, dec : float
        Position in degrees.
    redshift : float
        NaN where it is not known.
    pixel_scale : float
        Arcseconds per pixel.
    """

    pixels: NDArray[np.uint8]
    kind: int
    ra: float
    dec: float
    redshift: float
    pixel_scale: float


class Galaxy10:
    """Pictures of galaxies in the HDF5 file of Galaxy10 DECaLS (Leung & Bovy; 17,736 pictures).

    Only the pictures that are asked for are read. It is a sequence, and a context manager that
    closes the file.

    Parameters
    ----------
    path : str or Path
        The file, as published: https://zenodo.org/records/10845026.

    Raises
    ------
    InputError
        If h5py is not installed.
    ImageReadError
        If the file is missing or damaged, or is another one.

    Examples
    --------
    >>> import h5py
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> with h5py.File("small.h5", "w") as file:
    ...     file["images"] = np.zeros((2, 64, 64, 3), np.uint8)
    ...     file["ans"] = [7, 2]
    ...     for name in ("ra", "dec", "redshift", "pxscale"):
    ...         file[name] = [0.1, 0.2]
    >>> with asr.Galaxy10("small.h5") as galaxies:
    ...     len(galaxies), galaxies[0].kind, galaxies[0].pixels.shape
    (2, 7, (64, 64, 3))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        library = _library(self._path)
        try:
            self._file = library.File(self._path, "r")
        except OSError as error:
            reason = "no such file" if not os.path.exists(self._path) else "it is no HDF5 file"
            msg = f"cannot read {self._path}: {reason}"
            raise ImageReadError(msg) from error
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    def _check(self) -> None:
        """Refuse a file with other sets, or of other sizes.

        Raises
        ------
        ImageReadError
            Says which.
        """
        wanted = ("images", "ans", *_NUMBERS)
        lacking = [name for name in wanted if name not in self._file]
        if lacking:
            msg = f"{self._path} is not Galaxy10 DECaLS: it has no set {lacking[0]!r}"
            raise ImageReadError(msg)
        shape, kind = self._file["images"].shape, self._file["images"].dtype
        lengths = {self._file[name].shape[0] for name in wanted}
        if (
            len(shape) != 1 + _PLANES
            or shape[-1] != _PLANES
            or kind != np.uint8
            or len(lengths) > 1
        ):
            msg = (
                f"{self._path} is not Galaxy10 DECaLS: its pictures are {kind} of shape {shape}, "
                f"not uint8 of shape (number, height, width, {_PLANES}), with a row of numbers each"
            )
            raise ImageReadError(msg)

    def __enter__(self) -> Galaxy10:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._file["images"].shape[0])

    def __iter__(self) -> Iterator[GalaxyPicture]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> GalaxyPicture:
        if not -len(self) <= number < len(self):
            msg = f"picture {number} of {self._path} does not exist; it holds {len(self)}"
            raise IndexError(msg)
        number %= len(self)
        try:
            ra, dec, redshift, scale = (float(self._read(name, number)) for name in _NUMBERS)
            pixels, kind = self._read("images", number), int(self._read("ans", number))
        except OSError as error:
            msg = f"cannot read picture {number} of {self._path}: {error}"
            raise ImageReadError(msg) from error
        return GalaxyPicture(np.asarray(pixels), kind, ra, dec, redshift, scale)

    def _read(self, name: str, number: int) -> Any:
        """Read one row of a set."""
        return self._file[name][number]


def _library(path: str) -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        msg = f"{path}: HDF5 files need the package 'h5py': pip install 'astro_sr_plugin[hdf5]'"
        raise InputError(msg) from error
    module: ModuleType = h5py
    return module
