"""Pictures of the sky for training: read with their credits, and split by object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.tones import light_of_tones
from astro_sr_plugin.training.pictures.manifest import is_held_out, read_manifest
from astro_sr_plugin.training.pictures.picture_file import read_colours

__all__ = ["Picture", "read_pictures"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as light.

    Attributes
    ----------
    light : Tensor
        Red, green and blue light, shape (3, H, W), float32; the darkest 2 % of the tones are at 0,
        the mean of the planes reaches 1 at its 98th percentile.
    object : str
        What it shows; pictures of one object are never in both parts of the split.
    """

    light: Tensor
    object: str


def read_pictures(folder: str | Path, *, validation: bool = False) -> list[Picture]:
    """Read the pictures of a folder, for training or for validation.

    The tone curve of sRGB is taken back. Pictures of a palette (of 256 colours, say) are halved, so
    that its steps average out.

    Parameters
    ----------
    folder : path
        Holds the pictures and ``manifest.csv``, a table with the columns ``file``, ``object``,
        ``credit`` and ``license``. One object of four is kept for validation.
    validation : bool
        Which of the two parts is read.

    Raises
    ------
    InputError
        If there is no such table, it lacks a column, a picture cannot be read, or there is none for
        this part.
    """
    folder = Path(folder)
    pictures = [
        Picture(_read_light(folder / row["file"]), row["object"])
        for row in read_manifest(folder)
        if is_held_out(row["object"]) == validation
    ]
    if not pictures:
        part = "validation" if validation else "training"
        msg = f"pictures folder {str(folder)!r} holds no picture for {part}"
        raise InputError(msg)
    return pictures


def _read_light(path: Path) -> Tensor:
    picture, few_colours = read_colours(path)
    light = light_of_tones(np.asarray(picture, dtype=np.float32) / 255)
    planes = torch.from_numpy(light.astype(np.float32)).permute(2, 0, 1).contiguous()
    if few_colours:
        planes = F.avg_pool2d(planes, 2)
    dark = torch.from_numpy(np.percentile(planes.numpy(), 2, axis=(1, 2)).astype(np.float32))
    planes = (planes - dark[:, None, None]).clamp_min(0)
    bright = float(np.percentile(planes.mean(0).numpy(), 98))
    return planes / bright if bright > 0 else planes
