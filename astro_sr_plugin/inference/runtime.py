"""Settings of a run of a model: device, precision, tiles, progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from astro_sr_plugin.exceptions import InputError

__all__ = ["DEVICES", "Runtime"]

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Runtime:
    """How a model is run; no field changes the result beyond float rounding.

    Attributes
    ----------
    device : {'auto', 'cpu', 'cuda', 'mps'}
        Where the model runs; ``"auto"`` takes a GPU where there is one. ``"cuda:1"`` picks one.
    dtype : {'float32', 'bfloat16'}, optional
        Precision of the convolutions; float32 unless given. bfloat16 is faster on recent hardware
        and moves the result by a few thousandths of the noise.
    tile_size : int, optional
        Side of a tile in input pixels, at least 16; by default as memory allows.
    overlap : int, optional
        Input pixels that neighbouring tiles share at least, 0 or more; never less than the model
        needs.
    progress : callable, optional
        Called as ``progress(done, total)`` with the numbers of tiles.
    reuse_memory : bool
        Whether memory freed after a tile stays in the process until the end of the plane. It saves
        up to a third of the time on CPUs, with the GNU C library only, and changes a setting of the
        whole process meanwhile: the command line uses it, a program with other work may not want
        to.

    Raises
    ------
    InputError
        If a field is out of its range.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> runtime = asr.Runtime(device="cpu", tile_size=512)
    >>> runtime.tile_size
    512
    """

    device: str = "auto"
    dtype: str | None = None
    tile_size: int | None = None
    overlap: int | None = None
    progress: Callable[[int, int], None] | None = None
    reuse_memory: bool = False

    def __post_init__(self) -> None:
        if self.device.split(":")[0] not in DEVICES:
            msg = f"device={self.device!r} is not known; allowed are {', '.join(DEVICES)}"
            raise InputError(msg)
        if self.dtype not in (None, "float32", "bfloat16"):
            msg = f"dtype={self.dtype!r} is not offered; allowed are 'float32' and 'bfloat16'"
            raise InputError(msg)
        if self.tile_size is not None and self.tile_size < 16:
            msg = f"tile_size={self.tile_size} is too small; allowed is 16 or more"
            raise InputError(msg)
        if self.overlap is not None and self.overlap < 0:
            msg = f"overlap={self.overlap} is negative; allowed is 0 or more"
            raise InputError(msg)
