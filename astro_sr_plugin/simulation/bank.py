"""A bank of PSFs that are not Moffat profiles: made once, kept in a file, drawn from later."""

from __future__ import annotations

import math
import os
import secrets
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.simulation.moffat_fit import MoffatShape, fit_moffat
from astro_sr_plugin.simulation.pupils import (
    PSF_SIDE,
    OpticsConfig,
    draw_telescope,
    log_uniform,
    render_telescope,
)
from astro_sr_plugin.simulation.scene import OVERSAMPLE

__all__ = ["DrawnPSFs", "PSFBank", "join_banks", "make_bank", "make_bank_of_images"]

_PEAK = 1e4
"""Brightest pixel of a kept image, so that wings a million times fainter fit into float16."""
_TRIES = 8
"""Telescopes that are drawn at most until a Moffat profile can be fitted to one."""
_FRAME = 4.0
"""FWHM on each side of a measured PSF that its image must have, to be scaled to another width."""


@dataclass(frozen=True)
class DrawnPSFs:
    """PSFs of a batch, with the Moffat profiles that a fit finds.

    Attributes
    ----------
    images : Tensor
        Shape ``(B, n, n)`` on the fine torus, sum 1, centred on its origin, before the pixel.
    fwhm, beta, ellipticity, theta : Tensor
        Shape ``(B,)``, as of `make_moffat`.
    """

    images: Tensor
    fwhm: Tensor
    beta: Tensor
    ellipticity: Tensor
    theta: Tensor


