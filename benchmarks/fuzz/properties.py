"""What must hold for every file and image; each check raises AssertionError where it fails."""

from __future__ import annotations

import contextlib
import io
import logging
import resource
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.data.keywords import read_number
from astro_sr_plugin.exceptions import AstroSRWarning
from astro_sr_plugin.models.spec import Model
from benchmarks.fuzz.case import Case

__all__ = [
    *("WEIGHT_BYTES", "TooSlow", "assert_same_pixels", "bounded"),
    *("check_command", "check_file", "check_model", "check_verbs"),
]

_SECONDS = 20.0
_BYTES = 2 * 2**30
#: Bytes that reading a file of weights of some kilobytes may take.
WEIGHT_BYTES = 10**9
_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)


class TooSlow(BaseException):
    """The limit of processor time was reached."""


@contextlib.contextmanager
def bounded(growth: int = _BYTES) -> Iterator[None]:
    """Limit processor time to 20 s and the growth of the address space.

    Parameters
    ----------
    growth : int
        Bytes that it may grow by, 2 GiB by default.

    Yields
    ------
    None

    Raises
    ------
    TooSlow
        At the limit of time; at that of memory Python raises MemoryError.
    """

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise TooSlow

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + growth, before[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGVTALRM, handler)


class _Records(logging.Handler):
    """What libraries log for the user to see."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def _only_own_warnings() -> Iterator[None]:
    records = _Records()
    logging.getLogger().addHandler(records)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger().removeHandler(records)
    assert not records.lines, f"a library spoke to the user: {records.lines[0]}"
    for warning in caught:
        own = issubclass(warning.category, AstroSRWarning)
        place = f"{Path(warning.filename).name} {warning.category.__name__}"
        assert own, f"warning of {place}: {warning.message}"


def _check_message(error: asr.AstroSRError) -> str:
    """Require one line of text, and return it."""
    text = str(error)
    assert text.strip(), "the message is empty"
    assert "\n" not in text, f"the message has more than one line: {text}"
    return text


def check_file(case: Case, path: Path) -> CCDData | None:
    """Read a file: an error of the package, or the right pixels.

    Parameters
    ----------
    case : Case
        The file.
    path : Path
        Where to put it.

    Returns
    -------
    CCDData or None
        The image; None where it was refused.
    """
    path.write_bytes(case.content)
    with _only_own_warnings():
        try:
            image = asr.read_image(path, hdu=case.hdu)
        except asr.AstroSRError as error:
            text = _check_message(error)
            assert not case.valid, f"a valid file was refused: {text}"
            return None
    truth = case.pixels
    if truth is None and case.comparable and case.suffix.startswith(".fits"):
        truth = _astropy_pixels(path, case.hdu)
    if truth is not None:
        zero = read_number(image.meta, "ASRBZERO") or 0.0
        assert_same_pixels(np.asarray(image.data), _without_short_axes(truth), zero)
    for keyword, value in case.keywords.items():
        assert image.meta.get(keyword) == value, f"{keyword} is {image.meta.get(keyword)!r}"
    assert image.mask is None or np.shape(image.mask) == image.data.shape
    assert image.uncertainty is None or image.uncertainty.array.shape == image.data.shape
    return image


def check_model(case: Case, path: Path) -> Model | None:
    """Load a file of weights: an error of the package, or a model that runs.

    Parameters
    ----------
    case : Case
        The file.
    path : Path
        Where to put it.

    Returns
    -------
    Model or None
        The model; None where it was refused.
    """
    case.write(path)
    with _only_own_warnings():
        try:
            model = asr.load_model(path)
        except asr.AstroSRError as error:
            _check_message(error)
            return None
    if isinstance(model, asr.ExternalModel):
        spec, side = model.spec, max(model.spec.min_size, model.size_multiple) + 2
        result = model(torch.rand(1, spec.channels_in, side, side + 1))
        wanted = (1, spec.channels_out, spec.scale * side, spec.scale * (side + 1))
        assert result.shape == wanted, f"the result has shape {tuple(result.shape)}, not {wanted}"
    return model


def check_verbs(image: CCDData) -> None:
    """Measure and denoise an image: an error of the package, or a result that holds what it has to.

    Parameters
    ----------
    image : CCDData
        A small image.
    """
    before = np.array(image.data)
    with _only_own_warnings():
        with contextlib.suppress(asr.AstroSRError):
            asr.measure(image)
        try:
            result = asr.denoise(image, model="wiener")
        except asr.AstroSRError:
            return
    np.testing.assert_array_equal(before, image.data, "the input was changed")
    assert result.shape == image.shape, f"the result has shape {result.shape}"
    assert result.unit == image.unit, f"the result has unit {result.unit}"
    absent = ~np.isfinite(before)
    kept = np.asarray(result.data)[absent]
    assert np.array_equal(kept, before[absent], equal_nan=True), "missing pixels have changed"
    lost = int(np.count_nonzero(~np.isfinite(result.data[~absent])))
    assert not lost, f"{lost} pixels are no longer finite"
    if image.mask is not None:
        masked = np.broadcast_to(image.mask, before.shape)
        same = np.array_equal(result.data[masked], before[masked], equal_nan=True)
        assert same, "masked pixels have changed"


def check_command(case: Case, path: Path) -> None:
    """Run ``astro-sr measure`` on the file: exit code 0, 1 or 2, and no traceback.

    Parameters
    ----------
    case : Case
        The file.
    path : Path
        Where to put it.
    """
    path.write_bytes(case.content)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["measure", str(path), "--json"])
    assert code in (0, 1, 2), f"exit code {code}"
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert code == 0 or err.getvalue().strip(), "failed without a word"


def assert_same_pixels(data: NDArray, truth: NDArray, zero: float = 0.0) -> None:
    """Check that an array has the true values, to the rounding of its type and of theirs.

    Parameters
    ----------
    data : ndarray of float
        What was read.
    truth : ndarray of float
        What is in the file.
    zero : float
        Zero point that was added to them: where it nearly cancels what it is added to, the rounding
        is that of the zero point.
    """
    assert data.shape == truth.shape, f"shape {data.shape} instead of {truth.shape}"
    absent = np.isnan(truth)
    wrong = np.isnan(data) != absent
    assert not wrong.any(), f"{int(wrong.sum())} pixels are NaN that should not be, or the reverse"
    with np.errstate(all="ignore"):
        found, wanted = data[~absent], truth[~absent]
        # What no float64 can hold is infinite.
        wanted = np.where(
            np.abs(wanted) > np.finfo(np.float64).max, np.sign(wanted) * np.inf, wanted
        )
        # Scale and zero point are rounded one after the other. Where the file has a finite number
        # there has to be one.
        step = 2 * np.abs(np.spacing(wanted.astype(data.dtype)))
        if truth.dtype.itemsize == 4:
            coarsest = np.maximum(np.abs(wanted), np.float32(abs(zero)))
            step = np.maximum(step, 2 * np.spacing(coarsest))
        near = np.abs(found.astype(np.longdouble) - wanted) <= step
        # The reader goes to float64 where the truth in float32 overflows.
        beyond = np.isinf(wanted) & (np.abs(found) > np.finfo(np.float32).max)
        beyond &= truth.dtype.itemsize == 4
        wrong = ~((found == wanted) | beyond | (near & np.isfinite(found)))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        message = f"{int(wrong.sum())} pixels differ, first {found[first]!r} != {wanted[first]!r}"
        raise AssertionError(message)


def _without_short_axes(truth: NDArray) -> NDArray:
    """Drop the axes of length one before the last two."""
    leading = [n for n in truth.shape[:-2] if n != 1]
    return truth.reshape([*leading, *truth.shape[-2:]])


def _astropy_pixels(path: Path, hdu: int | None) -> NDArray | None:
    """Read the same image by astropy; None where it finds none or fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False) as hdus:
                chosen = hdus[hdu] if hdu is not None else _first_image(hdus)
                if chosen is None:
                    return None
                found = np.array(chosen.data)
                # Scaled integers are float32 there: their rounding is that of the reference.
                return found.astype(found.dtype if found.dtype.kind == "f" else np.longdouble)
    # A reader that fails on a damaged file says nothing about its pixels.
    except Exception:  # noqa: BLE001
        return None


def _first_image(hdus: fits.HDUList) -> fits.PrimaryHDU | None:
    for hdu in hdus:
        if isinstance(hdu, _IMAGES) and hdu.shape and 0 not in hdu.shape:
            axes = [n for n in hdu.shape[:-2] if n != 1]
            if len(hdu.shape) >= 2 and len(axes) <= 1:
                return hdu
    return None
