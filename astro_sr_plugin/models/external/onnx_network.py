"""Networks in ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import file_digest
from astro_sr_plugin.models.external.files import first_line, unreadable
from astro_sr_plugin.models.external.layout import PICTURES
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.external.onnx_graph import OnnxGraph, read_graph
from astro_sr_plugin.models.spec import Entry, ModelSpec, Tiling
from astro_sr_plugin.tasks import TASKS

__all__ = ["load_onnx"]

_HALO = 64
"""Input pixels around a tile where neither the file nor its operators say how far it looks."""

_SIDE = 64
"""Side in pixels of the images that a network of any size is tried on."""

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
"""What heights and widths may have to be multiples of."""

_LARGEST_SCALE = 8
"""Largest scale that is accepted."""

_MOST_PIXELS = 4096**2
"""Pixels of the image that a network of a fixed size takes."""


class _Session(nn.Module):
    """A network that ONNX Runtime runs, as a module of PyTorch."""

    def __init__(self, session: Any, graph: OnnxGraph) -> None:
        super().__init__()
        self.session, self.graph = session, graph

    def __deepcopy__(self, memo: dict[int, Any]) -> _Session:
        """Return itself: it has no weights on a device, and keeps nothing between calls."""
        del memo
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Run a batch, image by image where the file allows one at a time only."""
        kind = np.float16 if self.graph.half else np.float32
        batch = np.ascontiguousarray(image.detach().cpu().numpy(), dtype=kind)
        step = self.graph.shape[0] or len(batch)
        results = [
            self.session.run([self.graph.returned], {self.graph.taken: batch[k : k + step]})[0]
            for k in range(0, len(batch), step)
        ]
        return torch.from_numpy(np.concatenate(results)).float().to(image.device)


class _Windows(nn.Module):
    """A network of one fixed size on images of any: windows that overlap by the halo.

    Windows lie on a grid that starts with the image, so that tiles that start at multiples of
    `core` give what the whole image gives.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int], halo: int, scale: int) -> None:
        super().__init__()
        self.network, self.size, self.halo, self.scale = network, size, halo, scale

    @property
    def core(self) -> int:
        """Rows and columns from one window to the next, the same for oblong windows."""
        return min(self.size) - 2 * self.halo

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch of shape (B, C, H, W)."""
        counts = [
            max(1, math.ceil((length - 2 * self.halo) / self.core)) for length in image.shape[-2:]
        ]
        need = [(n - 1) * self.core + size for n, size in zip(counts, self.size, strict=True)]
        lower, right = (n - length for n, length in zip(need, image.shape[-2:], strict=True))
        padded = F.pad(image, (0, right, 0, lower), mode="replicate")
        rows = [self._row(padded, number, counts) for number in range(counts[0])]
        height, width = (length * self.scale for length in image.shape[-2:])
        return torch.cat(rows, -2)[..., :height, :width]

    def _row(self, image: Tensor, row: int, counts: list[int]) -> Tensor:
        parts = []
        for column in range(counts[1]):
            window = image
            slices = []
            for axis, number in ((-2, row), (-1, column)):
                window = window.narrow(axis, number * self.core, self.size[axis])
                # At the rim of the image there is nothing better than the halo itself.
                first = 0 if number == 0 else self.halo
                last = self.size[axis] if number == counts[axis] - 1 else self.halo + self.core
                slices.append(slice(first * self.scale, last * self.scale))
            parts.append(self.network(window)[..., slices[0], slices[1]])
        return torch.cat(parts, -1)


