"""Which networks of residual-in-residual dense blocks weights belong to: ESRGAN, AstroSleuth."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from astro_sr_plugin.models.astrosleuth import AstroSleuthNext
from astro_sr_plugin.models.external.condition import read_condition
from astro_sr_plugin.models.external.layout import (
    Config,
    Layout,
    State,
    check_width,
    count_blocks,
    halo_of,
    shape_of,
)
from astro_sr_plugin.models.rrdb import RRDBNet

__all__ = ["find_next", "find_rrdb"]

_FOLDS = {1: 1, 4: 2, 16: 4}
"""Side of the squares that are folded into channels, by planes taken over planes returned."""

_MOST_DOUBLINGS = 3
"""Doublings of the largest network of this kind that is published, x8."""

_NOTE_NEXT = (
    "It runs unconditioned: the vectors that steer AstroSleuth NEXT are not in its file; give them "
    "with condition=FILE, such as the conds.json of AstroSleuth."
)

_NOTE_CONDITIONED = (
    "Steered by vectors, the result of a pixel depends on the whole image, which is run at once."
)


def find_rrdb(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise RRDB by the names of Real-ESRGAN, of ESRGAN, or of the first files of ESRGAN."""
    del name, config
    state = _rename(state)
    if "conv_first.weight" not in state or "body.0.rdb1.conv1.weight" not in state:
        return []
    blocks, width, growth = _measure_trunk(state)
    taken, returned = (
        shape_of(state, "conv_first.weight")[1],
        shape_of(state, "conv_last.weight")[0],
    )
    doublings = sum(f"conv_up{n}.weight" in state for n in range(1, _MOST_DOUBLINGS + 2))
    fold = _FOLDS.get(taken // returned, 0) if taken % returned == 0 else 0
    if not fold or returned not in (1, 3) or 2**doublings < fold or doublings > _MOST_DOUBLINGS:
        msg = (
            f"it takes {taken} planes, returns {returned} and doubles them {doublings} times; "
            "allowed are networks of 1 or 3 planes, folded by 1, 2 or 4, doubled up to "
            f"{_MOST_DOUBLINGS} times"
        )
        raise ValueError(msg)
    build = partial(RRDBNet, returned, returned, width, growth, blocks, doublings, fold)
    scale = 2**doublings // fold
    return [
        Layout(
            architecture=f"RRDB-{blocks}",
            task="super-resolve" if scale > 1 else "deconvolve",
            scale=scale,
            channels_in=returned,
            channels_out=returned,
            halo=halo_of(build),
            build=build,
            state=state,
            multiple_of=fold,
        )
    ]


def find_next(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise AstroSleuth NEXT: RRDB whose blocks have ConvNeXt blocks beside them.

    It has to be asked before `find_rrdb`, whose names are among its names.
    """
    del name, config
    if "body.0.block.dwconv.weight" not in state or "l1.weight" not in state:
        return []
    blocks, width, growth = _measure_trunk(state)
    build = partial(AstroSleuthNext, width, growth, blocks)
    plain = Layout(
        architecture="AstroSleuth NEXT",
        task="super-resolve",
        scale=4,
        channels_in=3,
        channels_out=3,
        halo=halo_of(build),
        build=build,
        state=state,
        notes=(_NOTE_NEXT,),
    )

    def steer(path: Path) -> Layout:
        vector, strength = read_condition(path)
        conditioned = partial(build, condition=vector, strength=strength)
        return replace(plain, build=conditioned, tiling="whole", notes=(_NOTE_CONDITIONED,))

    return [replace(plain, steer=steer)]


def _measure_trunk(state: State) -> tuple[int, int, int]:
    """Return the number of blocks, their width and their growth."""
    blocks = count_blocks(state, "body.")
    width = shape_of(state, "conv_first.weight")[0]
    growth = shape_of(state, "body.0.rdb1.conv1.weight")[0]
    check_width(width, growth)
    return blocks, width, growth


def _rename(state: State) -> State:
    """Return the weights under the names of Real-ESRGAN."""
    if "model.0.weight" in state and "model.1.sub.0.RDB1.conv1.0.weight" in state:
        state = _rename_numbered(state)
    if "RRDB_trunk.0.RDB1.conv1.weight" not in state:
        return state
    renamed = {}
    for key, tensor in state.items():
        key = re.sub(r"^RRDB_trunk\.(\d+)\.RDB([123])\.", r"body.\1.rdb\2.", key)
        for old, new in (("trunk_conv", "conv_body"), ("HRconv", "conv_hr")):
            key = key.replace(old, new)
        renamed[re.sub(r"^upconv([1-9])\.", r"conv_up\1.", key)] = tensor
    return renamed


def _rename_numbered(state: State) -> State:
    """Return weights that are named by their place in a sequence under the names of ESRGAN."""
    places = sorted({int(m[1]) for key in state if (m := re.match(r"model\.(\d{1,3})\.", key))})
    tail = [f"model.{place}." for place in places if place > 1]
    if len(tail) < len(("HRconv", "conv_last")):
        return state
    heads = [f"upconv{n}." for n in range(1, len(tail) - 1)] + ["HRconv.", "conv_last."]
    outer = dict(zip(tail, heads, strict=True)) | {"model.0.": "conv_first."}
    blocks = {int(m[1]) for key in state if (m := re.match(r"model\.1\.sub\.(\d{1,3})\.", key))}
    outer[f"model.1.sub.{max(blocks)}."] = "trunk_conv."
    renamed = {}
    for key, tensor in state.items():
        for old, new in outer.items():
            if key.startswith(old):
                key = new + key[len(old) :]
        key = re.sub(
            r"^model\.1\.sub\.(\d+)\.(RDB[123]\.conv[1-5])\.0\.", r"RRDB_trunk.\1.\2.", key
        )
        renamed[key] = tensor
    return renamed
