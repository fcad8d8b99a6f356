"""Networks of other projects, from the files that users have."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import torch

from astro_sr_plugin.models.checkpoint import file_digest
from astro_sr_plugin.models.diffusion.model import as_model
from astro_sr_plugin.models.external.convolutional import (
    find_dncnn,
    find_fast,
    find_srcnn,
    find_srvgg,
)
from astro_sr_plugin.models.external.dense import find_next, find_rrdb
from astro_sr_plugin.models.external.diffusion import find_sr3
from astro_sr_plugin.models.external.files import PICKLED, read_folder, read_state, unreadable
from astro_sr_plugin.models.external.layout import PICTURES, Config, Layout, State
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.external.ncnn import read_ncnn
from astro_sr_plugin.models.external.onnx_network import load_onnx
from astro_sr_plugin.models.external.other_architectures import find_with_spandrel
from astro_sr_plugin.models.external.windowed import find_swin2sr
from astro_sr_plugin.models.spec import Entry, ModelSpec, refuse_condition

__all__ = ["ExternalNetworks"]

_LAYOUTS = (
    *(find_next, find_rrdb, find_fast, find_srvgg),
    *(find_srcnn, find_dncnn, find_swin2sr, find_sr3),
)
"""What recognises a network by its weights, in this order."""

_ONNX = ".onnx"
"""Ending of ONNX files."""

_NCNN = ".param"
"""Ending of the files of ncnn that list the layers; the weights lie beside them in ``.bin``."""

_LONGEST_REASON = 300
"""Characters of the list of weights that do not fit."""

_SHOWN_NAMES = 6
"""Names of weights that the error about an unknown network shows."""


class ExternalNetworks:
    """Published architectures, recognised by the names and shapes of their weights."""

    def entries(self) -> list[Entry]:
        """Return nothing: none is shipped."""
        return []

    def detect(self, path: Path) -> bool:
        """Return whether a path is a folder, or has the ending of a file of weights."""
        return path.is_dir() or path.suffix.lower() in (
            *(*PICKLED, ".safetensors"),
            *(_ONNX, _NCNN),
        )

    def load(self, path: Path, condition: Path | None = None) -> list[Entry]:
        """Return the models of a file: one, or one for each scale that it serves for.

        Parameters
        ----------
        path : Path
            The weights, or a folder of Hugging Face.
        condition : Path, optional
            The vectors of a conditioned network.

        Raises
        ------
        ModelError
            If the file is damaged, holds code, or is of an unknown network.
        """
        if path.suffix.lower() == _ONNX:
            refuse_condition(condition, "an ONNX file")
            return load_onnx(path)
        file, config = read_folder(path) if path.is_dir() else (path, {})
        listed = file.with_suffix(_NCNN).is_file() and file.suffix.lower() in (_NCNN, ".bin")
        state = read_ncnn(file) if listed else read_state(file)
        layouts = _recognise(path, state, config)
        if condition is not None and layouts[0].steer is not None:
            layouts = [layouts[0].steer(condition)]
        else:
            refuse_condition(condition, layouts[0].architecture)
        weights = file.with_suffix(".bin") if listed else file
        entries = []
        for layout in layouts:
            spec = _describe(path, layout, weights)
            entries.append(Entry(spec, partial(_build, path, layout, spec)))
        return entries


def _recognise(path: Path, state: State, config: Config) -> list[Layout]:
    try:
        for find in _LAYOUTS:
            if layouts := find(state, path.name, config):
                return layouts
    except ValueError as error:
        raise unreadable(path, str(error)) from error
    if layouts := find_with_spandrel(path, state):
        return layouts
    names = sorted(state)
    shown = ", ".join(f"{n} {tuple(state[n].shape)}" for n in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    reason = f"its network is not known; it has the weights {shown}{more}"
    if find_spec("spandrel") is None:
        reason += "; pip install 'astro_sr_plugin[models]' for more architectures"
    raise unreadable(path, reason)


def _describe(path: Path, layout: Layout, weights: Path) -> ModelSpec:
    halo = -(-layout.halo // layout.multiple_of) * layout.multiple_of
    return ModelSpec(
        name=path.stem,
        task=layout.task,
        description=" ".join((f"{layout.architecture} from {path.name}.", *layout.notes)),
        architecture=layout.architecture,
        scale=layout.scale,
        channels_in=layout.channels_in,
        channels_out=layout.channels_out,
        domain="unit",
        needs_psf=False,
        min_size=max(layout.min_size, layout.multiple_of),
        halo=halo,
        tiling=layout.tiling,
        multiple_of=layout.multiple_of,
        license="not stated",
        sha256=file_digest(weights),
        size=weights.stat().st_size,
        trained_on=PICTURES,
    )


def _build(path: Path, layout: Layout, spec: ModelSpec) -> ExternalModel:
    if layout.state is None:
        module = layout.build()
    else:
        with torch.device("meta"):
            module = layout.build()
        try:
            module.load_state_dict(layout.state, strict=True, assign=True)
        except RuntimeError as error:
            reason = shorten(" ".join(str(error).split()[5:]), _LONGEST_REASON)
            raise unreadable(path, f"it is not a whole {layout.architecture}: {reason}") from error
    module.eval().requires_grad_(False)
    return as_model(
        spec,
        module,
        window=layout.window,
        size_multiple=layout.multiple_of,
        notes=layout.notes,
    )
