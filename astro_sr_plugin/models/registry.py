"""The list of models, and loading one by its name, from its file, or as it is."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import load_errors
from astro_sr_plugin.models.classical.interpolated import InterpolatedModel
from astro_sr_plugin.models.classical.provider import ClassicalModels
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.diffusion.model import DiffusionModel
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.external.provider import ExternalNetworks
from astro_sr_plugin.models.published import PublishedNetworks
from astro_sr_plugin.models.spec import Entry, Model, ModelSpec, Provider, refuse_condition
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.provider import HouseNetworks
from astro_sr_plugin.tasks import REMOVE_ARTIFACTS

__all__ = ["PROVIDERS", "ModelLike", "default_model", "list_models", "load_model", "with_errors"]

_log = logging.getLogger(__name__)

ModelLike: TypeAlias = str | os.PathLike[str] | Model
"""A name from `list_models`, the path of a weights file, or a loaded model."""

PROVIDERS: tuple[Provider, ...] = (
    *(HouseNetworks(), ClassicalModels()),
    *(PublishedNetworks(), ExternalNetworks()),
)
"""Where models come from; a file goes to the first that recognises it."""


def list_models(task: str | None = None) -> list[ModelSpec]:
    """Describe the models that can be used without further files.

    Parameters
    ----------
    task : {'denoise', 'deconvolve', 'super-resolve', 'remove-stars'}, optional
        Only models for this task.

    Returns
    -------
    list of ModelSpec
        Trained networks first.

    Raises
    ------
    ModelError
        If a shipped card is damaged.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> [spec.name for spec in asr.list_models("deconvolve") if spec.default]
    ['deconvolve-fast']
    """
    specs = [entry.spec for provider in PROVIDERS for entry in provider.entries()]
    return [spec for spec in specs if task in (None, spec.task)]


def default_model(task: str, scale: int = 1) -> str:
    """Return the name of the model that a verb takes by default; `KeyError` if there is none."""
    return {s.scale: s.name for s in list_models(task) if s.default}[scale]


def load_model(
    model: ModelLike,
    task: str | None = None,
    scale: int | None = None,
    *,
    condition: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a model.

    Parameters
    ----------
    model : str, Path or Model
        A name from `list_models`, the path of a weights file, or a model, which is checked. A file
        of this project of scale 2 serves for scale 4 too. Files of other projects are recognised
        by the names and shapes of their weights, see :doc:`/external_models`.
    task : str, optional
        What it has to be for; a classical method may have one model for each of several tasks.
    scale : int, optional
        What scale it has to have.
    condition : path, optional
        Vectors of a conditioned network, with the path of its file.

    Returns
    -------
    Model
        It goes to ``model=`` of any verb of its task. From the file of another project an
        `ExternalModel`.

    Raises
    ------
    ModelError
        If there is no such model, it is for another task or scale, its file is damaged, it
        declares what the verbs cannot run, or ``condition`` is of no use for it.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> model = asr.load_model("denoise-fast")
    >>> model.spec.task, model.spec.scale
    ('denoise', 1)
    """
    name, entries = _find(model, task, None if condition is None else Path(condition))
    fitting = [
        entry
        for entry in entries
        if task in (None, entry.spec.task) and (scale is None or entry.spec.scale == scale)
    ]
    if not fitting:
        is_for = ", ".join(sorted(f"{e.spec.task} (scale {e.spec.scale})" for e in entries))
        wanted = task if scale is None else f"{task} (scale {scale})"
        msg = f"model={name!r} is for {is_for}, not for {wanted}"
        raise ModelError(msg)
    if task is not None:
        _check_runnable(fitting[0].spec)
    _log.info("model %s for %s", fitting[0].spec.name, fitting[0].spec.task)
    loaded = fitting[0].load()
    if task is not None and loaded.spec.domain == "unit" and not isinstance(loaded, ExternalModel):
        msg = (
            f"model={loaded.spec.name!r} has the domain 'unit'; the verbs run such a model as an "
            "ExternalModel alone"
        )
        raise ModelError(msg)
    return loaded


def _check_runnable(spec: ModelSpec) -> None:
    """Refuse a model that the verbs cannot run as it declares.

    Raises
    ------
    ModelError
        If it takes or returns a number of planes that they cannot give, or is stochastic.
    """
    linear = spec.domain == "noise-sigma"
    planes = (1,) if linear and spec.task in ("remove-stars", REMOVE_ARTIFACTS) else (1, 3)
    returned: tuple[int, ...] = (spec.channels_in,) if linear else (1, 3)
    if spec.task == REMOVE_ARTIFACTS:
        returned = (len(KINDS),)
    for wanted, reason in (
        (spec.channels_in in planes, f"takes {spec.channels_in} planes at once"),
        (spec.channels_out in returned, f"returns {spec.channels_out} planes"),
        (not spec.stochastic, "gives another result in every run"),
    ):
        if not wanted:
            msg = (
                f"model={spec.name!r} {reason}; the verbs run models of one or three planes whose "
                "results are repeatable"
            )
            raise ModelError(msg)


def with_errors(model: Model) -> Model:
    """Return a model that estimates the standard deviation of its result too.

    Parameters
    ----------
    model : Model
        From `load_model`.

    Raises
    ------
    ModelError
        If there is no uncertainty for the model.
    """
    if isinstance(model, InterpolatedModel):
        return replace(model, inner=with_errors(model.inner))
    if isinstance(model, DiffusionModel):
        return model
    if not isinstance(model, NetworkModel) or model.errors_path is None:
        able = sorted(s.name for s in list_models() if s.has_errors)
        msg = (
            f"model={model.spec.name!r} estimates no uncertainty; those that do are "
            f"{', '.join(able)}"
        )
        raise ModelError(msg)
    return replace(model, errors=load_errors(model.errors_path, model.spec))


def _find(model: object, task: str | None, condition: Path | None) -> tuple[str, list[Entry]]:
    """Return how the user calls a model, and what it can stand for."""
    if isinstance(model, Model):
        if condition is not None:
            msg = (
                f"condition={str(condition)!r} comes too late: model {model.spec.name!r} is loaded "
                "already; give the path of its file together with the vectors"
            )
            raise ModelError(msg)
        return model.spec.name, [Entry(model.spec, lambda: model)]
    if not isinstance(model, str | os.PathLike):
        msg = (
            f"model is a {type(model).__name__}; allowed are a name, the path of a weights file, "
            "and a model from load_model"
        )
        raise ModelError(msg)
    name = os.fspath(model)
    named = _named(name)
    if named:
        refuse_condition(condition, f"model {name!r}")
        return name, named
    path = Path(name)
    for provider in PROVIDERS:
        if provider.detect(path):
            return name, provider.load(path, condition)
    known = sorted({spec.name for spec in list_models(task)})
    msg = f"model={name!r} is not known; allowed are {', '.join(known)}, or a file of weights"
    raise ModelError(msg)


@lru_cache(maxsize=16)
def _named(name: str) -> list[Entry]:
    """Return the entries of a name, whose models are loaded once."""
    return [
        Entry(entry.spec, lru_cache(maxsize=1)(entry.load))
        for provider in PROVIDERS
        for entry in provider.entries()
        if entry.spec.name == name
    ]
