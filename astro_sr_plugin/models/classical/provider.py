"""The classical methods by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from astro_sr_plugin.models.classical.bicubic import BicubicModel
from astro_sr_plugin.models.classical.richardson_lucy import RichardsonLucyModel
from astro_sr_plugin.models.classical.wiener import WienerModel
from astro_sr_plugin.models.spec import Entry, Model, ModelSpec
from astro_sr_plugin.tasks import TASKS

__all__ = ["ClassicalModels"]


class ClassicalModels:
    """Methods without training; they have no files."""

    def entries(self) -> list[Entry]:
        """Return the methods, one entry for each task and scale."""
        scales = TASKS["super-resolve"].scales
        return [
            _entry(
                WienerModel,
                name="wiener",
                task="deconvolve",
                description="Linear Wiener filter to the target PSF; no training, keeps the noise "
                "honest.",
            ),
            _entry(
                WienerModel,
                name="wiener",
                task="denoise",
                description="Linear Wiener filter that keeps the PSF; no training.",
            ),
            *(
                _entry(
                    WienerModel,
                    name="wiener",
                    task="super-resolve",
                    description="Linear Wiener filter to the target PSF on the finer grid; no "
                    "training.",
                    scale=scale,
                )
                for scale in scales
            ),
            _entry(
                RichardsonLucyModel,
                name="richardson-lucy",
                task="deconvolve",
                description="20 Richardson-Lucy iterations to the target PSF; no training.",
            ),
            *(
                _entry(
                    BicubicModel,
                    name="bicubic",
                    task="super-resolve",
                    description="Bicubic interpolation: larger, not sharper.",
                    scale=scale,
                    needs_psf=False,
                )
                for scale in scales
            ),
        ]

    def detect(self, path: Path) -> bool:
        """Return False: no file holds a classical method."""
        del path
        return False

    def load(self, path: Path, condition: Path | None = None) -> list[Entry]:
        """Return nothing, see `detect`."""
        del path, condition
        return []


def _entry(
    method: Callable[[ModelSpec], Model],
    *,
    name: str,
    task: str,
    description: str,
    scale: int = 1,
    needs_psf: bool = True,
) -> Entry:
    spec = ModelSpec(
        name=name,
        task=task,
        description=description,
        architecture=method.__name__,  # type: ignore[attr-defined]
        scale=scale,
        needs_psf=needs_psf,
    )
    return Entry(spec, lambda: method(spec))
