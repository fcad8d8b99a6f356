"""Finders of cosmic rays that others made: LA Cosmic."""

from __future__ import annotations

from collections.abc import Callable

import astroscrappy
import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.scene import Scene
from benchmarks.truth.star_fields import CAMERA

__all__ = ["COSMIC_RAY_FINDERS"]

Found = tuple[NDArray[np.bool_], NDArray[np.floating]]


def _la_cosmic(scene: Scene) -> Found:
    """Run LA Cosmic (astroscrappy) with the camera as it is; of its settings, those by default."""
    mask, clean = astroscrappy.detect_cosmics(
        scene.observed.astype(np.float32),
        gain=CAMERA.gain,
        readnoise=CAMERA.readnoise,
        satlevel=np.inf if not scene.excluded.any() else float(scene.observed.max()) * CAMERA.gain,
    )
    return np.asarray(mask, bool), np.asarray(clean) / CAMERA.gain


COSMIC_RAY_FINDERS: dict[str, Callable[[Scene], Found]] = {"LA Cosmic": _la_cosmic}
"""Functions of a scene that return the mask of cosmic rays and the image without them."""
