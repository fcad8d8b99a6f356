"""What models there are, and how to get one by name."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import load_errors, load_network, read_card
from astro_sr_plugin.models.classical.bicubic import BicubicModel
from astro_sr_plugin.models.classical.interpolated import InterpolatedModel, describe_doubled
from astro_sr_plugin.models.classical.richardson_lucy import RichardsonLucyModel
from astro_sr_plugin.models.classical.wiener import WienerModel
from astro_sr_plugin.models.spec import Model, ModelSpec
from astro_sr_plugin.models.wiener_unet.network import NetworkModel

__all__ = ["WEIGHTS", "default_model", "list_models", "load_model", "with_errors"]

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
ERRORS = WEIGHTS / "errors"

_DEFAULTS = {
    ("denoise", 1): "denoise-fast",
    ("deconvolve", 1): "deconvolve-fast",
    ("super-resolve", 2): "super-resolve-x2-fast",
    ("super-resolve", 4): "super-resolve-x4-fast",
    ("remove-stars", 1): "remove-stars-fast",
}

_CLASSICAL = (
    ModelSpec(
        name="wiener",
        task="deconvolve",
        description="Linear Wiener filter to the target PSF; no training, keeps the noise honest.",
        architecture="WienerModel",
    ),
    ModelSpec(
        name="wiener",
        task="denoise",
        description="Linear Wiener filter that keeps the PSF; no training.",
        architecture="WienerModel",
    ),
    *(
        ModelSpec(
            name="wiener",
            task="super-resolve",
            description="Linear Wiener filter to the target PSF on the finer grid; no training.",
            architecture="WienerModel",
            scale=scale,
        )
        for scale in (2, 4)
    ),
    ModelSpec(
        name="richardson-lucy",
        task="deconvolve",
        description="20 Richardson-Lucy iterations to the target PSF; no training.",
        architecture="RichardsonLucyModel",
    ),
    *(
        ModelSpec(
            name="bicubic",
            task="super-resolve",
            description="Bicubic interpolation: larger, not sharper.",
            architecture="BicubicModel",
            scale=scale,
        )
        for scale in (2, 4)
    ),
)
_FAST, _QUALITY = "-fast", "-quality"
_ORIENTATIONS = 8
_X2, _X4 = "-x2", "-x4"

_CLASSES = {
    "WienerModel": WienerModel,
    "RichardsonLucyModel": RichardsonLucyModel,
    "BicubicModel": BicubicModel,
}


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
    """
    specs = [read_card(card) for card in sorted(WEIGHTS.glob("*.toml"))]
    specs += [_averaged(spec) for spec in specs if spec.name.endswith(_FAST)]
    specs += [describe_doubled(spec) for spec in specs if _X2 in spec.name]
    return [s for s in (*specs, *_CLASSICAL) if task is None or s.task == task]


def _averaged(spec: ModelSpec) -> ModelSpec:
    """Describe the mean of a network over all orientations of the image."""
    text = f"{spec.description} Mean over 8 orientations of the image: better, and slower."
    return replace(spec, name=spec.name.replace(_FAST, _QUALITY), description=text)


def default_model(task: str, scale: int = 1) -> str:
    """Return the name of the model that a verb takes unless told otherwise."""
    return _DEFAULTS[task, scale]


def load_model(
    model: str | os.PathLike[str], task: str | None = None, scale: int | None = None
) -> Model:
    """Load a model.

    Parameters
    ----------
    model : str or Path
        A name from `list_models`, or a ``.safetensors`` file of this package; one of scale 2 serves
        for scale 4 too.
    task : str, optional
        What it has to be for; a classical method may have one model for each of several tasks.
    scale : int, optional
        What scale it has to have.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model, it is for another task or scale, or its file is damaged.
    """
    text = os.fspath(model)
    if text.endswith(".safetensors"):
        loaded: Model = _load_file(text)
        if scale == 2 * loaded.spec.scale and loaded.spec.task == "super-resolve":
            loaded = InterpolatedModel(loaded)
        specs = [loaded.spec]
    else:
        specs = [s for s in list_models() if s.name == text]
        if not specs:
            known = sorted({s.name for s in list_models(task)})
            msg = (
                f"model={text!r} is not known; allowed are {', '.join(known)}, "
                "or a .safetensors file"
            )
            raise ModelError(msg)
    fitting = [s for s in specs if task in (None, s.task) and (scale is None or s.scale == scale)]
    if not fitting:
        is_for = ", ".join(sorted(f"{s.task} (scale {s.scale})" for s in specs))
        wanted = task if scale is None else f"{task} (scale {scale})"
        msg = f"model={text!r} is for {is_for}, not for {wanted}"
        raise ModelError(msg)
    if text.endswith(".safetensors"):
        return loaded
    spec = fitting[0]
    if spec.architecture in _CLASSES:
        return _CLASSES[spec.architecture](spec)
    return _load_shipped(spec.name)


@lru_cache(maxsize=8)
def _load_shipped(name: str) -> Model:
    if _X4 in name:
        return InterpolatedModel(_load_shipped(name.replace(_X4, _X2)))
    path = WEIGHTS / f"{name.replace(_QUALITY, _FAST)}.safetensors"
    model = load_network(path, read_card(path.with_suffix(".toml")))
    if name.endswith(_QUALITY):
        return replace(model, spec=_averaged(model.spec), orientations=_ORIENTATIONS)
    return model


def _load_file(text: str) -> Model:
    path = Path(text)
    card = path.with_suffix(".toml")
    return load_network(path, read_card(card) if card.is_file() else None)


def with_errors(model: Model) -> Model:
    """Return a shipped network that tells the standard deviation of its result too.

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
    told = sorted(path.stem for path in ERRORS.glob("*.safetensors"))
    name = model.spec.name.replace(_QUALITY, _FAST)
    if not isinstance(model, NetworkModel) or name not in told:
        msg = f"model={model.spec.name!r} tells no uncertainty; those that do are {', '.join(told)}"
        raise ModelError(msg)
    return replace(model, errors=load_errors(ERRORS / f"{name}.safetensors", model.spec))
