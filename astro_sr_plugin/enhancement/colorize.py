"""Colours for a gray image, made up by a network; the light stays."""

from __future__ import annotations

import os

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.registry import ModelLike, default_model, load_model
from astro_sr_plugin.restoration.colours import colour_frame, note_synthetic
from astro_sr_plugin.restoration.frame import choose_runtime, open_frame
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.tasks import COLORIZE

__all__ = ["colorize"]

_MOST_SATURATION = 3.0
"""Largest factor of the colours: beyond, the planes are 0 or three times the light."""


@image_function
def colorize(
    image: Image,
    *,
    model: ModelLike | None = None,
    saturation: float = 1.0,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    device: str | None = None,
    runtime: Runtime | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    hdu: HDUChoice = None,
    force: bool = False,
) -> CCDData | NDArray:
    """Give a gray linear image colours that a network finds likely.

    The colours are synthetic: nothing about them is measured. The mean of red, green and blue is
    the gray image to 4 units in the last place, the sky and everything below it stay gray.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), in any unit and range. Never changed.
    model : str, Path or Model
        A network for colours: name, weights file, or what `load_model` returned; by default the
        shipped one, whose colours are pale.
    saturation : float
        0 (gray) to 3; 1 is what the network returns.

    Returns
    -------
    CCDData or ndarray
        Shape (3, ny, nx): red, green, blue; same kind, unit, mask and WCS; float32 (float64 for
        float64). The header says ``ASRSYNCO = T``.

    Raises
    ------
    InputError
        If the image has several planes, or cannot be used.
    ModelError
        If the model is unknown or damaged, or is for another task.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:96, :96]
    >>> galaxy = 900.0 * np.exp(-np.hypot(y - 48, x - 48) / 8)
    >>> image = galaxy + np.random.default_rng(1).normal(100.0, 2.0, (96, 96))
    >>> colours = asr.colorize(image)
    >>> colours.shape, bool(np.allclose(colours.mean(0), image, rtol=1e-12))
    ((3, 96, 96), True)
    """
    if not 0 <= saturation <= _MOST_SATURATION:
        msg = f"saturation={saturation} is not allowed; take 0 to {_MOST_SATURATION:g}"
        raise InputError(msg)
    name = default_model(COLORIZE) if model is None else model
    engine = load_model(name, COLORIZE)
    assert isinstance(engine, ExternalModel)
    frame = open_frame(image, COLORIZE, mask=mask, hdu=hdu, force=force, measured=measured)
    shape = frame.parts.data.shape
    if len(shape) > 2:  # noqa: PLR2004
        msg = f"image of shape {shape} has several planes; colorize takes one, of shape (ny, nx)"
        raise InputError(msg)
    header = frame.header(engine.spec, parameters={"saturation": saturation})
    note_synthetic(header)
    run = choose_runtime(runtime, device)

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        del errors
        colour_frame(frame, engine, saturation, run, sink, header)

    return write_result(
        frame, fill, header, scale=1, planes=3, out=out, overwrite=overwrite, uncertainty=False
    )
