"""What the search for artefacts of a known shape is given: templates, sizes, colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS
from astro_sr_plugin.restoration.artifacts import (
    TEMPLATES,
    Artifact,
    find_artifacts,
    footprint_of,
    has_colour,
)
from astro_sr_plugin.restoration.frame import Frame

__all__ = ["TemplateSearch", "Template"]

_LEAST_DIAMETER, _MOST_DIAMETER = 5.0, 64.0
"""Sizes in pixels below which a template has too few pixels to be told from a star, and above which
filling takes minutes."""

Template = str | os.PathLike[str] | NDArray
"""A name of `TEMPLATES`, an image file, or an image."""


class TemplateSearch:
    """A search for artefacts of known shapes in an image.

    Parameters
    ----------
    templates, diameters, colour, tolerance, false_alarms
        As for `remove_artifacts`.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """

    def __init__(
        self,
        templates: Template | Sequence[Template],
        diameters: Sequence[float],
        colour: Sequence[float] | None,
        tolerance: float,
        false_alarms: float,
    ) -> None:
        self.shapes = _open_templates(templates)
        self.sizes = _check_sizes(diameters)
        self._colour, self._tolerance = colour, tolerance
        self.false_alarms = false_alarms

    def find(self, frame: Frame) -> list[Artifact]:
        """Return the artefacts of an image, whose planes are searched together."""
        wanted = _check_colour(self._colour, self._tolerance, frame)
        light = [plane.read(0, plane.shape[0], 0, plane.shape[1])[0] for plane in frame.usable]
        found = find_artifacts(
            np.sum(light, axis=0) / np.sqrt(len(light)),
            self.shapes,
            self.sizes,
            fwhm=frame.fwhm,
            star=_measured_star(frame),
            false_alarms=self.false_alarms,
        )
        if wanted is None:
            return found
        noise = [plane.image_sigma for plane in frame.usable]
        planes = np.stack([image * sigma for image, sigma in zip(light, noise, strict=True)])
        return [
            artifact
            for artifact in found
            if has_colour(planes, artifact, self.shapes[artifact.template], wanted, self._tolerance)
        ]

    def mask(self, found: Sequence[Artifact], shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which pixels of a plane belong to artefacts."""
        mask = np.zeros(shape, bool)
        for artifact in found:
            part, inside = _cut(artifact, self.shapes, shape)
            mask[part] |= inside
        return mask


def _measured_star(frame: Frame) -> NDArray[np.float64] | None:
    """Return the image of a star of the plane with the widest ones; None without any."""
    planes = [plane for plane in frame.usable if plane.measured.psf.known]
    if not planes:
        return None
    psf = max(planes, key=lambda plane: plane.measured.psf.moffat.fwhm).measured.empirical_psf
    return psf.image(*psf.centre, radius=STAMP_RADIUS)


def _open_templates(templates: Template | Sequence[Template]) -> dict[str, NDArray[np.float64]]:
    if isinstance(templates, str | os.PathLike | np.ndarray):
        templates = [templates]
    given: Sequence[Any] = templates
    opened = {}
    for number, template in enumerate(given, start=1):
        if isinstance(template, str) and template in TEMPLATES:
            opened[template] = TEMPLATES[template]
            continue
        named = isinstance(template, str | os.PathLike)
        name = Path(template).stem if named else f"template {number}"
        data = read_image(template).data if named else template
        pixels = np.asarray(data, dtype=np.float64)
        if pixels.ndim != 2 or min(pixels.shape) < 3 or not np.isfinite(pixels).all():  # noqa: PLR2004
            msg = (
                f"template {name!r} of shape {pixels.shape} cannot be used; allowed are "
                f"{', '.join(TEMPLATES)}, and images (ny, nx) of at least 3 pixels without NaN"
            )
            raise InputError(msg)
        opened[name] = pixels
    if not opened:
        msg = f"templates is empty; give at least one, such as {', '.join(TEMPLATES)}"
        raise InputError(msg)
    return opened


def _check_sizes(diameters: Sequence[float]) -> tuple[float, ...]:
    sizes = tuple(float(d) for d in np.atleast_1d(np.asarray(diameters, dtype=float)))
    if not sizes or not all(_LEAST_DIAMETER <= d <= _MOST_DIAMETER for d in sizes):
        msg = (
            f"diameters={sizes} are not allowed; take {_LEAST_DIAMETER:g} to "
            f"{_MOST_DIAMETER:g} pixels"
        )
        raise InputError(msg)
    return sizes


def _check_colour(
    colour: Sequence[float] | None, tolerance: float, frame: Frame
) -> NDArray[np.float64] | None:
    """Return the share of the light in each plane."""
    if colour is None:
        return None
    shares = np.asarray(colour, dtype=np.float64)
    planes = len(frame.usable)
    if shares.shape != (planes,) or planes == 1 or not (shares >= 0).all() or shares.sum() == 0:
        msg = (
            f"colour={tuple(colour)} does not suit an image of {planes} planes; give one number of "
            "0 or more for each of several planes"
        )
        raise InputError(msg)
    if not 0 < tolerance <= 1:
        msg = f"tolerance={tolerance} is not allowed; take a number above 0 up to 1"
        raise InputError(msg)
    return np.asarray(shares / shares.sum())


def _cut(
    artifact: Artifact,
    shapes: dict[str, NDArray[np.float64]],
    shape: tuple[int, ...],
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return the window around an artefact within the image, and its pixels in that."""
    inside = footprint_of(artifact, shapes[artifact.template])
    reach = inside.shape[0] // 2
    ends = [
        (max(0, place - reach), min(length, place + reach + 1))
        for place, length in zip((artifact.y, artifact.x), shape, strict=True)
    ]
    (top, bottom), (left, right) = ends
    first = (top - artifact.y + reach, left - artifact.x + reach)
    kept = inside[first[0] : first[0] + bottom - top, first[1] : first[1] + right - left]
    return (slice(top, bottom), slice(left, right)), kept
