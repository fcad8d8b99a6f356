"""The talk with Siril: the image in, the result back, log, progress and failure."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sirilpy as s
from astropy.io import fits
from astropy.io.fits import Header
from numpy.typing import NDArray

from astro_sr_siril.errors import ScriptError
from astro_sr_siril.frame import Frame, Region, for_siril, parse_header, write_input
from astro_sr_siril.settings import Settings

__all__ = ["Session"]

_MOST_ON_LOAD = 10.0
"""Siril divides floats by 65535 when it loads a file whose largest value is above this."""

_UNDO_SECONDS = 10.0


class Session:
    """A connection with Siril.

    Parameters
    ----------
    siril : sirilpy.SirilInterface
        Connected.
    """

    def __init__(self, siril: Any) -> None:
        self.siril = siril
        self.with_window: bool = not siril.is_cli()
        # Arguments can be given in a Siril with windows too; there, undo works.
        self._headless = siril.get_siril_display_iccprofile() is None
        self.settings = Settings(Path(siril.get_siril_configdir() or "."))

    def read(self) -> Frame:
        """Return the loaded image; raises ScriptError if there is none."""
        if not self.siril.is_image_loaded():
            msg = "no image is loaded in Siril; open one first"
            raise ScriptError(msg)
        pixels = self.siril.get_image_pixeldata()
        selection = Region.from_selection(self.siril.get_siril_selection(), pixels.shape[-2:])
        header = parse_header(self.siril.get_image_fits_header(), self.siril.get_image_history())
        name = self.siril.get_image_filename()
        path = Path(self.siril.get_siril_wd(), name) if name else None
        return Frame(pixels, header, selection, path)

    @property
    def folder(self) -> Path:
        """Siril's working folder."""
        return Path(self.siril.get_siril_wd())

    def sequence(self) -> tuple[str, list[Path]]:
        """Return the name of the open sequence, and the files of its included frames."""
        if not self.siril.is_sequence_loaded():
            return "", []
        sequence = self.siril.get_seq()
        names = [
            self.siril.get_seq_frame_filename(number)
            for number in range(sequence.number)
            if sequence.imgparam[number].incl
        ]
        # A sequence in a single file has one name for all frames, or none.
        files = [self.folder / name for name in names if name]
        return sequence.seqname.rstrip("_"), files if len(set(files)) == len(names) else []

    def show(self, path: Path) -> None:
        """Let Siril load a file."""
        self.siril.cmd("load", f'"{path}"')

    def write(self, frame: Frame, pixels: NDArray[np.float32], header: Header, label: str) -> None:
        """Put a result in the place of the image.

        Parameters
        ----------
        frame : Frame
            What the image was; if Siril shows another one by now, nothing is done.
        pixels : ndarray of float32
            The result.
        header : fits.Header
            Its header.
        label : str
            For the list of undo steps.
        """
        now = self.siril.get_image_pixeldata() if self.siril.is_image_loaded() else None
        if now is None or not _same(now, frame.pixels):
            msg = "the image in Siril is not the same any more; the result was not put in"
            raise ScriptError(msg)
        if self._headless:
            self._load(frame, pixels, header)
        else:
            self._set(frame, pixels, header, label)

    def _load(self, frame: Frame, pixels: NDArray[np.float32], header: Header) -> None:
        """Let Siril load the result from a file: the only way to give it a HISTORY."""
        profile = self.siril.get_image_iccprofile()
        selection = self.siril.get_siril_selection()
        with tempfile.TemporaryDirectory(prefix="astro_sr_") as folder:
            path = Path(folder, "result.fit")
            write_input(path, pixels, header)
            self.siril.cmd("load", f'"{path}"')
        if np.nanmax(pixels) > _MOST_ON_LOAD:
            with self.siril.image_lock():
                self.siril.set_image_pixeldata(pixels)
        if profile:
            self.siril.set_image_iccprofile(profile)
        if selection and pixels.shape == frame.pixels.shape:
            self.siril.set_siril_selection(selection=selection)
        if frame.path is not None:
            self.siril.set_image_filename(str(frame.path))

    def _set(self, frame: Frame, pixels: NDArray[np.float32], header: Header, label: str) -> None:
        with self.siril.image_lock():
            self.siril.undo_save_state(label[:70])
        if frame.pixels.dtype == np.uint16:
            # Else Siril goes on to take the image for one of 16 bits.
            self.siril.cmd("fmul", "1.0")
        with self.siril.image_lock():
            self.siril.set_image_pixeldata(np.ascontiguousarray(pixels))
            self.siril.set_image_metadata_from_header_string(for_siril(header, pixels))

    def undo(self, frame: Frame) -> None:
        """Take the last step back, to a frame that was; Siril does not take back all keywords."""
        self.siril.undo()
        end = time.monotonic() + _UNDO_SECONDS
        while not _same(now := self.siril.get_image_pixeldata(), frame.pixels):
            # Siril does it when it finds the time.
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        with self.siril.image_lock():
            self.siril.set_image_metadata_from_header_string(for_siril(frame.header, now))

    def beside(self, frame: Frame, ending: str) -> Path:
        """Return the file name beside the image, or in the working folder if it has none."""
        if frame.path is None:
            return Path(self.siril.get_siril_wd(), f"{ending}.fit")
        stem = frame.path.name
        for suffix in (".fz", ".gz", ".bz2", ".xz"):
            stem = stem.removesuffix(suffix)
        return frame.path.with_name(f"{Path(stem).stem}_{ending}.fit")

    def save(self, path: Path, pixels: NDArray[np.float32], header: Header) -> None:
        """Write an image file; it appears when it is complete."""
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            fits.writeto(part, pixels, header, overwrite=True, output_verify="silentfix+ignore")
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            msg = f"{path} could not be written: {error.strerror or error}"
            raise ScriptError(msg) from error
        self.log(f"Saved {path}")

    def log(self, text: str, color: Any = None) -> None:
        """Write into the log of Siril line by line; it takes 1 to about 1000 letters at a time."""
        for line in filter(None, map(str.rstrip, text.splitlines())):
            self.siril.log(line, color or s.LogColor.DEFAULT)

    def warn(self, text: str) -> None:
        """Write a warning into Siril's log."""
        self.log(f"Warning: {text}", s.LogColor.SALMON)

    def progress(self, text: str, fraction: float) -> None:
        """Move Siril's progress bar."""
        self.siril.update_progress(f"AstroSR: {text}", min(max(fraction, 0.0), 1.0))

    def fail(self, text: str) -> None:
        """Say what went wrong, in the log; a Siril without windows ends with an error then."""
        self.log(f"AstroSR: {text}", s.LogColor.RED)
        if self._headless and self.siril.is_image_loaded():
            # Siril goes on with the next line whatever a script says. Without an image that line
            # fails, and siril-cli ends with an error instead of saving what was not done.
            self.siril.cmd("close")


def _same(one: NDArray, other: NDArray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
