"""Weights from files of any origin, read without running what may be in them.

A pickle is a program. `torch.load(weights_only=True)` runs only what makes tensors and containers;
everything else is refused. Sizes are compared with the size of the file before any data is used: a
file of 2 kB can declare a tensor of a terabyte.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.external.layout import MOST_WEIGHTS, Config, State

__all__ = ["PICKLED", "first_line", "read_folder", "read_state", "unreadable"]

PICKLED = (".pth", ".pt", ".tar", ".bin", ".ckpt")
"""Endings of files that ``torch.save`` writes; ``.tar`` is that of ``.pth.tar``."""

_MOST_TENSORS = 20_000
"""Tensors in a file; a network of 170 million weights has 2,000, a checkpoint three times that."""

_MOST_BYTES = 4 << 30
"""Size of a file in bytes: the weights with the state of an optimiser, in float32."""

_MOST_PICKLE = 16 << 20
"""Size in bytes of the pickled names and shapes; a checkpoint of 20,000 tensors needs 4 MB."""

_MOST_JSON = 1 << 20
"""Size of a JSON file in bytes; four vectors as text are 50 kB."""

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights in a folder of Hugging Face, in the order in which they are looked for."""

_WRAPPERS = (
    *("params_ema", "params-ema", "ema_state_dict", "model_state_dict", "state_dict", "params"),
    *("model", "net", "netG", "generator", "weights"),
)
"""Names under which training programs store the weights beside other things, best first."""

_PREFIXES = ("module.", "netG.", "generator.", "_orig_mod.", "network.")
"""What training programs put before every name."""


class _Ignored:
    """What stands for a NumPy scalar of a checkpoint, such as its best PSNR: nothing is built."""

    def __init__(self, *args: object) -> None:
        del args

    def __setstate__(self, state: object) -> None:
        del state


_NUMPY_SCALARS: list[Any] = [
    (_Ignored, "numpy._core.multiarray.scalar"),
    (_Ignored, "numpy.core.multiarray.scalar"),
    (_Ignored, "numpy.dtype"),
    *((_Ignored, f"numpy.dtypes.{type(np.dtype(kind)).__name__}") for kind in "fdlq?"),
]
"""Callables that pickled NumPy scalars name."""


def unreadable(path: Path, reason: str) -> ModelError:
    """Return the error of a file that cannot be used, in one line.

    Names of weights come from the file: what would move the cursor of a terminal is left out.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in reason)
    return ModelError(f"cannot read model {str(path)!r}: {plain}")


def read_folder(folder: Path) -> tuple[Path, Config]:
    """Find the weights in a folder of Hugging Face, and read its configuration.

    Raises
    ------
    ModelError
        If the folder has no weights, has them in several files, or its configuration is damaged.
    """
    file = next((folder / name for name in _FOLDER_FILES if (folder / name).is_file()), None)
    if file is None:
        reason = f"the folder has no file {' or '.join(_FOLDER_FILES)}"
        raise unreadable(folder, reason)
    config = folder / "config.json"
    if not config.is_file():
        return file, {}
    try:
        return file, read_json(config)
    except (OSError, ValueError) as error:
        raise unreadable(folder, f"its config.json is damaged ({first_line(error)})") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of moderate size.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, is too large, or is no JSON object.
    """
    if path.stat().st_size > _MOST_JSON:
        msg = f"it is larger than {_MOST_JSON >> 20} MiB"
        raise ValueError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(content, dict):
        msg = "it is no JSON object"
        raise ValueError(msg)  # noqa: TRY004
    return content


def read_state(path: Path) -> State:
    """Read the weights of a network.

    Parameters
    ----------
    path : Path
        A file of `torch.save` (``.pth``, ``.pth.tar``, ``.pt``, ``.bin``) or of safetensors.

    Returns
    -------
    dict of Tensor
        float32 on the CPU, without the names that training programs wrap around them.

    Raises
    ------
    ModelError
        If the file is damaged, holds code, or declares sizes that it does not hold.
    """
    if not path.is_file():
        raise unreadable(path, "no such file")
    if path.stat().st_size > _MOST_BYTES:
        raise unreadable(path, f"it is larger than {_MOST_BYTES >> 30} GiB")
    if path.suffix.lower() == ".safetensors":
        content: object = _read_safetensors(path)
    else:
        content = _read_pickled(path)
    try:
        return _clean(_find_weights(content))
    except ValueError as error:
        raise unreadable(path, str(error)) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stream:
            names = list(stream.keys())
            shapes = {name: stream.get_slice(name).get_shape() for name in names}
            _check_sizes([int(np.prod(shape, dtype=object)) for shape in shapes.values()])
            return {name: stream.get_tensor(name) for name in names}
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, first_line(error)) from error


