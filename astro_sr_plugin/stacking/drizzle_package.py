"""The package drizzle, which is not installed with every copy of this one."""

from __future__ import annotations

from types import ModuleType

from astro_sr_plugin.exceptions import InputError

__all__ = ["FAR_AWAY", "load_drizzle"]

FAR_AWAY = -1e6
"""Place of pixels that fall onto nothing."""


def load_drizzle() -> ModuleType:
    """Import ``drizzle.resample``; raise InputError where the package is missing."""
    try:
        import drizzle.resample
    except ImportError as error:
        msg = "drizzle needs the package 'drizzle': pip install 'astro_sr_plugin[drizzle]'"
        raise InputError(msg) from error
    module: ModuleType = drizzle.resample
    return module
