"""Patches of true light, from pictures and from simulated skies, in units of the noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.simulation import OVERSAMPLE, make_scene
from astro_sr_plugin.simulation.optics import add_spikes, make_moffat, to_transfer
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.degradations import MARGIN, degrade, log_uniform
from astro_sr_plugin.training.pictures.files import Picture

__all__ = ["PatchSource", "draw_batch", "draw_stretch"]

_POOL = 96
"""Simulated skies kept in memory; one is drawn anew with each batch."""
_SKY_BETA = (2.5, 4.5)
"""Range of the exponents of the Moffat profiles of the stars of simulated skies."""
_SPIKES = (0.003, 0.1)
"""Range of the share of a star's light that is in its spikes."""
_LEAST_BRIGHTEST = 100.0
"""Least brightness in noise sigma that takes the level of white, as when the network is used."""
_WIDEST_RANGE = 30.0
"""Brightest pixel of an image over that of a patch of it, at most."""


class PatchSource:
    """Draws patches of light for the networks to learn.

    Parameters
    ----------
    config : PictureConfig
        The run.
    pictures : sequence of Picture
        May be empty: all patches are then simulated.
    rng : torch.Generator
        Source of randomness; its device is where the patches live.

    Raises
    ------
    InputError
        If no picture is as large as a patch.
    """

    def __init__(
        self, config: PictureConfig, pictures: Sequence[Picture], rng: torch.Generator
    ) -> None:
        self._config, self._rng = config, rng
        self._side = config.patch + 2 * MARGIN
        self._pictures = [
            picture.light.to(rng.device)
            for picture in pictures
            if min(picture.light.shape[-2:]) >= self._side
        ]
        if pictures and not self._pictures:
            msg = f"no picture has {self._side} pixels a side, as patch = {config.patch} needs"
            raise InputError(msg)
        self._sky_side = self._side * config.sky_samples
        self._scenes = config.scene_config(self._sky_side // OVERSAMPLE)
        self._skies: list[Tensor] = []

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(
            torch.rand(1, generator=self._rng, device=self._rng.device)
        )

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self._rng, device=self._rng.device))

    def refresh(self) -> None:
        """Draw one sky anew, or the first ones."""
        if len(self._skies) < _POOL:
            self._skies.append(self._draw_sky())
        else:
            self._skies[self._below(_POOL)] = self._draw_sky()

    def _draw_sky(self) -> Tensor:
        """Return the light of a simulated sky of one plane, seen through the air."""
        spectra = make_scene(self._scenes, self._rng).sum(0)
        samples = self._config.sky_samples
        width = log_uniform(self._rng, *self._config.sky_fwhm) * samples / OVERSAMPLE
        values = (width, self._uniform(*_SKY_BETA), self._uniform(0.0, 0.15), self._uniform(0, 3.1))
        shape = tuple(torch.tensor([v], device=self._rng.device) for v in values)
        profile = make_moffat(self._sky_side, *shape)
        if self._config.sky_spikes and self._uniform(0, 1) < self._config.sky_spikes:
            profile = self._spiked(profile)
        transfer = to_transfer(profile)[0]
        light = torch.fft.irfft2(spectra * transfer, s=(self._sky_side, self._sky_side))[None]
        return F.avg_pool2d(light, samples) if samples > 1 else light

    def _spiked(self, profile: Tensor) -> Tensor:
        """Return a PSF with the spikes of two or three vanes."""
        drawn = (log_uniform(self._rng, *_SPIKES), self._uniform(0, 3.1), self._uniform(0.3, 0.8))
        strength, angle, width = (torch.tensor([v], device=self._rng.device) for v in drawn)
        return add_spikes(profile, strength, 4 + 2 * self._below(2), angle, width)

    def draw(self) -> Tensor:
        """Return light of shape (channels, side, side), with `MARGIN` pixels for the blur."""
        if self._skies and (
            not self._pictures or self._uniform(0, 1) < self._config.sky_probability
        ):
            sky = self._skies[self._below(len(self._skies))]
            shift = (self._below(self._side), self._below(self._side))
            light = torch.roll(sky, shift, (-2, -1)).expand(self._config.channels, -1, -1)
        else:
            light = self._crop(self._pictures[self._below(len(self._pictures))])
        light = light.flip(-1) if self._below(2) else light
        return light.rot90(self._below(4), (-2, -1))

    def _crop(self, picture: Tensor) -> Tensor:
        """Cut a patch out of a picture, reduced or not, at a random brightness."""
        if self._config.channels == 1:
            picture = picture[self._below(3)][None]
        factor = 1 + self._below(2)
        if min(picture.shape[-2:]) < factor * self._side:
            factor = 1
        reach = factor * self._side
        y, x = (self._below(n - reach + 1) for n in picture.shape[-2:])
        patch = picture[:, y : y + reach, x : x + reach]
        patch = F.avg_pool2d(patch, factor) if factor > 1 else patch
        return patch * log_uniform(self._rng, *self._config.level)


def draw_stretch(seen: Tensor, rng: torch.Generator) -> DisplayStretch:
    """Draw the stretch of an image that a patch is a part of: it may hold brighter pixels."""
    wider = log_uniform(rng, 1.0, _WIDEST_RANGE)
    return DisplayStretch(wider * max(float(seen.max()), _LEAST_BRIGHTEST))


def draw_batch(
    source: PatchSource, config: PictureConfig, stage: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what a network gets and what it should make of it, both stretched.

    Parameters
    ----------
    source : PatchSource
        Where the light comes from.
    config : PictureConfig
        The run.
    stage : int
        Number of its stage, which decides on the degradations.
    rng : torch.Generator
        Source of randomness of the degradations.

    Returns
    -------
    observed, truth : Tensor
        Shapes (batch, channels, patch / scale, patch / scale) and (batch, channels, patch, patch).
    """
    source.refresh()
    degradation = config.stages[stage].degradation_config(config.degradation)
    pairs = []
    for _ in range(config.batch_size):
        light = source.draw()
        seen = degrade(light, config.scale, degradation, rng)
        stretch = draw_stretch(seen, rng)
        truth = light[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        pairs.append((stretch(seen.clamp(stretch.darkest, stretch.lightest)), stretch(truth)))
    observed, truth = (torch.stack(images) for images in zip(*pairs, strict=True))
    return observed, truth