def _read_pickled(path: Path) -> object:
    zipped = _check_archive(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            # What PyTorch says of odd pickles is about its own ways, or leads to an error.
            warnings.simplefilter("ignore")
            # Mapped, so that data beyond the end of a record cannot be reached.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything
        raise unreadable(path, _explain(error)) from error


def _check_archive(path: Path) -> bool:
    """Check a zip archive, and return whether it is one; older files are plain pickles."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, f"it is damaged ({first_line(error)})") from error
    names = [record.filename for record in records]
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        reason = "it is a TorchScript program, and programs in files are not run; "
        raise unreadable(path, reason + "save its state_dict() with torch.save")
    if "data.pkl" not in inner:
        raise unreadable(path, "it is a zip archive without weights of PyTorch")
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED:
            raise unreadable(path, "it is a compressed archive, which PyTorch does not write")
        if record.filename.endswith("/data.pkl") and record.file_size > _MOST_PICKLE:
            raise unreadable(path, f"its index is larger than {_MOST_PICKLE >> 20} MiB")
    return True


def _explain(error: Exception) -> str:
    """Return in one sentence why a pickle was refused."""
    text = str(error)
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class ", "Trying to load "):
        if mark in text:
            name = text.split(mark)[1].split()[0]
            return (
                f"it needs the code {name}, and code in files is not run; save the "
                "state_dict() of the network with torch.save"
            )
    if "TorchScript" in text:
        return "it is a TorchScript program, and programs in files are not run"
    if "pickle protocol" in text or "magic number" in text:
        return "it is damaged, or torch.save did not write it"
    return f"it is damaged ({first_line(error)})"


def first_line(error: Exception) -> str:
    """Return what an error says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_sizes(sizes: list[int]) -> None:
    """Raise `ValueError` where there are too many tensors or weights."""
    if len(sizes) > _MOST_TENSORS or sum(sizes) > MOST_WEIGHTS:
        msg = (
            f"it has {sum(sizes)} weights in {len(sizes)} tensors; "
            f"allowed are up to {MOST_WEIGHTS} in {_MOST_TENSORS}"
        )
        raise ValueError(msg)


def _find_weights(content: object) -> Mapping[Any, Tensor]:
    """Return the weights of a checkpoint: at the top, or one or two levels below.

    Raises
    ------
    ValueError
        If there are none.
    """
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors and not any(isinstance(content.get(name), Mapping) for name in _WRAPPERS):
            return tensors
        inner = [content[n] for n in _WRAPPERS if isinstance(content.get(n), Mapping)]
        if not inner:
            break
        content = inner[0]
    kind = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        kind = f"entries named {', '.join(sorted(map(str, content))[:5]) or 'nothing'}"
    msg = f"it holds {kind} in place of the weights of a network"
    raise ValueError(msg)


def _clean(weights: Mapping[Any, Tensor]) -> State:
    """Check every tensor, and return them in float32 without common prefixes.

    Raises
    ------
    ValueError
        If a tensor is not what it declares, or there are too many weights.
    """
    for name, tensor in weights.items():
        if not isinstance(name, str):
            msg = f"a tensor of it has the name {name!r}, which is no text"
            raise ValueError(msg)  # noqa: TRY004
        _check_tensor(name, tensor)
    _check_sizes([tensor.numel() for tensor in weights.values()])
    state = {name: _plain(tensor) for name, tensor in weights.items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            msg = f"its tensor {name} holds values that are not finite"
            raise ValueError(msg)
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy in float32; whole numbers, such as counters, stay what they are."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).clone().contiguous()


def _check_tensor(name: str, tensor: Tensor) -> None:
    """Raise `ValueError` unless a tensor holds as many values as it declares."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu" or tensor.is_complex():
        msg = f"its tensor {name} is not a plain array of real numbers"
        raise ValueError(msg)
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        msg = f"its tensor {name} declares {tensor.numel()} values, but the file does not hold them"
        raise ValueError(msg)
