"""One piece of work: pixels out to the command through files, and the result back in its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from astro_sr_siril.command import Command
from astro_sr_siril.errors import ScriptError
from astro_sr_siril.frame import (
    Frame,
    Region,
    as_float,
    merge_headers,
    read_result,
    shift_grid,
    write_input,
)
from astro_sr_siril.verb import Values, Verb
from astro_sr_siril.words import in_script_words

__all__ = ["MARGIN", "Job", "Outcome", "paste"]

MARGIN = 128
"""Pixels around a selection that are worked on too, to measure stars and noise there."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Parameters
    ----------
    pixels : ndarray of float32
        The result, of the region asked for.
    header : fits.Header
        Of the result.
    region : Region
        Where it lies in the image.
    report : str
        What the command said of it.
    label : str
        What was done, in a few words.
    beside : ndarray of float32 or None
        The second image, of the region.
    changed : bool
        Whether there is a result: the command may leave the image as it is.
    """

    pixels: NDArray[np.float32]
    header: Header
    region: Region
    report: str
    label: str
    beside: NDArray[np.float32] | None = None
    changed: bool = True

    @property
    def scale(self) -> int:
        """Pixels of the result per pixel of the image."""
        return self.pixels.shape[-1] // self.region.width


class Job:
    """Work on a region of an image.

    Parameters
    ----------
    verb : Verb
        What is done.
    values : dict
        Values of its options.
    command : Command
        Who does it.
    extra : list of str
        Further options of every step, such as the device.
    window : bool
        Whether messages name the fields of the window, or options as they are typed.
    """

    def __init__(
        self,
        verb: Verb,
        values: Values,
        command: Command,
        extra: list[str],
        *,
        window: bool = False,
    ) -> None:
        verb.check(values)
        self._window = window
        self._verb = verb
        self._lines = [[*line, *extra] for line in verb.command_lines(values)]
        self._command = command
        self._label = "; ".join(" ".join(line) for line in verb.command_lines(values))

    def stop(self) -> None:
        """Stop the work, from any thread."""
        self._command.stop()

    def run(
        self,
        frame: Frame,
        region: Region | None,
        *,
        progress: Callable[[str, float], None],
        warn: Callable[[str], None],
    ) -> Outcome:
        """Do it.

        Parameters
        ----------
        frame : Frame
            The image; not changed.
        region : Region or None
            What the result is wanted for; None for the whole image.
        progress : callable
            Gets a word and a fraction.
        warn : callable
            Gets warnings.

        Returns
        -------
        Outcome
            The result.
        """
        region = region or frame.all
        reports = self._verb.result == "report"
        outer = region if reports else region.grown(MARGIN, frame.shape)
        pixels = outer.cut(frame.pixels)
        if not reports:
            pixels = as_float(pixels)
        folder = Path(tempfile.mkdtemp(prefix="astro_sr_", dir=_place()))

        def plain(text: str) -> str:
            return in_script_words(text, self._verb, folder, window=self._window)

        try:
            source = folder / "0.fits"
            write_input(source, pixels, shift_grid(frame.header, outer.x, outer.y))
            report = []
            for number, line in enumerate(self._lines):
                verb, *options = line

                def tell(done: float, verb: str = verb, number: int = number) -> None:
                    progress(verb, (number + done) / len(self._lines))

                tell(0.0)
                target = folder / f"{number + 1}.fits"
                words = [verb, str(source), *options]
                if not reports:
                    words += ["-o", str(target)]
                if self._verb.beside_flag:
                    words += [self._verb.beside_flag, str(folder / "beside.fits")]
                said = self._command.run(
                    words, folder, progress=tell, warn=lambda text: warn(plain(text))
                )
                report.append(plain(said.replace(f"{target}: ", f"{verb}: ")))
                source = target
            if reports or not target.exists():
                kept = as_float(region.within(outer, 1).cut(pixels))
                return Outcome(kept, Header(), region, report[-1], self._label, changed=False)
            return self._collect(frame, folder, region, outer, "\n".join(report))
        except ScriptError as error:
            raise ScriptError(plain(str(error))) from error
        except OSError as error:
            msg = f"the image could not be handed over through {folder}: {error.strerror or error}"
            raise ScriptError(msg) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _collect(
        self, frame: Frame, folder: Path, region: Region, outer: Region, report: str
    ) -> Outcome:
        pixels, header = read_result(folder / f"{len(self._lines)}.fits")
        scale = pixels.shape[-1] // outer.width
        inner = region.within(outer, scale)
        header = shift_grid(header, inner.x, inner.y)
        if "BUNIT" not in frame.header:
            header.remove("BUNIT", ignore_missing=True)
        beside = None
        if self._verb.beside_flag:
            beside = inner.cut(read_result(folder / "beside.fits")[0])
        return Outcome(inner.cut(pixels), header, region, report, self._label, beside)


def paste(frame: Frame, outcome: Outcome) -> tuple[NDArray[np.float32], Header]:
    """Return the image with the result in it: enlarged results take its place.

    Parameters
    ----------
    frame : Frame
        The image.
    outcome : Outcome
        The result for a part of it, or for all.

    Returns
    -------
    pixels, header
        What Siril is to show.
    """
    if outcome.scale > 1:
        return np.ascontiguousarray(outcome.pixels), outcome.header
    pixels = as_float(frame.pixels).copy()
    outcome.region.cut(pixels)[...] = outcome.pixels
    return pixels, merge_headers(frame.header, outcome.header)


def _place() -> str | None:
    """Return the folder for temporary files; the one of a sandbox is not seen outside of it."""
    if os.environ.get("container") == "flatpak":  # noqa: SIM112
        return os.environ.get("XDG_CACHE_HOME")
    return None
