"""Transforms of frames to one of them, by the stars that were measured in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from astropy.table import Table
from astropy.wcs import WCS

from astro_sr_plugin.registration.frames import Frame, Run, choose_reference, in_turn, match_all
from astro_sr_plugin.registration.transform import Transform

__all__ = ["Alignment", "align_stars"]

_SETTINGS: dict[str, Any] = {
    "model": "auto",
    "scale": (0.4, 2.5),
    "mirror": True,
    "use_wcs": True,
}
"""Those of `register` by default."""


class Alignment(NamedTuple):
    """Transforms of frames to one of them.

    Attributes
    ----------
    reference : int
        Number of the frame that is the reference.
    transforms : dict of int to Transform
        By the number of the frame.
    left_out : dict of int to str
        Why frames have none.
    """

    reference: int
    transforms: dict[int, Transform]
    left_out: dict[int, str]


def align_stars(
    tables: Sequence[Table],
    reference: int | None = None,
    *,
    names: Sequence[str],
    wcs: Sequence[WCS | None],
    run: Run = in_turn,
) -> Alignment:
    """Find the transforms of frames.

    Parameters
    ----------
    tables : sequence of astropy.table.Table
        Stars of each frame, of `detect_stars`.
    reference : int, optional
        Number of the frame that is the reference; chosen as in `register` by default.
    names : sequence of str
        Names of the frames, for messages.
    wcs : sequence of WCS or None
        Their world coordinates.
    run : callable
        Where the transforms are found.

    Returns
    -------
    Alignment
        The reference and the transforms.
    """
    frames = [Frame(*parts) for parts in zip(names, tables, wcs, strict=True)]
    if reference is None:
        reference, found = choose_reference(frames, _SETTINGS, run)
    else:
        found = match_all(frames, frames[reference], _SETTINGS, run)
    transforms = {k: t for k, t in found.items() if isinstance(t, Transform)}
    left_out = {k: reason for k, reason in found.items() if isinstance(reason, str)}
    return Alignment(reference, transforms, left_out)
