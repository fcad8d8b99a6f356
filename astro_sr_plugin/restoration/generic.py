"""Networks for display images on linear planes: stretched for the network, and exactly back.

Such networks were trained on pictures of 0 to 1. A plane is stretched for them with numbers that
are chosen once for the image, and what they return goes through the inverse of the same curve. An
exact inverse alone does not keep the light: a network that bends the tones of a picture by a
hundredth changes the flux of a bright star by tens of per cent. The result is therefore held to the
input in linear units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from astropy.io.fits import Header
from numpy.typing import NDArray
from torch import Tensor

from astro_sr_plugin.data.strips import release
from astro_sr_plugin.exceptions import ModelError, UnchangedWarning, warn
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.sky.pixels import PlanePixels
from astro_sr_plugin.measurement.sky.unusable import find_unusable
from astro_sr_plugin.models.display_stretch import STRETCH_KEYWORD, DisplayStretch
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.filters import without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile
from astro_sr_plugin.restoration.crush import Crush, crush_picture
from astro_sr_plugin.restoration.duration import warn_of_duration
from astro_sr_plugin.restoration.flux import BLOCK
from astro_sr_plugin.restoration.frame import FLUX_KEYWORDS, Frame
from astro_sr_plugin.restoration.light_lock import STEPS, LightLock
from astro_sr_plugin.restoration.luminance import restore_luminance
from astro_sr_plugin.restoration.network_pass import Part, RunNetwork, run_pass
from astro_sr_plugin.restoration.pipeline import (
    SHARPER,
    Job,
    restore_planes,
    row_blocks,
)
from astro_sr_plugin.restoration.plane import NormalisedPlane
from astro_sr_plugin.tasks import TASKS

__all__ = ["LEAST_RANGE", "DisplayModel", "restore_frame", "stretch_for"]

LEAST_RANGE = 100.0
"""Least brightness in noise sigma that takes the level of white: an image of the sky alone would
otherwise show nothing but its noise."""
_SOURCE = 5.0
"""Signal-to-noise ratio through that Gaussian from which light belongs to a source."""
_LIGHT_CHANGE = 0.02
"""Part of the light of the sources whose change the user is warned of."""
_LIGHT_ERRORS = 3.0
"""Standard deviations of the noise of that light below which a change may be one of noise."""
_BEYOND = 16
"""Mirrored pixels beyond the edges of the image, and beyond what the lock needs there, that the
network gets."""
_ADVICE = "the network was not made for such images: take another, or one of the list of models"
"""What to do about a result that does not agree with its input."""
_WIDEST = 1.3
"""FWHM of the result over that of the input above which what was measured were no stars."""


@dataclass
class _Light:
    """Light of the sources in the input, and in what the network made of it, in noise sigma."""

    given: float = 0.0
    returned: float = 0.0
    pixels: int = 0

    def add(self, given: Tensor, returned: Tensor, where: Tensor) -> None:
        """Add the light of some pixels."""
        self.given += float(given[where].double().sum())
        self.returned += float(returned[where].double().sum())
        self.pixels += int(where.sum())

    def change(self) -> float:
        """Change in per cent; NaN if there is no source."""
        return 100.0 * (self.returned / self.given - 1.0) if self.given > 0 else math.nan

    def is_changed(self) -> bool:
        """Whether it changed by more than the user expects, and than noise may change it."""
        difference = abs(self.returned - self.given)
        return difference > max(_LIGHT_CHANGE * self.given, _LIGHT_ERRORS * math.sqrt(self.pixels))


@dataclass(frozen=True, eq=False)
class DisplayModel:
    """A network for display images as a `Model` of planes in noise sigma.

    Attributes
    ----------
    inner : ExternalModel
        The network.
    stretch : DisplayStretch
        Curve of the image.
    shape : tuple of int
        Rows and columns of the image.
    planes : int
        Planes of the image that it gets at once: 1, or 3 of a colour image.
    locked : bool
        Whether the light of the result is held to that of the input.
    luminance_only : bool
        Whether the network gets the mean of the planes, whose detail they share.
    crush : Crush or None
        The workflow of two passes over the image reduced.
    errors : bool
        Whether the spread of the samples of a diffusion model comes along.
    light : pair of _Light
        Add up the light of the sources, before and after the result is held to the input.
    """

    inner: ExternalModel
    stretch: DisplayStretch
    shape: tuple[int, int]
    planes: int = 1
    locked: bool = True
    luminance_only: bool = False
    crush: Crush | None = None
    errors: bool = False
    light: tuple[_Light, _Light] = field(default_factory=lambda: (_Light(), _Light()))

    @property
    def spec(self) -> ModelSpec:
        """Declaration of the network, for planes in noise sigma."""
        spec = self.inner.spec
        # Strips of tiles hold whole blocks of those whose light is compared with the input's.
        return replace(
            spec,
            channels_in=self.planes,
            channels_out=self.planes,
            domain="noise-sigma",
            multiple_of=math.lcm(spec.multiple_of, self.inner.window, BLOCK)
            * (spec.scale if self.crush else 1),
        )

    @property
    def _border(self) -> int:
        """Input pixels at every side of a tile that the network takes."""
        halo, scale = self.inner.spec.halo, self.inner.spec.scale
        return halo if self.crush is None else scale * (self.crush.radius + halo) + halo

    def halo(self, conditions: Conditions) -> int:
        """Input pixels around a tile on which its output depends."""
        multiple = self.spec.multiple_of
        reach = self._border + (self._lock_reach(conditions.widest) if self.locked else 0)
        return -(-reach // multiple) * multiple

    def _lock_reach(self, fwhm: float) -> int:
        # Each step looks through the Gaussian, and interpolates between pixels; the luminance has
        # steps of its own.
        steps = 2 * STEPS if self.luminance_only else STEPS
        return steps * (LightLock.reach(fwhm) + 1)

    def prepare(self, conditions: Conditions, device: str, dtype: str) -> RestoreTile:
        """Return the function that restores tiles of one image."""
        run = self.inner.on(device, dtype)
        scale, stretch = self.spec.scale, self.stretch
        spare = self.halo(conditions) - self._border
        lock = LightLock(conditions.widest, scale, device)

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            inside = observed.clamp(stretch.darkest, stretch.lightest)
            given = inside.mean(1, keepdim=True) if self.luminance_only else inside
            result = self._through_network(run, Part(given, origin), spare)
            border = self._border
            given, inside, beyond = (
                without_border(image, border) for image in (given, inside, observed - inside)
            )
            result = torch.where(torch.isfinite(result), result, _enlarge(given, scale))
            if self.luminance_only:
                result = lock.share_out(inside, given, result)
            held = lock(inside, result) if self.locked else result
            bright = lock.around(lock.smooth(inside) > _SOURCE * lock.noise)
            bright = without_border(bright & (without_border(mask, border) >= 0), spare)
            for light, image in zip(self.light, (result, held), strict=True):
                returned = without_border(lock.binned(image.mean(0, keepdim=True)), spare)
                light.add(without_border(inside, spare), returned, bright)
            # What lies beyond the range that the network knows stays as it is.
            restored = held.mean(0, keepdim=True) + _enlarge(beyond, scale)
            if self.errors:
                restored = torch.cat([restored, _error_of_mean(held, lock)], dim=1)
            return without_border(restored, spare * scale)

        return restore

    def _through_network(self, run: RunNetwork, light: Part, spare: int) -> Tensor:
        """Return what the network makes of light in noise sigma, `_border` pixels smaller.

        The lock needs ``spare`` input pixels of it beyond the edges of the image.
        """
        spec, border = self.inner.spec, self._border
        multiple, scale = math.lcm(spec.multiple_of, self.inner.window), spec.scale
        (rows, columns), (row, column) = self.shape, light.origin
        part, beyond = light, [spare + _BEYOND]
        if self.crush is not None:
            small, radius = (
                crush_picture(light.pixels, self.crush, scale, light.origin),
                self.crush.radius,
            )
            part = Part(small, (row // scale + radius, column // scale + radius))
            rows, columns = -(-rows // scale), -(-columns // scale)
            beyond.insert(0, -(-(beyond[0] + multiple) // scale) + _BEYOND)
        gray = part.pixels.shape[1] == 1
        part = Part(self.stretch(part.pixels), part.origin)
        for pixels in beyond:
            if gray:
                # Equal planes are a gray picture to a network for colours.
                same = part.pixels.mean(1, keepdim=True).expand(-1, spec.channels_in, -1, -1)
                part = Part(same, part.origin)
            part = run_pass(
                run,
                part,
                (rows, columns),
                scale=scale,
                halo=spec.halo,
                multiple_of=multiple,
                beyond=max(pixels, spec.min_size),
            )
            rows, columns = rows * scale, columns * scale
        height, width = (n - 2 * border for n in light.pixels.shape[-2:])
        picture = part.region(
            ((row + border) * scale, (column + border) * scale), (height * scale, width * scale)
        )
        return self.stretch.inverse(picture.mean(1, keepdim=True) if gray else picture)


def restore_frame(
    frame: Frame,
    job: Job,
    sink: NDArray,
    *,
    header: Header,
    errors: NDArray | None = None,
    luminance_only: bool = False,
    crush: Crush | None = None,
) -> None:
    """Restore every plane of an image into ``sink``, with a model of any kind.

    Parameters
    ----------
    frame, job, sink, header, errors
        As for `~astro_sr_plugin.restoration.pipeline.restore_planes`. The header of the result of
        a network for display images takes the change of the light of its sources, and the width of
        its stars, too.
    luminance_only : bool
        Whether the luminance of a colour image alone is restored. A model that keeps the PSF, such
        as bicubic interpolation, adds no detail that could be shared out: it gets every plane.
    crush : Crush, optional
        The workflow of two passes over the image reduced.
    """
    model, widths = job.model, list[float]()
    if isinstance(model, ExternalModel):
        model = _fit(
            model, frame, luminance_only=luminance_only, crush=crush, errors=errors is not None
        )
        job = replace(job, model=model, advice=(_ADVICE,))
        frame = frame.with_typical_psf()
        planes = 1 if model.planes > 1 else len(frame.usable)
        warn_of_duration(model.inner, math.prod(frame.planes[0].shape), planes, job.runtime)
        if not TASKS[model.spec.task].keeps_psf:
            job = replace(job, find_target=partial(_measure_target, job.scale, widths))
    if luminance_only and job.target_fwhm is not None:
        restore_luminance(frame, job, sink)
    else:
        restore_planes(frame, job, sink, header=header, errors=errors)
    if isinstance(model, DisplayModel):
        _note(header, model, widths)


def _fit(
    model: ExternalModel,
    frame: Frame,
    *,
    luminance_only: bool,
    crush: Crush | None,
    errors: bool,
) -> DisplayModel:
    """Fit a network to an image: the curve, and how many planes it gets at once.

    Raises
    ------
    ModelError
        If the network takes or returns a number of planes other than 1 and 3.
    """
    planes = (model.spec.channels_in, model.spec.channels_out)
    if planes not in {(1, 1), (3, 3), (3, 1)}:
        msg = (
            f"model={model.spec.name!r} makes {planes[1]} planes of {planes[0]}; allowed are 1 of "
            "1, and 3 of 3"
        )
        raise ModelError(msg)
    return DisplayModel(
        model,
        stretch_for(frame.usable, *model.value_range),
        frame.planes[0].shape,
        planes=3 if luminance_only or (frame.is_colour and planes == (3, 3)) else 1,
        locked=model.spec.task != "remove-stars",
        luminance_only=luminance_only,
        crush=crush,
        errors=errors,
    )


def _error_of_mean(samples: Tensor, lock: LightLock) -> Tensor:
    """Return the standard deviation of the truth around the mean of samples (S, C, H, W).

    It is that of the samples and of their mean; the noise of the smoothed input, to whose light all
    samples are held, adds to it.
    """
    variance = samples.var(0, keepdim=True) * (1 + 1 / len(samples))
    return torch.sqrt(variance + lock.noise**2)


def _measure_target(
    scale: int, widths: list[float], result: NDArray, conditions: Conditions
) -> float | None:
    """Measure the width of the stars of a result; None if it is that of the input, or not known.

    The width in pixels of the result is added to ``widths``.
    """
    pixels = np.asarray(result, dtype=np.float32)
    psf = MeasuredPlane(PlanePixels(pixels, find_unusable(pixels)), name="result").psf
    moffat = psf.moffat
    if (
        not psf.known
        or moffat.confidence == "low"
        or moffat.fwhm > _WIDEST * scale * conditions.fwhm
    ):
        return None
    widths.append(moffat.fwhm)
    return psf.moffat.fwhm if psf.moffat.fwhm < SHARPER * scale * conditions.fwhm else None


def _note(header: Header, model: DisplayModel, widths: Sequence[float]) -> None:
    """Write to the header how the image was stretched, and what the network did to its light."""
    header[STRETCH_KEYWORD] = float(f"{model.stretch.slope:.6g}")
    for keyword, light in zip(FLUX_KEYWORDS, model.light, strict=True):
        change = light.change()
        if math.isfinite(change):
            header[keyword] = round(change, 2)
    if model.locked and model.light[1].is_changed():
        warn(
            f"{model.spec.name} changed the light of the sources by "
            f"{model.light[1].change():+.0f} %, though it was held to that of the input: {_ADVICE}",
            UnchangedWarning,
        )
    if widths and "ASRFWHMO" in header:
        header["ASRFWHMO"] = round(max(widths), 4)


def stretch_for(
    planes: Iterable[NormalisedPlane], black: float = 0.0, white: float = 1.0
) -> DisplayStretch:
    """Return the stretch that an image takes for a network with these values of black and white."""
    brightest = max((_brightest_of(plane) for plane in planes), default=LEAST_RANGE)
    return DisplayStretch(max(brightest, LEAST_RANGE), black, white)


def _brightest_of(plane: NormalisedPlane) -> float:
    """Brightest pixel of a plane in noise sigma."""
    highest = 0.0
    for first, last in row_blocks(plane.shape[0]):
        values, _ = plane.read(first, last, 0, plane.shape[1], mirrored=False)
        finite = values[np.isfinite(values)]
        highest = max(highest, float(finite.max(initial=0.0)))
        release(plane.plane)
    return highest


def _enlarge(image: Tensor, scale: int) -> Tensor:
    return image.repeat_interleave(scale, -1).repeat_interleave(scale, -2) if scale > 1 else image
