"""Sharpen, denoise and upscale astronomical images, linear in and linear out.

The public names are loaded on first use, so that importing the package loads neither torch nor
matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "read_image": "data.formats.registry",
    "write_image": "data.formats.registry",
    "debayer": "data.debayer",
    "list_images": "data.every_image",
    "map_images": "data.every_image",
    "measure": "measurement.quality",
    "star_mask": "stars.mask",
    "denoise": "enhancement.denoise",
    "deconvolve": "enhancement.deconvolve",
    "super_resolve": "enhancement.super_resolve",
    "remove_stars": "enhancement.remove_stars",
    "audit": "validation.auditing",
    "run_batch": "batch.run",
    "Recipe": "batch.recipe",
    "list_models": "models.registry",
    "load_model": "models.registry",
    "Runtime": "inference.runtime",
    "ProgressBar": "progress",
    "apply_stretch": "stretch",
    "undo_stretch": "stretch",
    "MTFStretch": "stretch",
    "AsinhStretch": "stretch",
    "GHSStretch": "stretch",
    "LogStretch": "stretch",
    "GammaStretch": "stretch",
    "AstroSRError": "exceptions",
    "AstroSRWarning": "exceptions",
    "ImageReadError": "exceptions",
    "InputError": "exceptions",
    "ModelError": "exceptions",
    "OutOfMemoryError": "exceptions",
    "OutputError": "exceptions",
}

__all__ = [  # noqa: PLE0604
    "__version__",
    *sorted(_PUBLIC),
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
