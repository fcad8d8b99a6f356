"""Finished steps of a stack, kept on the disk so that an interrupted one goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.data.output import finish, make_folder, part_of, write_errors
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.fine_samples import Block
from astro_sr_plugin.stacking.measuring import FrameMeasurement, Sky

__all__ = ["Checkpoints", "identify"]

Item = TypeVar("Item")
Found = TypeVar("Found")
Solved = tuple[list[Combined], list[tuple[float, float]]]
"""Planes of a block, and the noise of its tiles."""

_IDENTITY = "identity.json"
_MESHES = ("mesh", "rms_mesh", "y_nodes", "x_nodes")


def identify(names: list[str], settings: Mapping[str, Any]) -> str:
    """Return a number that changes with the files, their content and the settings.

    Parameters
    ----------
    names : list of str
        Files; a name that is none stands for itself.
    settings : mapping
        What the result depends on beside.
    """
    found: list[list[str | int]] = []
    for name in names:
        try:
            status = os.stat(name)
        except OSError:
            found.append([name])
        else:
            found.append([os.path.abspath(name), status.st_size, status.st_mtime_ns])
    text = json.dumps([found, dict(settings)], sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()


class Checkpoints:
    """A folder of finished steps.

    Parameters
    ----------
    folder : Path
        Made if it does not exist. Steps of another stack in it are removed.
    identity : str
        Of `identify`.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        make_folder(folder)
        place = folder / _IDENTITY
        if not place.exists() or json.loads(place.read_text()) != identity:
            self.clear()
            make_folder(folder)
            place.write_text(json.dumps(identity))

    def clear(self) -> None:
        """Remove the steps, and the folder if nothing else is in it."""
        for path in [*self.folder.glob("*.npz"), self.folder / _IDENTITY]:
            path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def load_measurement(self, number: int) -> FrameMeasurement | str | None:
        """Return what was measured on a frame, why it cannot be used, or None if neither is."""
        arrays = self._load(f"frame_{number:05d}")
        if arrays is None:
            return None
        if "reason" in arrays:
            return str(arrays["reason"])
        skies = []
        for k in range(int(arrays["skies"])):
            shape = tuple(int(n) for n in arrays[f"shape_{k}"])
            level, rms = (float(v) for v in arrays[f"level_{k}"])
            meshes = [arrays[f"{name}_{k}"] for name in _MESHES]
            place = (int(v) for v in arrays[f"place_{k}"])
            skies.append(Sky(Background(shape, level, rms, *meshes), *place))  # type: ignore[arg-type]
        columns = json.loads(str(arrays["columns"]))
        stars = Table({name: arrays[f"star_{name}"] for name in columns})
        stars.meta.update(json.loads(str(arrays["meta"])))
        fwhm, ellipticity, saturation = (float(v) for v in arrays["figures"])
        return FrameMeasurement(
            tuple(skies), arrays["noise"], stars, fwhm, ellipticity, arrays["excluded"], saturation
        )

    def save_measurement(self, number: int, measured: FrameMeasurement | str) -> None:
        """Keep what was measured on a frame, or why it cannot be used."""
        name = f"frame_{number:05d}"
        if isinstance(measured, str):
            self._save(name, reason=np.array(measured))
            return
        arrays: dict[str, Any] = {"skies": len(measured.sky)}
        for k, sky in enumerate(measured.sky):
            found = sky.background
            arrays[f"shape_{k}"] = found.shape
            arrays[f"level_{k}"] = (found.level, found.rms)
            arrays[f"place_{k}"] = (sky.step, sky.x, sky.y)
            arrays |= {f"{mesh}_{k}": getattr(found, mesh) for mesh in _MESHES}
        stars = measured.stars
        arrays |= {f"star_{column}": np.asarray(stars[column]) for column in stars.colnames}
        self._save(
            name,
            **arrays,
            columns=np.array(json.dumps(stars.colnames)),
            meta=np.array(json.dumps(dict(stars.meta), default=_plain)),
            figures=(measured.fwhm, measured.ellipticity, measured.saturation),
            noise=measured.noise,
            excluded=measured.excluded,
        )

    def load_band(self, rows: tuple[int, int]) -> list[Combined] | None:
        """Return the planes of a band, or None if they are not there."""
        arrays = self._load(f"band_{rows[0]:06d}")
        if arrays is None or int(arrays["last"]) != rows[1]:
            return None
        return _planes_of(arrays)

    def save_band(self, rows: tuple[int, int], planes: list[Combined]) -> None:
        """Keep the planes of a band."""
        self._save(f"band_{rows[0]:06d}", last=rows[1], **_stacked(planes))

    def resumed(
        self,
        items: Sequence[Item],
        load: Callable[[Item], Found | None],
        save: Callable[[Item, Found], None],
        run: Callable[[Sequence[Item]], Iterable[tuple[Item, Found]]],
    ) -> Iterator[tuple[Item, Found]]:
        """Yield items with what is kept of them, then the others, which are kept too."""
        todo = []
        for item in items:
            found = load(item)
            if found is None:
                todo.append(item)
            else:
                yield item, found
        for item, new in run(todo):
            save(item, new)
            yield item, new

    def load_block(self, block: Block) -> Solved | None:
        """Return a block of a super-resolved image as it was solved, or None if it is not there."""
        arrays = self._load(f"block_{block[0]:06d}_{block[2]:06d}")
        if arrays is None or tuple(arrays["block"].tolist()) != block:
            return None
        return _planes_of(arrays), [(float(a), float(b)) for a, b in arrays["noises"]]

    def save_block(self, block: Block, solved: Solved) -> None:
        """Keep a block of a super-resolved image."""
        planes, noises = solved
        name = f"block_{block[0]:06d}_{block[2]:06d}"
        self._save(name, block=block, noises=noises, **_stacked(planes))

    def _load(self, name: str) -> dict[str, NDArray[Any]] | None:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def _save(self, name: str, /, **arrays: Any) -> None:
        path = self.folder / f"{name}.npz"
        part = part_of(path)
        try:
            with write_errors(path), part.open("wb") as stream:
                np.savez(stream, **arrays)
            with write_errors(path):
                finish(part, path)
        finally:
            part.unlink(missing_ok=True)


def _stacked(planes: list[Combined]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([getattr(p, name) for p in planes]) for name in Combined._fields}


def _planes_of(arrays: Mapping[str, NDArray[Any]]) -> list[Combined]:
    planes = [arrays[name] for name in Combined._fields]
    return [Combined(*values) for values in zip(*planes, strict=True)]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
