"""Find artefacts and contaminants in an image, and fill them from what is around."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.registry import ModelLike, default_model, load_model
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.restoration.contaminants import find_contaminants
from astro_sr_plugin.restoration.filling import fill_pixels
from astro_sr_plugin.restoration.frame import Frame, choose_runtime, open_frame
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.restoration.template_search import Template, TemplateSearch
from astro_sr_plugin.tasks import REMOVE_ARTIFACTS

__all__ = ["DIAMETERS", "METHODS", "remove_artifacts"]

METHODS = ("template", "unet")
"""Methods that are offered."""
DIAMETERS = (9.0, 11.0, 14.0, 17.0, 21.0, 26.0, 33.0)
"""Sizes in pixels that are tried by default: each a quarter larger than the one before."""
_USUAL = ("trail", "cosmic-ray", "column")
"""Kinds that are looked for by default: on real frames the others were galaxies too often."""
_KEYWORD = "ASRARTIF"
"""Keyword of how many artefacts were filled."""
_KIND_KEYWORDS = ("ASRTRAIL", "ASRCOSMI", "ASRCOLUM", "ASRGHOST", "ASRDOT")
"""Keywords of how many of them were of each of the `KINDS`."""


@image_function
def remove_artifacts(
    image: Image,
    *,
    method: str = "template",
    templates: Template | Sequence[Template] = ("disc", "ring"),
    diameters: Sequence[float] = DIAMETERS,
    colour: Sequence[float] | None = None,
    tolerance: float = 0.2,
    false_alarms: float = 1.0,
    kinds: str | Sequence[str] | None = None,
    model: ModelLike | None = None,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    device: str | None = None,
    runtime: Runtime | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    hdu: HDUChoice = None,
    force: bool = False,
) -> CCDData | NDArray:
    """Find what is not of the sky, such as reflections and cosmic rays, and fill it.

    The method ``"template"`` correlates templates with the image in several sizes. What looks more
    like a star or a galaxy stays. The method ``"unet"`` is a network that finds satellite trails,
    cosmic rays and hot pixels, bad columns, ghosts and dots.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range. Templates
        search its planes together, the network each for itself. Never changed.
    method : {"template", "unet"}
        How artefacts are found.
    templates : str, path, 2D array, or sequence of them
        ``"disc"``, ``"ring"``, an image file, or an image that the artefact fills, bright on 0.
    diameters : sequence of float
        Sizes to which the templates are brought, in pixels, 5 to 64.
    colour : sequence of float, optional
        Light of the artefacts in each plane, in any unit; others stay. For templates, and images of
        several planes.
    tolerance : float
        Largest difference of the shares of the light in the planes from those of ``colour``.
    false_alarms : float
        How many places of a million of empty sky may look like a template by chance.
    kinds : str or sequence of str, optional
        What the network looks for: ``"trail"``, ``"cosmic-ray"``, ``"column"``, ``"ghost"``,
        ``"dot"``; the first three by default, as spiral galaxies may look like ghosts.

    Returns
    -------
    CCDData or ndarray
        Same kind, shape, unit and WCS. Filled pixels are masked, as they are no data; all others
        come back as they were. Where the image has an uncertainty, that of a filled pixel is at
        least what was taken away. The header has the number of artefacts (``ASRARTIF``), those of
        templates with their places, those of the network by kind (``ASRTRAIL``, ``ASRCOSMI``,
        ``ASRCOLUM``, ``ASRGHOST``, ``ASRDOT``).

    Raises
    ------
    InputError
        If the image or a parameter cannot be used.
    ModelError
        If the model is unknown or damaged, or is for another task.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:200, :200]
    >>> sky = np.random.default_rng(1).normal(100.0, 2.0, (200, 200))
    >>> reflection = 30.0 * (np.hypot(y - 90, x - 120) < 8)
    >>> clean = asr.remove_artifacts(sky + reflection, templates="disc")
    >>> inside = np.hypot(y - 90, x - 120) < 8
    >>> bool(abs(clean[inside].mean() - 100) < 2)
    True
    """
    search = TemplateSearch(templates, diameters, colour, tolerance, false_alarms)
    chosen = _check_method(method, kinds, colour, model)
    frame = open_frame(
        image, REMOVE_ARTIFACTS, mask=mask, hdu=hdu, force=force, measured=measured
    ).with_typical_psf()
    if method == "template":
        found = _by_templates(frame, search)
    else:
        found = _by_network(frame, model, chosen, choose_runtime(runtime, device))
    header = frame.header(found.spec, parameters=found.parameters)
    header[_KEYWORD] = (found.count, "artefacts that were filled")
    for keyword, kind in zip(_KIND_KEYWORDS, KINDS, strict=True):
        header.remove(keyword, ignore_missing=True, remove_all=True)
        if kind in found.counts:
            header[keyword] = (found.counts[kind], f"of them of the kind {kind}")
    for line in found.history:
        header.add_history(line)

    recorded = frame.parts.data
    given = frame.parts.uncertainty

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        sink[...] = recorded
        for index, plane in frame.indexed():
            if plane.usable:
                hidden = plane.mask[:, :]
                fill_pixels(recorded[index], found.filled[index], hidden, sink[index])
        if errors is not None and given is not None:
            errors[...] = given.represent_as(StdDevUncertainty).array
            taken = np.abs(sink - recorded)
            errors[found.filled] = np.fmax(errors, taken)[found.filled]

    return write_result(
        _with_mask(frame, found.filled),
        fill,
        header,
        scale=1,
        out=out,
        overwrite=overwrite,
        uncertainty=given is not None and given.array is not None,
    )


@dataclass(frozen=True)
class _Found:
    """What a method found.

    Attributes
    ----------
    filled : ndarray of bool
        Pixels to fill, in the shape of the data.
    count : int
        Artefacts.
    spec : ModelSpec
        What found them.
    parameters : dict
        For the header.
    history : tuple of str
        Lines for the header.
    counts : dict of int
        Artefacts by kind, where it is known.
    """

    filled: NDArray[np.bool_]
    count: int
    spec: ModelSpec
    parameters: dict[str, Any]
    history: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def _check_method(
    method: str,
    kinds: str | Sequence[str] | None,
    colour: Sequence[float] | None,
    model: ModelLike | None,
) -> tuple[str, ...]:
    """Return the kinds that are looked for."""
    if method not in METHODS:
        msg = f"method={method!r} is not known; allowed are {', '.join(METHODS)}"
        raise InputError(msg)
    others = {"kinds": kinds, "model": model} if method == "template" else {"colour": colour}
    for name, value in others.items():
        if value is not None:
            other = METHODS[method == "template"]
            msg = f"{name}={value!r} is of no use with method={method!r}; take method={other!r}"
            raise InputError(msg)
    chosen = _USUAL if kinds is None else (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not chosen or not set(chosen) <= set(KINDS):
        msg = f"kinds={kinds!r} are not allowed; take some of {', '.join(KINDS)}"
        raise InputError(msg)
    return tuple(kind for kind in KINDS if kind in chosen)


def _by_templates(frame: Frame, search: TemplateSearch) -> _Found:
    found = search.find(frame)
    whole = search.mask(found, frame.parts.data.shape[-2:])
    filled = np.zeros(frame.parts.data.shape, bool)
    for index, plane in frame.indexed():
        filled[index] = whole & ~plane.mask[:, :]
    return _Found(
        filled,
        len(found),
        ModelSpec("template", REMOVE_ARTIFACTS, "finds shapes", "template matching"),
        {
            "templates": tuple(search.shapes),
            "diameters": search.sizes,
            "false_alarms": search.false_alarms,
        },
        tuple(
            f"artefact: {a.template} of {a.diameter:g} pixels at (x, y) = ({a.x}, {a.y})"
            for a in found
        ),
    )


def _by_network(
    frame: Frame, model: ModelLike | None, kinds: tuple[str, ...], runtime: Runtime
) -> _Found:
    name = default_model(REMOVE_ARTIFACTS) if model is None else model
    engine = load_model(name, REMOVE_ARTIFACTS)
    narrowest = min(plane.psf.moffat.fwhm for plane in frame.usable)
    if narrowest < engine.spec.fwhm_range[0]:
        warn(
            f"the stars (FWHM {narrowest:.2f} px) are narrower than those that model "
            f"{engine.spec.name!r} tells from cosmic rays, {engine.spec.fwhm_range[0]:g} px: look "
            "at the mask, or leave cosmic rays out by kinds"
        )
    filled = np.zeros(frame.parts.data.shape, bool)
    counts = dict.fromkeys(kinds, 0)
    for index, plane in frame.indexed():
        if plane.usable:
            filled[index], found = find_contaminants(plane, engine, kinds, runtime)
            for kind, count in found.items():
                counts[kind] += count
    parameters = {"method": "unet", "kinds": kinds}
    return _Found(filled, sum(counts.values()), engine.spec, parameters, counts=counts)


def _with_mask(frame: Frame, filled: NDArray[np.bool_]) -> Frame:
    """Return the frame with filled pixels masked, beside those that were."""
    given = frame.parts.mask
    mask = filled if given is None else given | filled
    return replace(frame, parts=replace(frame.parts, mask=mask))
