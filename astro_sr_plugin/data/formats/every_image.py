"""One piece of work for every image of a FITS file, with all other extensions copied through."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData
from numpy.typing import DTypeLike

from astro_sr_plugin.data import output
from astro_sr_plugin.data.formats.companions import find_companions, is_image
from astro_sr_plugin.data.formats.fits import FitsFile, read
from astro_sr_plugin.data.formats.fits_hdu import append_image
from astro_sr_plugin.data.formats.fits_opening import read_errors, unpacked
from astro_sr_plugin.data.formats.header import clean_header, quiet
from astro_sr_plugin.data.formats.pixel_types import choose_coding, stored_dtype
from astro_sr_plugin.data.units import store_unit
from astro_sr_plugin.data.wcs_keywords import LOOKUP_KEYWORDS
from astro_sr_plugin.exceptions import ImageReadError, OutputError, warn

__all__ = ["list_images", "map_images"]


def list_images(path: str | os.PathLike[str]) -> dict[int, str]:
    """List the images of a FITS file.

    Parameters
    ----------
    path : str or Path
        The file, plain or compressed.

    Returns
    -------
    dict of int to str
        Number and name (``"SCI,2"``) of every image with two or three axes. Masks, uncertainties,
        weights and other planes that belong to an image do not count.

    Raises
    ------
    ImageReadError
        If it is no FITS file.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> import astro_sr_plugin as asr
    >>> source = f"{mkdtemp()}/camera.fits"
    >>> chips = [fits.ImageHDU(np.ones((8, 9)), name=name) for name in ("CHIP1", "CHIP2")]
    >>> fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(source)
    >>> asr.list_images(source)
    {1: 'CHIP1', 2: 'CHIP2'}
    """
    path = Path(path)
    with read_errors(path), unpacked(path) as stream, quiet():
        return _images(FitsFile(path, stream))


def map_images(
    function: Callable[[CCDData], CCDData],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: DTypeLike | None = None,
    overwrite: bool = False,
) -> dict[str, Header]:
    """Do one piece of work for every image of a FITS file, and write a file of the same layout.

    Masks follow the pixels of a result that has more of them than its image, and keep their
    numbers. The uncertainty of an image is replaced by that of the result, or left out where the
    result has none. All other extensions are copied as they are.

    Parameters
    ----------
    function : callable
        Takes a CCDData and gives one, for example ``astro_sr_plugin.denoise``.
    source, target : str or Path
        Two FITS files; the second one is not compressed.
    dtype : str or numpy.dtype, optional
        Type of the pixels, as in `write_image`.
    overwrite : bool, default False
        Whether `target` may be replaced.

    Returns
    -------
    dict of str to fits.Header
        Name and header of every result.

    Raises
    ------
    ImageReadError
        If the source cannot be read or holds no image.
    OutputError
        If the target cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> import astro_sr_plugin as asr
    >>> source, target = f"{mkdtemp()}/camera.fits", f"{mkdtemp()}/halved.fits"
    >>> chips = [fits.ImageHDU(np.ones((8, 9)), name=name) for name in ("CHIP1", "CHIP2")]
    >>> fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(source)
    >>> def halve(image):
    ...     return image.divide(2, handle_meta="first_found")
    >>> list(asr.map_images(halve, source, target))
    ['CHIP1', 'CHIP2']
    >>> float(fits.getdata(target, "CHIP2").mean())
    0.5
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() not in output.PLAIN_FITS:
        msg = f"cannot write {target}: all images of a file go to a name in .fits, .fit or .fts"
        raise OutputError(msg)
    with unpacked(source) as stream:
        with read_errors(source), quiet():
            work = _Work(FitsFile(source, stream), function, dtype)
        if not work.names:
            msg = f"cannot read {source}: it holds no image; it has {work.file.listing()}"
            raise ImageReadError(msg)
        with output.writing(target, overwrite=overwrite) as part, part.open("w+b") as result:
            for index in range(len(work.file.extensions)):
                work.write(index, result)
    return work.headers


