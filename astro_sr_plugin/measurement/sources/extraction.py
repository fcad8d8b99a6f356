"""Source extraction: sep on a sky-subtracted window, the one way in which sources are found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

__all__ = ["extract_sources"]

_PYRAMID: NDArray[np.float32] = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=np.float32)
"""Default filter of SExtractor, 3 x 3 pixels."""
_SUB_OBJECTS = 20_000
"""Parts of a blend that sep may try; its own limit, 1024, is too small for a globular cluster."""
_USUAL_PIXELS = 150_000
"""Pixels of sources for which room is made at first: sep clears all of it at each call."""
_EXCEEDED = ("internal pixel buffer full", "deblending overflow")
"""What sep says where that is too little."""
_STACK_PER_PIXEL = 2
"""Size of the stack of sep in pixels of the window: more than it ever needs."""
_LIMITS = threading.Lock()


def extract_sources(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_] | None,
    threshold: NDArray[np.float32] | np.float32 | float,
    *,
    kernel: NDArray[np.float32] | None = _PYRAMID,
    minimum_area: int = 5,
    contrast: float = 0.005,
    levels: int = 16,
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Run sep on a sky-subtracted window, with limits that a crowded window does not exceed.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (ny, nx)
        Sky-subtracted pixels.
    bad : numpy.ndarray of bool, shape (ny, nx), or None
        True marks unusable pixels.
    threshold : float or numpy.ndarray, shape (ny, nx)
        Detection threshold on the filtered window, in image units.
    kernel : numpy.ndarray or None
        Filter; None finds sources in the pixels as they are.
    minimum_area : int
        Smallest number of pixels above the threshold.
    contrast : float
        Fraction of the flux that a blended part must have to be split off; 1 splits nothing.
    levels : int
        Number of levels at which blends are looked for.

    Returns
    -------
    objects : numpy.ndarray
        Structured array of `sep.extract`.
    segments : numpy.ndarray of int32, shape (ny, nx)
        Number of the source of each pixel, counted from 1; 0 for the sky.

    Notes
    -----
    sep is the code of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393; Barbary 2016, JOSS 1, 58).
    Image segmentation and deblending of photutils find the same sources (145 of 145, and 1310 of
    1309, on simulated fields of 150 and 1500 stars), at 7 times the time.
    """
    settings: dict[str, Any] = {
        "err": threshold,
        "mask": bad,
        "minarea": minimum_area,
        "filter_kernel": kernel,
        "filter_type": "conv",
        "deblend_nthresh": levels,
        "deblend_cont": contrast,
        "clean": False,
        "segmentation_map": True,
    }
    # Its own limits make sep several times as fast; few windows exceed them.
    for pixels in (_USUAL_PIXELS, values.size):
        with _raised_limits(pixels):
            try:
                objects, segments = sep.extract(values, 1.0, **settings)
            except Exception as error:
                if pixels == values.size or not any(text in str(error) for text in _EXCEEDED):
                    raise
            else:
                break
    return objects, segments


@contextmanager
def _raised_limits(pixels: int) -> Iterator[None]:
    """Raise the limits of sep, which belong to the whole process, and restore them afterwards."""
    with _LIMITS:
        stack, sub_objects = sep.get_extract_pixstack(), sep.get_sub_object_limit()
        sep.set_extract_pixstack(max(stack, _STACK_PER_PIXEL * pixels))
        sep.set_sub_object_limit(max(sub_objects, _SUB_OBJECTS))
        try:
            yield
        finally:
            sep.set_extract_pixstack(stack)
            sep.set_sub_object_limit(sub_objects)
