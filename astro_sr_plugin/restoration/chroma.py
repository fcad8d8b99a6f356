"""The colours of an image: light of one luminance shared out to its planes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_opening
from torch import Tensor

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    Filters,
    filter_spectra,
    without_border,
)
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.varying import prepare_filters, prepare_kernels
from astro_sr_plugin.models.wiener_unet.flux import FLUX_RADIUS, FluxStep

__all__ = ["REACH", "Chroma", "match_filters"]

Region = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Values in noise sigma, and 1 where they are not usable."""

_GRID = 128
"""Side in pixels of the grid on which the matching filters are computed."""
_LEAST_POWER = 1e-4
"""Power of the transfer function below which a filter does not amplify further."""
_SOURCE = 2.0
"""Width above which light is not that of a source, in that of the common profile."""
_COLOUR_ERROR = 4.0
"""Light of a source, in noise of the luminance, below which it has no colour of its own."""
_FLUX_STEPS = 2
"""Rounds of the correction of the flux of sources."""
REACH = _FLUX_STEPS * FLUX_RADIUS
"""Input pixels around a pixel of the result whose luminance matters."""


class Chroma:
    """Shares the light of a restored luminance out to the planes that it was made of.

    Each plane is brought to one common Gaussian profile by a linear filter and interpolated. Its
    morphological opening is what lies under the sources; of what stands out of it, each plane takes
    the fraction that it has there. The luminance, which is far sharper, is divided alike:
    a star is as sharp in all planes as in the luminance, and where it has faded, so have its
    colours - there are no fringes of the width of the input. At last the flux of each source is
    compared with the data of the plane and put right.

    Parameters
    ----------
    conditions : sequence of Conditions
        What was measured on each plane.
    target_fwhm : float
        FWHM of the luminance in output pixels.
    scale : int
        Output pixels per input pixel.
    """

    def __init__(self, conditions: Sequence[Conditions], target_fwhm: float, scale: int) -> None:
        self._scale = scale
        # The observed width has the pixel in it, and so has that of the common profile.
        widest = math.sqrt(max(c.fwhm for c in conditions) ** 2 + FWHM_PER_SIGMA**2 / 12)
        common = max(widest, target_fwhm / scale)
        self._sigma = common * scale / FWHM_PER_SIGMA
        self._side = scale * (2 * round(_SOURCE * common / 2) + 1)
        self._margin = math.ceil(1.5 * self._side / scale) + math.ceil(3 * self._sigma / scale)
        self._matching = []
        variance = 0.0
        for plane in conditions:
            kernel = prepare_kernels(plane, common * scale, scale, "cpu")[:, 0]
            self._matching.append(prepare_filters([kernel], plane.nodes))
            variance += float((kernel[0, 0] ** 2).sum()) * (
                1 + 3 * max(0.0, plane.noise_correlation)
            )
        self._colour_error = _COLOUR_ERROR * math.sqrt(variance) / len(conditions)
        self._steps = [FluxStep(plane, scale, False, "cpu") for plane in conditions]
        self._apertures = [Filters(step.kernels[None]) for step in self._steps]

    @property
    def halo(self) -> int:
        """Input pixels that regions have beyond what is wanted, on every side."""
        return FILTER_RADIUS + self._margin + REACH

    def share(
        self, regions: Sequence[Region], luminance: NDArray[np.float32], origin: tuple[int, int]
    ) -> list[NDArray[np.float32]]:
        """Share the luminance out.

        Parameters
        ----------
        regions : sequence of Region
            Of each plane as observed, `halo` input pixels larger than what is wanted.
        luminance : ndarray of float32
            Restored mean of the planes, `REACH` input pixels larger than what is wanted; NaN where
            it is not known.
        origin : tuple of int
            Row and column of the first pixel that is wanted, in input pixels.

        Returns
        -------
        list of ndarray of float32
            The planes, in units of their noise.
        """
        matched = np.stack(
            [self._match(k, values, origin) for k, (values, _) in enumerate(regions)]
        )
        ground = np.stack([_without_sources(plane, self._side) for plane in matched])
        sources = np.maximum(matched - ground, 0.0)
        shares = (sources + self._colour_error) / (sources.mean(0) + self._colour_error)
        # What is too faint for a colour of its own has that of its surroundings.
        faint = matched - ground - shares * (matched - ground).mean(0)
        width = (0, self._sigma, self._sigma)
        base = ground + gaussian_filter(faint, width, truncate=3.0)
        detail = luminance - self._inner(ground.mean(0))
        unknown = ~np.isfinite(detail)
        if unknown.any():
            # Not known in all planes: the input is used in the planes that are known.
            detail[unknown] = self._inner((matched - ground).mean(0))[unknown]
        planes = self._inner(base) + self._inner(shares) * detail
        return [self._with_flux(k, plane, regions[k], origin) for k, plane in enumerate(planes)]

    def _inner(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        cut = slice(self._margin * self._scale, -self._margin * self._scale)
        return image[..., cut, cut]

    def _match(
        self, k: int, values: NDArray[np.float32], origin: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Plane at the common profile, on the pixels of the output."""
        first = (origin[0] - self.halo, origin[1] - self.halo)
        phases = without_border(self._matching[k](_tensor(values), first), FILTER_RADIUS)
        finer: NDArray[np.float32] = torch.nn.functional.pixel_shuffle(phases, self._scale)[
            0, 0
        ].numpy()
        return finer

    def _with_flux(
        self, k: int, plane: NDArray[np.float32], region: Region, origin: tuple[int, int]
    ) -> NDArray[np.float32]:
        values, mask = (_tensor(image) for image in region)
        mask = mask.clamp_min(0.0)
        border = FILTER_RADIUS + self._margin
        light = without_border(self._apertures[k](values), border)
        result, mask = _tensor(plane), without_border(mask, border)
        first = (origin[0] - REACH, origin[1] - REACH)
        for _ in range(_FLUX_STEPS):
            result = self._steps[k].correct(result, light, mask, first)
        inner: NDArray[np.float32] = without_border(result, REACH * self._scale)[0, 0].numpy()
        return inner


def match_filters(conditions: Sequence[Conditions]) -> list[Filters | None]:
    """Make filters that bring each plane to the PSF of the widest one; None for that one itself.

    The sum of the planes then has one PSF, whatever the colour of a star.
    """
    widest = max(conditions, key=lambda plane: plane.fwhm)
    spectra = [_spectrum(plane) for plane in (*conditions, widest)]
    filters: list[Filters | None] = []
    for plane, spectrum in zip(conditions, spectra, strict=False):
        ratio = spectra[-1] * spectrum.conj() / (spectrum.abs() ** 2 + _LEAST_POWER)
        kernel = torch.fft.fftshift(torch.fft.irfft2(ratio, s=(_GRID, _GRID)))
        c, r = _GRID // 2, FILTER_RADIUS
        kernel = kernel[c - r : c + r + 1, c - r : c + r + 1]
        filters.append(None if plane is widest else Filters((kernel / kernel.sum())[None, None]))
    return filters


def _spectrum(plane: Conditions) -> Tensor:
    return filter_spectra(torch.from_numpy(plane.psf), (_GRID, _GRID))


def _without_sources(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Level on which the sources of a plane stand: its opening by a square, smoothed."""
    opened = grey_opening(plane, (side, side))
    result: NDArray[np.float32] = gaussian_filter(opened, side / 4, truncate=2.0)
    return result


def _tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
