"""Weights on disk: safetensors with the model's declaration inside, and a card beside them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.architectures import ARCHITECTURES
from astro_sr_plugin.models.diffusion.model import as_model
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.models.wiener_unet.error_net import ErrorNet
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.tasks import TASKS

__all__ = [
    "declaration",
    "file_digest",
    "load_errors",
    "load_network",
    "read_card",
    "save_errors",
    "save_network",
]

_DECLARED = ("name", "task", "description", "architecture", "scale", "halo", "license")
"""Fields that every card and every weights file has."""
_SHAPE = (
    *("channels_in", "channels_out", "domain", "needs_psf", "tiling", "min_size", "stochastic"),
    *("multiple_of", "finest_target"),
)
"""Fields that a card and a weights file may have; their defaults are those of `ModelSpec`."""
_OPTIONAL = (*_SHAPE, "default", "has_errors", "options", "figures", "variants")
"""Fields that a card may have; their defaults are those of `ModelSpec`."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_card(path: Path) -> ModelSpec:
    """Read the declaration of a model from its card.

    Raises
    ------
    ModelError
        If the card is missing, damaged or incomplete.
    """
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
        weights = path.with_suffix(".safetensors")
        return ModelSpec(
            **{key: card[key] for key in _DECLARED},
            fwhm_range=(float(card["fwhm_range"][0]), float(card["fwhm_range"][1])),
            sha256=card["sha256"],
            size=weights.stat().st_size if weights.is_file() else 0,
            trained_on=str(card.get("training", {}).get("data", "")),
            **{key: card[key] for key in _OPTIONAL if key in card},
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        msg = f"model card {str(path)!r} cannot be read ({error}); install the package again"
        raise ModelError(msg) from error


def declaration(spec: ModelSpec) -> dict[str, Any]:
    """Return what a weights file says of its network: all that follows from the architecture."""
    declared: dict[str, Any] = {key: getattr(spec, key) for key in _DECLARED}
    usual = {field.name: field.default for field in fields(ModelSpec)}
    declared |= {key: getattr(spec, key) for key in _SHAPE if getattr(spec, key) != usual[key]}
    return declared | {"fwhm_range": list(spec.fwhm_range), "options": spec.options}


def save_network(net: nn.Module, spec: ModelSpec, path: Path) -> str:
    """Write the weights in float16, with the declaration inside, and return their SHA-256."""
    return _write(net, {"astro_sr": json.dumps(declaration(spec))}, path)


def _write(net: nn.Module, metadata: dict[str, str], path: Path) -> str:
    tensors = {k: v.detach().half().contiguous() for k, v in net.state_dict().items()}
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    save_file(tensors, part, metadata=metadata)
    os.replace(part, path)
    return file_digest(path)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors, in float32."""
    with safe_open(path, framework="pt") as stream:
        tensors = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118
        return stream.metadata() or {}, tensors


def load_network(path: Path, spec: ModelSpec | None = None) -> NetworkModel | ExternalModel:
    """Load a network of this project, or a published architecture that it trained.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file written by `save_network`.
    spec : ModelSpec, optional
        Its card; the file must be the one that the card describes.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or not the one of the card.
    """
    if not path.is_file():
        msg = f"weights file {str(path)!r} does not exist"
        raise ModelError(msg)
    digest = file_digest(path)
    if spec is not None and digest != spec.sha256:
        msg = (
            f"weights file {str(path)!r} is damaged or is not that of model {spec.name!r}: its "
            f"SHA-256 begins with {digest[:12]}, the card says {spec.sha256[:12]}"
        )
        raise ModelError(msg)
    try:
        metadata, tensors = _read(path)
        declared = json.loads(metadata["astro_sr"])
        if spec is None:
            declared["fwhm_range"] = tuple(declared["fwhm_range"])
            spec = ModelSpec(**declared, sha256=digest, size=path.stat().st_size)
        # Weights that are drawn would change the random numbers of the program around this.
        with torch.device("meta"):
            net = _build(spec)
        net.load_state_dict(tensors, assign=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"weights file {str(path)!r} does not hold a model of this package: {reason}"
        raise ModelError(msg) from error
    net.eval().requires_grad_(False)
    for parameter in net.parameters():
        if not torch.isfinite(parameter).all():
            msg = f"weights file {str(path)!r} is damaged: it holds values that are not finite"
            raise ModelError(msg)
    if isinstance(net, WienerUNet):
        return NetworkModel(spec, net)
    return as_model(spec, net, window=getattr(net, "window", 1), size_multiple=spec.multiple_of)


def _build(spec: ModelSpec) -> nn.Module:
    if spec.architecture in ARCHITECTURES:
        return ARCHITECTURES[spec.architecture](scale=spec.scale, **spec.options)
    return WienerUNet(scale=spec.scale, outputs=TASKS[spec.task].outputs, **spec.options)


def save_errors(net: ErrorNet, of: ModelSpec, path: Path) -> str:
    """Write the network of the uncertainty of a model, and return its SHA-256."""
    return _write(net, {"of_sha256": of.sha256}, path)


def load_errors(path: Path, of: ModelSpec) -> ErrorNet:
    """Load the network of the uncertainty of a model.

    Parameters
    ----------
    path : Path
        A file written by `save_errors`.
    of : ModelSpec
        The model; the file must have been made for its weights.

    Raises
    ------
    ModelError
        If the file is missing or damaged, or was made for other weights.
    """
    if not path.is_file():
        msg = f"model {of.name!r} estimates no uncertainty: its file {path.name!r} does not exist"
        raise ModelError(msg)
    try:
        metadata, tensors = _read(path)
        made_for = metadata["of_sha256"]
        with torch.device("meta"):
            net = ErrorNet(of.scale)
        net.load_state_dict(tensors, assign=True)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"weights file {str(path)!r} does not hold the uncertainty of a model: {reason}"
        raise ModelError(msg) from error
    if made_for != of.sha256:
        msg = (
            f"weights file {str(path)!r} was made for other weights of model {of.name!r}: their "
            f"SHA-256 begins with {made_for[:12]}, those here with {of.sha256[:12]}"
        )
        raise ModelError(msg)
    return net.eval().requires_grad_(False)
