"""Pictures of real nebulae as structure for simulated skies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from astro_sr_plugin.exceptions import InputError

__all__ = ["load_textures"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_DISPLAY_GAMMA = 2.2
"""Exponent of the tone curve of displays, undone to get light."""


def load_textures(folder: str | Path, least_size: int) -> tuple[Tensor, ...]:
    """Load display-stretched pictures as surface brightness.

    The display gamma of 2.2 is taken back, the darkest tones become 0, and the level is that of the
    98th percentile; a texture gives structure, not photometry.

    Parameters
    ----------
    folder : str or Path
        Holds JPEG, PNG or TIFF pictures; others are passed over.
    least_size : int
        Pictures with a shorter side, in pixels, are passed over.

    Returns
    -------
    tuple of Tensor
        Each of shape (ny, nx), float32, 0 to a little above 1.

    Raises
    ------
    InputError
        If the folder is missing or holds no picture large enough.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"textures folder {str(folder)!r} does not exist"
        raise InputError(msg)
    from PIL import Image

    textures = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES):
        with Image.open(path) as picture:
            if min(picture.size) < least_size:
                continue
            tones = np.asarray(picture.convert("L"), dtype=np.float32) / 255
        light = tones**_DISPLAY_GAMMA
        low, high = np.percentile(light, [2, 98]).astype(np.float32)
        if high > low:
            textures.append(torch.from_numpy(np.maximum(light - low, 0) / (high - low)))
    if not textures:
        msg = f"textures folder {str(folder)!r} holds no picture of at least {least_size} pixels"
        raise InputError(msg)
    return tuple(textures)
