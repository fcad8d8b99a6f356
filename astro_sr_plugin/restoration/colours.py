"""Colours for a gray image: a network finds their ratios, the light stays what it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.io.fits import Header
from numpy.typing import NDArray
from torch import Tensor

from astro_sr_plugin.data.strips import release
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.colorizer import colour_ratios
from astro_sr_plugin.models.display_stretch import STRETCH_KEYWORD, DisplayStretch
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.restoration.conditions import make_conditions
from astro_sr_plugin.restoration.frame import Frame
from astro_sr_plugin.restoration.generic import stretch_for

__all__ = ["SYNTHETIC_KEYWORD", "colour_frame", "colour_planes", "note_synthetic"]

SYNTHETIC_KEYWORD = "ASRSYNCO"
"""Keyword that says that the colours of an image were not measured."""


@dataclass(frozen=True, eq=False)
class _ColourModel:
    """A network for gray pictures as a `Model` from a plane in noise sigma to ratios of colours."""

    inner: ExternalModel
    stretch: DisplayStretch
    saturation: float

    @property
    def spec(self) -> ModelSpec:
        """Declaration of the network, for planes in noise sigma."""
        return replace(self.inner.spec, domain="noise-sigma")

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends."""
        return self.inner.halo(conditions)

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that finds the ratios of a tile."""
        run = self.inner.prepare(conditions, device, dtype)
        stretch, saturation = self.stretch, self.saturation

        def find(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            picture = stretch(observed.clamp(stretch.darkest, stretch.lightest))
            ratios = colour_ratios(run(picture, mask, origin), saturation)
            return torch.where(torch.isfinite(ratios), ratios, 1.0)

        return find


def colour_frame(
    frame: Frame,
    model: ExternalModel,
    saturation: float,
    runtime: Runtime,
    sink: NDArray,
    header: Header,
) -> None:
    """Fill an array of shape (3, ny, nx) with a gray image in the colours that a network finds.

    Parameters
    ----------
    frame : Frame
        An image of one plane.
    model : ExternalModel
        The network.
    saturation : float
        Factor of the colours; 0 is gray.
    runtime : Runtime
        Device, tiles, progress.
    sink : ndarray
        Takes the result; may be memory-mapped.
    header : fits.Header
        Of the result; takes how the image was stretched for the network.
    """
    (plane,) = frame.with_typical_psf().planes
    stretch = stretch_for([plane])
    header[STRETCH_KEYWORD] = float(f"{stretch.slope:.6g}")
    conditions = make_conditions(plane, None, 1)

    nx = plane.shape[1]
    predictor = Predictor(_ColourModel(model, stretch, saturation), conditions, runtime)
    for first, ratios in predictor.strips(plane.read_as_planes, plane.shape):
        last = first + ratios.shape[1]
        recorded = plane.recorded(first, last)
        unit = plane.measured.unit
        sky = plane.background.level_at(first, last, 0, nx) * unit
        noise = plane.noise(first, last, 0, nx) * unit
        coloured = colour_planes(recorded, ratios, sky, noise)
        invalid = plane.invalid(first, last)
        coloured[:, invalid] = np.asarray(recorded)[invalid]
        sink[:, first:last] = coloured
        release(sink)


# Infinite pixels come back as they were.
@np.errstate(invalid="ignore", over="ignore")
def colour_planes(
    gray: NDArray,
    ratios: NDArray,
    sky: NDArray | float,
    noise: NDArray | float,
) -> NDArray[np.float64]:
    """Share the light of a gray image out among three planes whose mean it is.

    ``plane = gray + (ratio - 1) g`` with ``g = max(gray - max(sky, 0), 0) s^2 / (1 + s^2)``, where
    ``s`` is the light above the sky in units of the noise: the sky and its noise stay gray, what is
    below the sky too. As ``g`` is never above ``gray``, no plane becomes negative where it was not.

    Parameters
    ----------
    gray : ndarray, shape (ny, nx)
        Linear light.
    ratios : ndarray, shape (3, ny, nx)
        Light of each colour over the mean of the three.
    sky, noise : ndarray or float
        Level of the sky, and noise sigma, in the unit of the image.

    Returns
    -------
    ndarray, shape (3, ny, nx)
        In float64; rounded to float32, the mean of the planes is the gray image to 4 units in the
        last place.
    """
    gray = np.asarray(gray, dtype=np.float64)
    light = np.maximum(gray - np.maximum(sky, 0.0), 0.0)
    strength = (light / np.maximum(noise, np.finfo(float).tiny)) ** 2
    coloured = light * np.where(np.isfinite(strength), strength / (1.0 + strength), 1.0)
    ratios = np.asarray(ratios, dtype=np.float64)
    planes = gray + (ratios / ratios.mean(0) - 1.0) * coloured
    return np.where(np.isfinite(gray), planes, gray)


def note_synthetic(header: Header) -> None:
    """Say in a header that the colours are not measured."""
    header[SYNTHETIC_KEYWORD] = (True, "colours made up by a network, not measured")
    header.add_history("The colours are synthetic: a network made them up from a gray image.")
    header.add_history("The mean of the three planes is that image; nothing else is data.")