@dataclass(frozen=True, eq=False)
class PSFBank:
    """PSFs on the fine grid, before the integration over the pixel.

    Attributes
    ----------
    images : Tensor
        float16, shape ``(N, PSF_SIDE, PSF_SIDE)``; the brightest pixel of each is 10,000.
    shapes : Tensor
        Shape ``(N, 4)``: FWHM (pixels), beta, ellipticity and theta (radians) of the Moffat profile
        that fits best; its centre is the middle of the image.
    """

    images: Tensor
    shapes: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str | torch.device) -> PSFBank:
        """Return the bank on a device."""
        return PSFBank(self.images.to(device), self.shapes.to(device))

    def save(self, path: Path) -> None:
        """Write the bank to an ``.npz`` file, complete or not at all."""
        part = path.with_name(f".{secrets.token_hex(8)}.npz")
        np.savez(part, images=self.images.cpu().numpy(), shapes=self.shapes.cpu().numpy())
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> PSFBank:
        """Read a bank that `save` wrote.

        Raises
        ------
        InputError
            If the file holds no bank.
        """
        try:
            with np.load(path) as file:
                images, shapes = (torch.from_numpy(file[name]) for name in ("images", "shapes"))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            msg = f"PSF bank {str(path)!r} cannot be read ({error}); delete it, it is made again"
            raise InputError(msg) from error
        if images.shape[1:] != (PSF_SIDE, PSF_SIDE) or shapes.shape != (len(images), 4):
            msg = f"PSF bank {str(path)!r} has another layout; delete it, it is made again"
            raise InputError(msg)
        return cls(images, shapes)

    def draw(self, count: int, n: int, rng: torch.Generator) -> DrawnPSFs:
        """Draw PSFs, each in one of eight orientations.

        Parameters
        ----------
        count : int
            How many.
        n : int
            Side of the fine torus.
        rng : torch.Generator
            Source of randomness, on the device of the bank.
        """
        device = self.images.device
        pick = torch.randint(len(self), (count,), generator=rng, device=device)
        way = torch.randint(2, (3, count), generator=rng, device=device).bool()
        images = self.images[pick].float()
        fwhm, beta, ellipticity, theta = self.shapes[pick].unbind(1)
        for flipped, axis in zip(way[:2], (1, 2), strict=True):
            images = torch.where(flipped[:, None, None], images.flip(axis), images)
            theta = torch.where(flipped, -theta, theta)
        images = torch.where(way[2][:, None, None], images.mT, images)
        theta = torch.where(way[2], math.pi / 2 - theta, theta) % math.pi
        half = min(PSF_SIDE // 2, (n - 1) // 2)
        middle = PSF_SIDE // 2
        cut = images[:, middle - half : middle + half + 1, middle - half : middle + half + 1]
        whole = cut.new_zeros(count, n, n)
        whole[:, : cut.shape[1], : cut.shape[2]] = cut
        whole = torch.roll(whole, (-half, -half), (1, 2))
        whole = whole / whole.sum((1, 2), keepdim=True)
        return DrawnPSFs(whole, fwhm, beta, ellipticity, theta)


def _bank(pairs: Iterable[tuple[NDArray[np.float64], MoffatShape]]) -> PSFBank:
    images, shapes = [], []
    for image, shape in pairs:
        images.append(torch.from_numpy((image * (_PEAK / image.max())).astype(np.float16)))
        shapes.append([shape.fwhm, shape.beta, shape.ellipticity, shape.theta])
    return PSFBank(torch.stack(images), torch.tensor(shapes))


def join_banks(banks: Iterable[PSFBank]) -> PSFBank:
    """Return one bank with the PSFs of several."""
    parts = list(banks)
    return PSFBank(torch.cat([b.images for b in parts]), torch.cat([b.shapes for b in parts]))


def make_bank(
    count: int,
    seed: int,
    config: OpticsConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PSFBank:
    """Draw telescopes and render their PSFs; about a tenth of a second each.

    Parameters
    ----------
    count, seed : int
        How many, and what decides them.
    config : OpticsConfig, optional
        Ranges to draw from.
    progress : callable, optional
        Receives how many are done, and ``count``.
    """
    config = OpticsConfig() if config is None else config
    rng = np.random.default_rng(seed)
    pairs = []
    for done in range(count):
        if progress is not None:
            progress(done, count)
        fwhm = log_uniform(rng, config.fwhm)
        pairs.append(_rendered(config, fwhm, rng))
    return _bank(pairs)


def _rendered(
    config: OpticsConfig, fwhm: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], MoffatShape]:
    for _ in range(_TRIES):
        found = render_telescope(draw_telescope(config, rng), fwhm)
        if found is not None:
            return found
    msg = f"no Moffat profile fits any of {_TRIES} telescopes drawn from {config}"
    raise InputError(msg)


def make_bank_of_images(
    images: Iterable[NDArray[np.float64]], count: int, seed: int, fwhm: tuple[float, float]
) -> PSFBank:
    """Make a bank of measured PSFs, each scaled to several widths.

    Parameters
    ----------
    images : iterable of ndarray
        PSFs with the star near the middle, of any sampling.
    count, seed : int
        Widths that each is scaled to, and what decides them.
    fwhm : tuple of float
        Least and greatest FWHM in pixels (log-uniform).

    Raises
    ------
    InputError
        If none of the images is that of a star.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for image in images:
        for _ in range(count):
            wanted = log_uniform(rng, fwhm)
            pair = _scaled(np.nan_to_num(image.astype(np.float64)), wanted)
            if pair is not None:
                pairs.append(pair)
    if not pairs:
        msg = "images of PSFs hold none that a Moffat profile fits; give images of single stars"
        raise InputError(msg)
    return _bank(pairs)


def _scaled(
    image: NDArray[np.float64], fwhm: float
) -> tuple[NDArray[np.float64], MoffatShape] | None:
    """Scale the image of a PSF to a width; None if it is not that of a star with its wings."""
    side = min(image.shape) - (1 - min(image.shape) % 2)
    peak = np.unravel_index(int(ndimage.gaussian_filter(image, 1.0).argmax()), image.shape)
    area = max(1, int(np.count_nonzero(image > 0.5 * image[peak])))
    guess = 2 * math.sqrt(area / math.pi)
    top, left = ((length - side) // 2 for length in image.shape)
    found = fit_moffat(image[top : top + side, left : left + side], 1.0, guess)
    if found is None or side < 2 * _FRAME * found.fwhm:
        return None
    step = found.fwhm / (OVERSAMPLE * fwhm)
    places = (np.arange(PSF_SIDE) - PSF_SIDE // 2) * step + side // 2
    rows, columns = np.meshgrid(places + top + found.y, places + left + found.x, indexing="ij")
    # Where pixels of the image are finer than those wanted, the mean of them is taken.
    smooth = ndimage.gaussian_filter(image, 0.4 * step) if step > 1 else image
    scaled = ndimage.map_coordinates(smooth, [rows, columns], order=3, mode="constant")
    scaled = np.clip(scaled, 0, None)
    if scaled.sum() <= 0:
        return None
    shape = fit_moffat(scaled / scaled.sum(), 1 / OVERSAMPLE, fwhm)
    return None if shape is None else (scaled / scaled.sum(), shape)
