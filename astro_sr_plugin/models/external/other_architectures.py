"""Architectures that only the package spandrel knows, built from weights that were read safely."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from astro_sr_plugin.models.external.files import first_line, unreadable
from astro_sr_plugin.models.external.layout import Layout, State

__all__ = ["find_with_spandrel"]

_HALO = 64
"""Input pixels around a tile; the architectures do not say how far they look."""

_NOTE = f"How far the network looks is not known; {_HALO} pixels are assumed around a tile."

_NOTE_WHOLE = "Its result changes with the size of tiles, so that the image is run at once."

_DENOISERS = ("DnCNN", "SCUNet")
"""Architectures of denoisers."""

_PLANES = (1, 3)
"""Planes that a network may take."""

_STAND_IN = "torchvision.transforms.functional"
"""What spandrel imports of torchvision: three names that no architecture for images uses."""


def find_with_spandrel(path: Path, state: State) -> list[Layout]:
    """Ask spandrel for the network of some weights.

    Parameters
    ----------
    path : Path
        The file, for messages.
    state : dict of Tensor
        Its weights.

    Returns
    -------
    list of Layout
        One; empty if spandrel is not installed or does not know the network.

    Raises
    ------
    ModelError
        If spandrel knows the network, but cannot build it, or it is not one from image to image.
    """
    try:
        with _torchvision():
            import spandrel
    except ImportError:
        return []
    try:
        found = spandrel.MAIN_REGISTRY.load(spandrel.canonicalize_state_dict(dict(state)))
    except spandrel.UnsupportedModelError:
        return []
    except Exception as error:  # noqa: BLE001 - built from what a file says, anything may fail
        reason = f"spandrel cannot build its network: {first_line(error)}"
        raise unreadable(path, reason) from error
    name = found.architecture.name
    sizes = found.size_requirements
    if not isinstance(found, spandrel.ImageModelDescriptor) or sizes.square:
        raise unreadable(path, f"{name} is no network from an image to an image of any size")
    if found.input_channels not in _PLANES or found.output_channels != found.input_channels:
        planes = f"{found.input_channels} planes to {found.output_channels}"
        raise unreadable(path, f"{name} works from {planes}; allowed are 1 or 3 planes to as many")
    module = found.model.eval().float()
    _try(path, name, module, found)
    whole = found.tiling != spandrel.ModelTiling.SUPPORTED
    denoises = found.architecture.id in _DENOISERS
    return [
        Layout(
            architecture=name,
            task="super-resolve" if found.scale > 1 else "denoise" if denoises else "deconvolve",
            scale=found.scale,
            channels_in=found.input_channels,
            channels_out=found.output_channels,
            halo=_HALO,
            build=lambda: module,
            state=None,
            multiple_of=max(1, sizes.multiple_of),
            min_size=max(1, sizes.minimum),
            tiling="whole" if whole else "overlap",
            notes=(_NOTE_WHOLE if whole else _NOTE,),
        )
    ]


def _try(path: Path, name: str, module: nn.Module, found: Any) -> None:
    """Run a small black image: some networks need more, such as a map of the noise."""
    multiple = max(1, found.size_requirements.multiple_of)
    side = -(-max(32, found.size_requirements.minimum) // multiple) * multiple
    try:
        with torch.inference_mode():
            result = module(torch.zeros(1, found.input_channels, side, side))
        shape = tuple(result.shape)
    except Exception as error:  # noqa: BLE001 - see above
        raise unreadable(path, f"{name} needs more than an image") from error
    if shape != (1, found.output_channels, side * found.scale, side * found.scale):
        raise unreadable(path, f"{name} makes {shape} of an image of {side} x {side}")


@contextlib.contextmanager
def _torchvision() -> Iterator[None]:
    """Stand in for torchvision where it is missing, or was built for another PyTorch.

    The stand-in is gone afterwards: other packages look for torchvision too.
    """
    before = set(sys.modules)
    try:
        importlib.import_module(_STAND_IN)
    except (ImportError, RuntimeError, AttributeError):
        _forget(before)
        modules = {}
        parts = _STAND_IN.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            modules[name] = ModuleType(name)
            if depth > 1:
                setattr(modules[".".join(parts[: depth - 1])], parts[depth - 1], modules[name])
        for name in ("InterpolationMode", "rotate", "normalize"):
            setattr(modules[_STAND_IN], name, None)
        sys.modules.update(modules)
        try:
            yield
        finally:
            _forget(before)
    else:
        yield


def _forget(before: set[str]) -> None:
    """Take modules of torchvision that were not there before out of the list of modules."""
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "torchvision":
            del sys.modules[name]
