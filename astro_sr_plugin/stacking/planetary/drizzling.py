"""Drizzle of a video: the pixels of every frame dropped onto a finer grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.stacking.drizzle_package import FAR_AWAY, load_drizzle
from astro_sr_plugin.stacking.planetary.alignment import Shift
from astro_sr_plugin.stacking.planetary.combining import Combined, Sums
from astro_sr_plugin.stacking.planetary.frames import FrameAligner
from astro_sr_plugin.stacking.planetary.survey import Progress

__all__ = ["SCALES", "drizzle_video"]

SCALES = (1, 1.5, 2, 3)
"""Pixels of the stack per pixel of a frame that are offered."""
_PIXFRAC = 0.7
"""Side of a drop over that of the pixel."""
_BAYER_PIXFRAC = 1.0
"""The same for raw colour frames, of which a colour has a half or a quarter of the pixels."""
_KERNEL = "turbo"
"""Drops whose sides are parallel to the grid: frames of a video are not turned."""


def drizzle_video(
    aligner: FrameAligner,
    video: Video,
    chosen: dict[int, float],
    scale: float,
    progress: Progress | None = None,
) -> Combined:
    """Drizzle frames.

    Parameters
    ----------
    aligner : FrameAligner
        Knows their shifts.
    video : Video
        The frames.
    chosen : dict of int to float
        Weights of the frames by their numbers.
    scale : float
        Pixels of the stack per pixel of a frame.
    progress : callable, optional
        Called with the frames done and their number.

    Returns
    -------
    Combined
        Surface brightness is kept. Neighbouring pixels of the fine grid share their noise.

    Raises
    ------
    InputError
        If the package drizzle is missing.
    """
    resample = load_drizzle()
    ny, nx = video.shape[-2:]
    shape = (round(ny * scale), round(nx * scale))
    planes = 3 if len(video.shape) == 3 or video.pattern else 1
    filters = _filters(video.pattern, (ny, nx))
    pixfrac = _PIXFRAC if filters is None else _BAYER_PIXFRAC
    sums = Sums((planes, *shape))
    for done, (number, frame, shift) in enumerate(aligner.raw_frames(list(chosen)), start=1):
        if progress is not None:
            progress(done, len(chosen))
        if not aligner.agrees(number, shift.correlation):
            continue
        places = _places(aligner, number, shift, scale)
        gain = np.float32(aligner.gain(number))
        dropped = np.zeros((planes, *shape), np.float32)
        weights = np.zeros_like(dropped)
        for plane in range(planes):
            values = (frame[plane] if frame.ndim == 3 else frame).astype(np.float32) * gain
            usable = np.isfinite(values)
            if filters is not None:
                usable &= filters == "RGB"[plane]
            # Each frame by itself: the scatter of the frames gives the error.
            output = resample.Drizzle(
                kernel=_KERNEL, out_shape=shape, fillval="0", disable_ctx=True
            )
            output.add_image(
                np.where(usable, values, 0).astype(np.float32),
                1.0,
                places,
                weight_map=(usable * chosen[number]).astype(np.float32),
                pixfrac=pixfrac,
                pixel_scale_ratio=1 / scale,
            )
            dropped[plane], weights[plane] = output.out_img, output.out_wht
        sums.add_planes(dropped, weights)
    result = sums.result()
    holes = np.isnan(result.error).any(axis=0)
    return replace(result, count=np.where(holes, 0, result.count))


def _places(aligner: FrameAligner, number: int, shift: Shift, scale: float) -> NDArray[np.float64]:
    """Return where on the fine grid each pixel of a frame falls, shape (ny, nx, 2)."""
    x, y = aligner.inverse_places(number, shift)
    places = np.stack([(x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5], axis=-1)
    places = places.astype(np.float64)
    places[~np.isfinite(places).all(axis=-1)] = FAR_AWAY
    return places


def _filters(pattern: str, shape: tuple[int, int]) -> NDArray[np.str_] | None:
    if not pattern:
        return None
    block = ColorFilterArray(pattern).filters
    side = len(block)
    y, x = np.arange(shape[0]) % side, np.arange(shape[1]) % side
    return np.asarray(block[np.ix_(y, x)])