def load_onnx(path: Path) -> list[Entry]:
    """Load a network from an ONNX file.

    Parameters
    ----------
    path : Path
        A network from one batch of images (N, C, H, W) to one, of any size or of a fixed one.

    Returns
    -------
    list of Entry
        One, of an `ExternalModel`.

    Raises
    ------
    ModelError
        If ONNX Runtime is not installed, or the file cannot be used.
    """
    if not path.is_file():
        raise unreadable(path, "no such file")
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        reason = "ONNX Runtime is not installed; pip install 'astro_sr_plugin[onnx]'"
        raise unreadable(path, reason) from error
    del onnx
    try:
        graph = read_graph(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        # The fallback would print to the standard output, where results may go.
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        model = _describe(path, graph, _Session(session, graph))
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has a class for each kind of error
        raise unreadable(path, first_line(error)) from error
    return [Entry(model.spec, lambda: model)]


def _describe(path: Path, graph: OnnxGraph, network: nn.Module) -> ExternalModel:
    _, planes, height, width = graph.shape
    if planes not in (1, 3, None) or (height is None) != (width is None):
        msg = f"it takes images of {planes} planes, {height} x {width}; allowed are 1 or 3 planes"
        raise ValueError(msg)
    planes = planes or 3
    noted = graph.metadata
    if noted.get("domain", "unit") != "unit":
        msg = f"it works on images of domain {noted['domain']!r}; allowed are display images"
        raise ValueError(msg)
    halo = _noted_number(noted, "halo", graph.reach)
    tiling: Tiling = "exact"
    notes: tuple[str, ...] = ()
    if halo is None:
        halo, tiling = _HALO, "overlap"
        notes = (f"The file does not say how far the network looks; {_HALO} pixels are assumed.",)
    window, multiple = 1, 1
    if height is not None and width is not None:
        returned, scale = _try_fixed(network, planes, (height, width))
        # Windows of a fixed size can't overlap by more than leaves half of them.
        limit = min(height, width) // 4
        if halo > limit:
            halo, tiling = limit, "overlap"
        network = _Windows(network, (height, width), halo, scale)
        window = network.core
    else:
        multiple = _noted_number(noted, "multiple_of", None) or _find_multiple(network, planes)
        returned, scale = _try(network, planes, (_SIDE, _SIDE))
    task = noted.get("task", "super-resolve" if scale > 1 else "deconvolve")
    spec = ModelSpec(
        name=path.stem,
        task=task if task in TASKS else "deconvolve",
        description=" ".join((f"ONNX network from {path.name}.", *notes)),
        architecture=f"ONNX {height} x {width}" if height else "ONNX",
        scale=scale,
        channels_in=planes,
        channels_out=returned,
        domain="unit",
        needs_psf=False,
        min_size=multiple,
        halo=-(-halo // multiple) * multiple,
        tiling=tiling,
        multiple_of=math.lcm(window, multiple),
        license=noted.get("license", "not stated"),
        sha256=file_digest(path),
        size=path.stat().st_size,
        trained_on=PICTURES,
    )
    return ExternalModel(
        spec, network.eval(), graph.parameters, window=window, size_multiple=multiple, notes=notes
    )


def _noted_number(metadata: dict[str, str], name: str, default: int | None) -> int | None:
    text = metadata.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= 4 else default


def _try(network: nn.Module, planes: int, size: tuple[int, int]) -> tuple[int, int]:
    """Run a black image, and return the number of planes of the result and the scale.

    Raises
    ------
    ValueError
        If the result is no enlarged image.
    """
    result = network(torch.zeros(1, planes, *size))
    scale = result.shape[-1] // size[1] if result.ndim == 4 else 0
    enlarged = (scale * size[0], scale * size[1])
    if tuple(result.shape[-2:]) != enlarged or not 1 <= scale <= _LARGEST_SCALE:
        msg = (
            f"it makes {tuple(result.shape)} of an image of {size[0]} x {size[1]}; allowed are "
            f"whole enlargements by up to {_LARGEST_SCALE}"
        )
        raise ValueError(msg)
    return result.shape[1], scale


def _try_fixed(network: nn.Module, planes: int, size: tuple[int, int]) -> tuple[int, int]:
    if size[0] * size[1] > _MOST_PIXELS or min(size) < 8:
        msg = f"it takes images of {size[0]} x {size[1]}; allowed are up to {_MOST_PIXELS} pixels"
        raise ValueError(msg)
    return _try(network, planes, size)


def _find_multiple(network: nn.Module, planes: int) -> int:
    """Return the least number of which heights and widths have to be multiples."""
    for multiple in _MULTIPLES[:-1]:
        try:
            _try(network, planes, (_SIDE + multiple, _SIDE + 3 * multiple))
        except Exception:  # noqa: BLE001, PERF203 - any error means that it does not fit
            continue
        return multiple
    return _MULTIPLES[-1]
