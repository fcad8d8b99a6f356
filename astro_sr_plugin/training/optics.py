"""The PSFs of a training run: made by simulation or read from images, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from astro_sr_plugin.simulation import (
    ObservationConfig,
    PSFBank,
    join_banks,
    make_bank,
    make_bank_of_images,
)
from astro_sr_plugin.training.config import TrainConfig

__all__ = ["observation_with_bank"]

_WIDTHS = 8
"""Widths that each measured PSF is scaled to."""
_VALIDATION = 987_654_321
"""What is added to the seed for the PSFs that a network is measured on."""
_VALIDATION_SIZE = 96
"""Simulated PSFs that a network is measured on, at most."""


def observation_with_bank(
    config: TrainConfig,
    folder: Path,
    *,
    psfs: str | Path | None = None,
    validation: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ObservationConfig:
    """Return what a run observes with, its bank of PSFs included.

    Parameters
    ----------
    config : TrainConfig
        The run; with a ``bank_size`` of 0 all PSFs are Moffat profiles.
    folder : Path
        Where the bank is kept, and read from the next time; it exists.
    psfs : path, optional
        Folder with images of measured PSFs that are added to the simulated ones, see
        `training.measured_psfs`.
    validation : bool
        Whether the bank is the one that the network is measured on: other simulated telescopes, and
        the measured PSFs of other ones.
    progress : callable, optional
        Receives how many PSFs are made, and how many there will be.
    """
    observation = config.observation_config()
    if config.bank_size == 0:
        return observation
    optics = config.optics_config()
    seed, count = config.seed, config.bank_size
    if validation:
        seed, count = seed + _VALIDATION, min(count, _VALIDATION_SIZE)
    # Whatever decides the PSFs is in the name, so that a run never takes those of another.
    label = crc32(f"{optics} {seed} {count}".encode())
    path = folder / f"optics-{label:08x}.npz"
    if path.exists():
        bank = PSFBank.load(path)
    else:
        bank = make_bank(count, seed, optics, progress)
        bank.save(path)
    if psfs is not None:
        # Images are read by astropy, which machines that train do not need otherwise.
        from astro_sr_plugin.training.measured_psfs import read_psfs

        measured = read_psfs(psfs, validation=validation)
        bank = join_banks([bank, make_bank_of_images(measured, _WIDTHS, seed, optics.fwhm)])
    return replace(observation, bank=bank)
