"""The command ``doctor``: whether the package can work on this machine, where, and how fast."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin
from astro_sr_plugin.cli.options import Commands, add_command
from astro_sr_plugin.cli.siril import default_folder
from astro_sr_plugin.exceptions import AstroSRError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands", "check_weights"]

#: Distributions that the package needs, and the modules that they bring.
_NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "astropy": "astropy",
    "torch": "torch",
    "safetensors": "safetensors",
    "photutils": "photutils",
    "sep": "sep",
    "tifffile": "tifffile",
    "imagecodecs": "imagecodecs",
    "pillow": "PIL",
    "psutil": "psutil",
}

_SIDE = 512
"""Side of the simulated image of the speed test, in pixels."""

_STARS = 150
"""Stars in that image: enough to measure a profile by, few enough not to touch each other."""

_LEAST_MEMORY_GB = 2.0
"""Free memory below which large images may fail: what a run at 10,000 x 10,000 pixels takes
(``benchmarks/results/memory.md``: 2.1 to 2.2 GB)."""

_FOUND_BY_HAND = (
    "/Applications/Siril.app/Contents/MacOS/siril-cli",
    "C:/Program Files/Siril/bin/siril-cli.exe",
    "/var/lib/flatpak/app/org.siril.Siril",
    "~/.local/share/flatpak/app/org.siril.Siril",
)
"""Where installers put Siril when its command is not on the PATH: macOS, Windows, flatpak."""


def add_commands(commands: Commands) -> None:
    """Add doctor."""
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        usage="doctor",
        summary="Check this installation: versions, devices, speed, memory, weights, Siril.",
        details="The exit code is 0 if the package can work here, and 1 if it cannot.",
        examples="  astro-sr doctor\n  astro-sr doctor --json > doctor.json",
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="to be tried")


def _doctor(args: argparse.Namespace, console: Console) -> int:
    report = _examine(args.device)
    console.record(**report)
    console.say(_to_text(report))
    return 0 if report["ok"] else 1


def _examine(device: str = "auto") -> dict[str, Any]:
    """Examine the installation.

    Parameters
    ----------
    device : str, optional
        Where the speed is measured; ``"auto"`` is what the verbs choose by themselves.

    Returns
    -------
    dict
        ``version``, ``python``, ``system``, ``packages`` (name to version, None if missing),
        ``devices``, ``device`` (the one that would be used), ``threads``, ``memory``, ``disk``,
        ``weights``, ``speed``, ``siril``, ``problems`` (sentences) and ``ok`` (no problems).

    Raises
    ------
    InputError
        If there is no device of that name on any machine.
    """
    problems: list[str] = []
    packages = {name: _version(name, module, problems) for name, module in _NEEDED.items()}
    devices, used, threads = _devices(device, problems)
    weights = check_weights(Path(astro_sr_plugin.__file__).parent / "weights")
    problems += [f"weights file {w['file']!r} {w['state']}" for w in weights if not w["ok"]]
    if not weights:
        problems.append("the weights of the networks are missing")
    speed = None if problems else _speed(used, problems)
    if problems:
        problems.append("install the package again (see 'Installation' in the documentation)")
    return {
        "version": astro_sr_plugin.__version__,
        "python": platform.python_version(),
        "system": f"{platform.platform()}, {platform.machine()}",
        "packages": packages,
        "devices": devices,
        "device": used,
        "threads": threads,
        "memory": _memory(),
        "disk": _disk(),
        "weights": weights,
        "speed": speed,
        "siril": _siril(),
        "problems": problems,
        "ok": not problems,
    }


def _version(name: str, module: str, problems: list[str]) -> str | None:
    """Return the version of a package, after it has been imported."""
    try:
        found = version(name)
    except PackageNotFoundError:
        problems.append(f"the package {name} is not installed")
        return None
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        problems.append(f"the package {name} {found} cannot be imported: {_first_line(error)}")
    return found


def _devices(wanted: str, problems: list[str]) -> tuple[list[dict[str, str]], str | None, int]:
    """Return the devices that torch sees, the one that would be used, and its threads."""
    try:
        import torch

        from astro_sr_plugin.inference.predictor import choose_device
        from astro_sr_plugin.inference.runtime import Runtime
    except (ImportError, OSError):
        return [], None, 0
    devices = [{"device": "cpu", "name": platform.processor() or platform.machine()}]
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        devices.append({"device": f"cuda:{number}", "name": name})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU"})
    Runtime(device=wanted)
    try:
        used: str | None = choose_device(wanted)
    except AstroSRError as error:
        problems.append(str(error))
        used = None
    return devices, used, torch.get_num_threads()


def check_weights(folder: Path) -> list[dict[str, Any]]:
    """Compare every weights file with the SHA-256 in its card.

    Parameters
    ----------
    folder : Path
        A folder of ``.toml`` cards with ``.safetensors`` files beside them; its subfolders too.

    Returns
    -------
    list of dict
        ``file``, ``sha256`` (of the file, None if it is missing), ``state`` and ``ok``.
    """
    from astro_sr_plugin.models.checkpoint import file_digest

    found = []
    for card in sorted(folder.rglob("*.toml")):
        path = card.with_suffix(".safetensors")
        expected = tomllib.loads(card.read_text(encoding="utf-8")).get("sha256")
        digest = file_digest(path) if path.is_file() else None
        if digest is None:
            state = "is missing"
        else:
            state = "fits its card" if digest == expected else "does not fit its card"
        name = path.relative_to(folder).as_posix()
        found.append(
            {"file": name, "sha256": digest, "state": state, "ok": digest == expected is not None}
        )
    return found


def _speed(device: str | None, problems: list[str]) -> dict[str, Any] | None:
    """Time `denoise` on a simulated image, after a first run that loads the network."""
    import numpy as np

    image = _star_field(_SIDE)
    try:
        astro_sr_plugin.denoise(image[:128, :128], device=device)
        start = time.perf_counter()
        result = astro_sr_plugin.denoise(image, device=device)
        seconds = time.perf_counter() - start
    except (AstroSRError, RuntimeError) as error:
        problems.append(f"the device {device} fails: {_first_line(error)}")
        if device != "cpu":
            problems.append("the processor can be used instead: --device cpu")
        return None
    if not np.isfinite(result).all():
        problems.append(f"the device {device} returns values that are not finite")
    return {
        "verb": "denoise",
        "pixels": image.size,
        "device": device,
        "seconds": round(seconds, 3),
        "megapixels_per_second": round(image.size / 1e6 / seconds, 3),
    }


def _star_field(side: int) -> NDArray[np.float32]:
    """Return Gaussian stars on a noisy sky, in adu."""
    import numpy as np

    rng = np.random.default_rng(1)
    image = rng.normal(500.0, 8.0, (side, side))
    y, x = np.mgrid[-8:9, -8:9]
    star = np.exp(-(x**2 + y**2) / (2 * 1.4**2))  # 1.4 pixels of sigma: 3.3 pixels FWHM
    for _ in range(_STARS):
        row, column = rng.integers(8, side - 8, 2)
        image[row - 8 : row + 9, column - 8 : column + 9] += rng.uniform(200, 5000) * star
    return image.astype(np.float32)


def _memory() -> dict[str, float] | None:
    """Return the memory of the machine in GB, None if it cannot be found out."""
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.virtual_memory()
    return {"total_gb": _gb(memory.total), "free_gb": _gb(memory.available)}


def _disk() -> dict[str, Any]:
    folder = Path.cwd()
    return {"folder": str(folder), "free_gb": _gb(shutil.disk_usage(folder).free)}


def _gb(size: float) -> float:
    return round(size / 1e9, 1)


def _siril() -> dict[str, str | None]:
    """Return where Siril is, and where the scripts of this package lie; None if not found."""
    command = shutil.which("siril-cli") or shutil.which("siril")
    paths = (Path(os.path.expanduser(name)) for name in _FOUND_BY_HAND)
    command = command or next((str(path) for path in paths if path.exists()), None)
    folder = default_folder()
    installed = any(folder.glob("AstroSR_*.py"))
    return {"program": command, "scripts": str(folder) if installed else None}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _to_text(report: dict[str, Any]) -> str:
    rows = [("astro-sr", report["version"])]
    rows.append(("Python", f"{report['python']} ({sys.executable})"))
    rows.append(("System", report["system"]))
    rows += [(name, found or "missing") for name, found in report["packages"].items()]
    for entry in report["devices"]:
        used = report["device"] in (entry["device"], entry["device"].removesuffix(":0"))
        rows.append((f"Device {entry['device']}", entry["name"] + (" (used)" if used else "")))
    rows.append(("Threads", str(report["threads"])))
    memory, disk = report["memory"], report["disk"]
    if memory is not None:
        low = memory["free_gb"] < _LEAST_MEMORY_GB
        note = "; little: large images need a smaller --tile-size" if low else ""
        rows.append(("Memory", f"{memory['free_gb']} of {memory['total_gb']} GB free{note}"))
    rows.append(("Disk", f"{disk['free_gb']} GB free in {disk['folder']}"))
    rows += [
        (f"Weights {w['file']}", f"{(w['sha256'] or '')[:12]} {w['state']}")
        for w in report["weights"]
    ]
    if report["speed"]:
        rate, seconds = report["speed"]["megapixels_per_second"], report["speed"]["seconds"]
        rows.append(("Speed", f"{rate:.2f} Mpx/s (denoise, {_SIDE} x {_SIDE}, {seconds:.2f} s)"))
    rows.append(("Siril", report["siril"]["program"] or "not found"))
    scripts = report["siril"]["scripts"] or "not installed ('astro-sr siril install')"
    rows.append(("Siril scripts", scripts))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    lines += [f"Problem: {problem}" for problem in report["problems"]]
    return "\n".join(
        [*lines, "astro-sr can work here." if report["ok"] else "astro-sr cannot work here."]
    )
