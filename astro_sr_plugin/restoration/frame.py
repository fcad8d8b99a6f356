"""An image on its way through a verb: what comes in, and where the result goes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io.fits import Header

from astro_sr_plugin.data.earlier_work import check_earlier_work
from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, Unpacked, iter_planes, unpack
from astro_sr_plugin.data.pixel_kind import check_linear
from astro_sr_plugin.data.provenance import add_keywords
from astro_sr_plugin.data.wcs import scale_wcs_header
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.plane import open_planes
from astro_sr_plugin.measurement.psf.moffat import DEFAULT_FWHM
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.pixels import describe_fill
from astro_sr_plugin.models.display_stretch import STRETCH_HISTORY, STRETCH_KEYWORD
from astro_sr_plugin.models.registry import ModelLike, default_model, load_model, with_errors
from astro_sr_plugin.models.spec import Model, ModelSpec
from astro_sr_plugin.restoration.guard import is_guarded
from astro_sr_plugin.restoration.plane import NormalisedPlane
from astro_sr_plugin.restoration.psf import PSFLike, normalise_planes
from astro_sr_plugin.restoration.verdict import AGREES_KEYWORD, GUARD_KEYWORD

__all__ = [
    "FLUX_KEYWORDS",
    "Frame",
    "choose_model",
    "choose_model_for",
    "choose_runtime",
    "open_frame",
]

_log = logging.getLogger(__name__)


FLUX_KEYWORDS = ("ASRFLUXB", "ASRFLUXA")
"""Keywords of the change of the light of the sources by a network for display images, in per cent:
as the network left it, and in the result."""

_COLOURS = 3
"""Planes of a colour image."""
_SMOOTH = 0.78
"""Correlation of the noise of neighbours beyond that of stacks and drizzled images: of 172 real
linear frames the smoothest, a 2MASS mosaic, has 0.70; a Gaussian of 1.5 pixels makes 0.85."""


def choose_model(
    model: ModelLike | None, task: str, scale: int = 1, *, uncertainty: bool = False
) -> Model:
    """Load the model that a verb works with, able to estimate its uncertainty if asked for."""
    engine = load_model(default_model(task, scale) if model is None else model, task, scale)
    return with_errors(engine) if uncertainty else engine


def choose_model_for(
    frame: Frame,
    engine: Model,
    *,
    named: bool,
    uncertainty: bool,
    luminance_only: bool = False,
) -> Model:
    """Return the model for an image: of colour images, by default the one that sees all planes.

    Parameters
    ----------
    frame : Frame
        The image.
    engine : Model
        What `choose_model` returned.
    named : bool
        Whether the user named it: then it is kept.
    uncertainty : bool
        Whether it has to estimate its uncertainty.
    luminance_only : bool
        Whether it gets the luminance alone.

    Raises
    ------
    InputError
        If it restores planes together, and the image has others than three with data.
    """
    together = frame.is_colour and not luminance_only
    wanted, name = engine.spec.channels_in, engine.spec.variants.get("colour")
    if together and name is not None and not named:
        return choose_model(name, engine.spec.task, engine.spec.scale, uncertainty=uncertainty)
    if engine.spec.domain == "noise-sigma" and wanted > 1 and not together:
        found = "the luminance alone" if luminance_only else f"{len(frame.usable)} with data here"
        msg = (
            f"model={engine.spec.name!r} restores {wanted} planes of a colour image together, and "
            f"gets {found}: leave it out, or take one of single planes"
        )
        raise InputError(msg)
    return engine


def choose_runtime(runtime: Runtime | None, device: str | None) -> Runtime:
    """Join ``runtime=`` with its shorthand ``device=``."""
    runtime = runtime or Runtime()
    return runtime if device is None else replace(runtime, device=device)


@dataclass(frozen=True, eq=False)
class Frame:
    """The parts of an image, and its planes as they are restored.

    Attributes
    ----------
    parts : Unpacked
        Data, mask, unit, WCS and header.
    planes : tuple of NormalisedPlane
        The planes, each with its PSF.
    """

    parts: Unpacked
    planes: tuple[NormalisedPlane, ...]

    def indexed(self) -> Iterator[tuple[tuple[int, ...], NormalisedPlane]]:
        """Yield the index of each plane in the data, and the plane."""
        for (index, _), plane in zip(iter_planes(self.parts.data), self.planes, strict=True):
            yield index, plane

    @property
    def usable(self) -> list[NormalisedPlane]:
        """The planes that hold something to restore."""
        return [plane for plane in self.planes if plane.usable]

    @property
    def is_colour(self) -> bool:
        """Whether it has three planes, all of which hold something to restore."""
        return len(self.planes) == _COLOURS == len(self.usable)

    @property
    def fwhm(self) -> float:
        """The largest FWHM of the planes in pixels; NaN if none is known."""
        return max(plane.psf.moffat.fwhm for plane in self.planes)

    @property
    def noise_correlation(self) -> float:
        """The largest correlation of the noise of neighbouring pixels."""
        return max(plane.noise_correlation for plane in self.usable)

    def with_typical_psf(self) -> Frame:
        """Return the frame with the FWHM of a typical star for planes whose PSF is not known.

        Models that keep the PSF take it: it only sets how far the filters reach.
        """
        planes = list(self.planes)
        for k, plane in enumerate(planes):
            if not plane.psf.known:
                typical = replace(plane.psf.moffat, fwhm=DEFAULT_FWHM)
                planes[k] = replace(plane, psf=replace(plane.psf, moffat=typical))
        return replace(self, planes=tuple(planes))

    @property
    def dtype(self) -> np.dtype:
        """Type of the result: float64 for float64 images, else float32."""
        data = self.parts.data.dtype
        return np.dtype(np.float64 if data.kind == "f" and data.itemsize > 4 else np.float32)

    def header(
        self,
        spec: ModelSpec,
        *,
        fwhm_out: float | None = None,
        strength: float | None = None,
        parameters: Mapping[str, Any],
    ) -> Header:
        """Return the header of a result, with its grid and its provenance.

        Parameters
        ----------
        spec : ModelSpec
            Of the model.
        fwhm_out : float, optional
            FWHM of the stars in the result, in its pixels; that of the input if not given.
        strength : float, optional
            Fraction of the restored image.
        parameters : mapping
            Further parameters for the HISTORY.
        """
        meta = self.parts.meta
        header = meta.copy() if isinstance(meta, Header) else Header()
        if not isinstance(meta, Header):
            for key, value in meta.items():
                if isinstance(value, str | int | float | bool):
                    header[key] = value
        if spec.scale > 1:
            header = scale_wcs_header(header, spec.scale, shape=self.parts.data.shape)
        if any(plane.psf.field is not None for plane in self.planes):
            ranges = [plane.psf.fwhm_range for plane in self.planes]
            parameters = {
                **parameters,
                "psf_fwhm_range": tuple((round(low, 4), round(high, 4)) for low, high in ranges),
            }
        for keyword in (GUARD_KEYWORD, AGREES_KEYWORD):
            header.remove(keyword, ignore_missing=True, remove_all=True)
        if is_guarded(spec) and not parameters.get("luminance_only"):
            header[GUARD_KEYWORD] = (0, "places with a safer estimate")
            header[AGREES_KEYWORD] = (True, "the result agrees with its input")
        header = add_keywords(
            header,
            scale=spec.scale,
            task=spec.task,
            model=spec.name,
            weights_hash=spec.sha256 or None,
            fwhm_in=self.fwhm,
            fwhm_out=self.fwhm * spec.scale if fwhm_out is None else fwhm_out,
            strength=strength,
            noise=max(plane.image_sigma for plane in self.usable),
            parameters=parameters,
        )
        for keyword in (*FLUX_KEYWORDS, STRETCH_KEYWORD):
            header.remove(keyword, ignore_missing=True, remove_all=True)
        if spec.domain == "unit":
            # A file is begun before the values are known, and a card more would not fit in.
            header[FLUX_KEYWORDS[0]] = (0.0, "[%] change of light by the network")
            header[FLUX_KEYWORDS[1]] = (0.0, "[%] change of light in the result")
            header[STRETCH_KEYWORD] = (0.0, "factor of the stretch for the network")
            for line in STRETCH_HISTORY:
                header.add_history(line)
        return header


def open_frame(
    image: Image,
    task: str,
    *,
    mask: MaskLike | None = None,
    hdu: HDUChoice = None,
    force: bool = False,
    measured: Quality | None = None,
    psf: PSFLike = None,
) -> Frame:
    """Take an image apart for a verb; its planes are measured as far as the work needs it.

    Parameters
    ----------
    image, mask, hdu, force, measured, psf
        As for the verbs.
    task : str
        Name of the verb.

    Raises
    ------
    InputError
        If the image is none that the verb is for (unless forced) or holds nothing to enhance, or
        ``measured`` is of another image.
    """
    parts = unpack(image, mask=mask, hdu=hdu)
    _log.info("%s: an image of shape %s", task, parts.data.shape)
    check_linear(parts, force=force)
    check_earlier_work(parts.meta, task, force=force)
    planes = open_planes(parts) if measured is None else measured.planes_of(parts, mask)
    fill = describe_fill([plane.pixels for plane in planes])
    if fill is not None and measured is None:
        warn(fill)
    frame = Frame(parts, normalise_planes(planes, psf))
    if not force:
        _check_noise(frame)
    return frame


def _check_noise(frame: Frame) -> None:
    """Warn where neighbouring pixels have nearly the same noise, as after a smoothing."""
    correlation = max(plane.measured.noise.correlation for plane in frame.usable)
    if correlation > _SMOOTH:
        warn(
            f"the noise is smooth (neighbouring pixels correlate by {correlation:.2f}), as in an "
            "image that was smoothed, denoised or enlarged before: the result may be wrong; start "
            "from the image as it was stacked (force=True leaves this warning out)"
        )