class _Work:
    """The results so far, and what of the file belongs to which image."""

    def __init__(
        self, file: FitsFile, function: Callable[[CCDData], CCDData], dtype: DTypeLike | None
    ) -> None:
        self.file = file
        self.function = function
        self.dtype = dtype
        self.names = _images(file)
        self.headers: dict[str, Header] = {}
        self.results: dict[int, CCDData] = {}
        self.mask_of: dict[int, int] = {}
        self.uncertainty_of: dict[int, int] = {}
        for image in self.names:
            masks, uncertainty = find_companions(file.extensions, image)
            self.mask_of.update(dict.fromkeys(masks, image))
            if uncertainty is not None:
                self.uncertainty_of[uncertainty] = image

    def write(self, index: int, stream: BinaryIO) -> None:
        """Write the HDU of the result that stands for one of the source."""
        if index in self.names:
            self._write_image(index, stream)
        elif index in self.mask_of:
            self._write_mask(index, stream)
        elif index in self.uncertainty_of:
            self._write_uncertainty(index, stream)
        else:
            stream.write(self.file.whole(index))
        # Large mosaics hold dozens of images; those that nothing refers to any more are let go.
        ahead = {self.mask_of.get(i) for i in self.mask_of if i > index}
        ahead |= {self.uncertainty_of.get(i) for i in self.uncertainty_of if i > index}
        for image in [i for i in self.results if i <= index and i not in ahead]:
            del self.results[image]

    def _result(self, image: int) -> CCDData:
        if image not in self.results:
            self.results[image] = self.function(read(self.file.path, hdu=image))
        return self.results[image]

    def _write_image(self, index: int, stream: BinaryIO) -> None:
        result = self._result(index)
        header = clean_header(result.meta)
        name = stored_dtype(self.dtype, result.data, header)
        original = isinstance(self.dtype, str) and self.dtype == "original"
        coding = choose_coding(name, result.data, header, original=original)
        store_unit(header, result.unit)
        self.headers[self.names[index]] = header
        append_image(stream, result.data, self._own(index, header, result), coding)

    def _own(self, index: int, header: Header, result: CCDData) -> Header:
        """Leave out what the header of an extension has from the primary header."""
        source = self.file.own_header(index)
        tables = [c for c in source.cards if LOOKUP_KEYWORDS.fullmatch(c.keyword.split(".")[0])]
        if result.data.shape == self.file.extensions[index].shape:
            header.extend(tables)
        elif tables:
            warn(
                f"{self.file.path}, {self.file.label(index) or index}: the world coordinates of "
                "the result leave out the distortion tables (CPDIS, D2IM), which are for the "
                "pixels of the input"
            )
        if index == 0:
            return header
        own = {card.keyword for card in source.cards}
        texts = [str(card) for card in self.file.own_header(0).cards]
        kept = Header()
        for card in header.cards:
            if card.keyword in ("", "COMMENT", "HISTORY"):
                inherited = str(card) in texts
            else:
                inherited = card.keyword not in own and str(card) in texts
            if not inherited:
                kept.append(card, end=True)
        return kept

    def _write_mask(self, index: int, stream: BinaryIO) -> None:
        side = self.file.images[index].shape[-1]
        scale = self._result(self.mask_of[index]).data.shape[-1] // side
        if scale == 1:
            stream.write(self.file.whole(index))
            return
        stored, coding = self.file.stored(index, memmap=True)
        values = coding.integers(stored.reshape(self.file.extensions[index].shape))
        values = values.repeat(scale, -1).repeat(scale, -2)
        if values.dtype == bool:
            values = values.astype(np.uint8)
        append_image(stream, values, self.file.own_header(index))

    def _write_uncertainty(self, index: int, stream: BinaryIO) -> None:
        uncertainty = self._result(self.uncertainty_of[index]).uncertainty
        if uncertainty is None or uncertainty.array is None:
            return
        header = self.file.own_header(index)
        header["UTYPE"] = type(uncertainty).__name__
        append_image(stream, np.asarray(uncertainty.array), header)


def _images(file: FitsFile) -> dict[int, str]:
    return {
        index: file.label(index)
        for index, extension in enumerate(file.extensions)
        if is_image(extension)
    }
