"""Set the scale of the shipped uncertainties on images with a known truth.

::

    python -m benchmarks quality --seeds 101,102 --no-ours --no-peers --out calibration
    python -m astro_sr_plugin.training.calibrate --scenes calibration/scenes --out calibration

The verbs run on the images, which are measured as a user's are, and the small networks are written
again with a factor for each level of brightness, with their cards. An image is an ``.npz`` file
with the arrays ``observed``, ``truth_denoise``, ``truth_deconvolve``, ``truth_x2`` (twice as many
pixels), ``background``, ``background_x2``, ``sigma`` (noise of the empty sky), ``excluded`` (pixels
that nothing is measured on) and ``fwhm`` (of the optics, pixels). No figure of the documentation
may come from the same images.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.checkpoint import load_errors, save_errors
from astro_sr_plugin.models.registry import default_model, load_model
from astro_sr_plugin.models.wiener_unet.error_net import LEVELS
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.provider import ERRORS
from astro_sr_plugin.training.config import to_toml

__all__ = ["COVERAGES", "calibrate_model", "factors_of", "main", "pulls_of"]

COVERAGES = {68: 1.0, 90: 1.645, 95: 1.96}
"""Shares of a normal distribution (per cent), and their half widths in standard deviations."""

TASKS = {
    "denoise": ("truth_denoise", "background", 1),
    "deconvolve": ("truth_deconvolve", "background", 1),
    "super-resolve": ("truth_x2", "background_x2", 2),
}
"""Arrays of an image that hold the truth and the background of a task, and its scale."""

_BORDER = 8
"""Input pixels along the edges that are not compared."""
_MIN_PIXELS = 20_000
"""Pixels of a level below which it has the factor of the level below; those of one star are not
independent."""
_ROUNDS = 4
"""Iterations: the factor of a level changes the scale of its neighbours."""


def pulls_of(
    image: Mapping[str, Any], task: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run a verb on an image and compare its error with the uncertainty that it gives.

    Parameters
    ----------
    image : mapping
        The arrays that the module names. Only ``observed`` is given to the verb, and the FWHM of
        the truth.
    task : str
        A key of `TASKS`.

    Returns
    -------
    pulls : numpy.ndarray
        (result - truth) / uncertainty of every pixel that is compared, shape (n,).
    level : numpy.ndarray
        (result - background) / sigma of these pixels.
    """
    from astropy.nddata import CCDData

    from astro_sr_plugin.enhancement.deconvolve import deconvolve
    from astro_sr_plugin.enhancement.denoise import denoise
    from astro_sr_plugin.enhancement.super_resolve import super_resolve

    verbs: dict[str, Callable[..., Any]] = {
        "denoise": denoise,
        "deconvolve": deconvolve,
        "super-resolve": super_resolve,
    }
    truth, background, scale = TASKS[task]
    options: dict[str, Any] = {"uncertainty": True}
    if task != "denoise":
        options["target_fwhm"] = max(2.0, float(image["fwhm"]) * scale / 2)
    result = verbs[task](CCDData(image["observed"].copy(), unit="adu"), **options)
    data = np.asarray(result.data, np.float64)
    pulls = (data - image[truth]) / result.uncertainty.array
    level = (data - image[background]) / np.asarray(image["sigma"])[..., None, None]
    use = ~np.kron(image["excluded"], np.ones((scale, scale), dtype=bool))
    inner = np.zeros_like(use)
    inner[_BORDER * scale : -_BORDER * scale, _BORDER * scale : -_BORDER * scale] = True
    use = np.broadcast_to(use & inner, data.shape)
    return pulls[use], level[use]


def factors_of(pulls: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what uncertainties at `LEVELS` should be multiplied.

    Parameters
    ----------
    pulls : numpy.ndarray
        Error over uncertainty of each pixel, shape (n,).
    level : numpy.ndarray
        Brightness of these pixels, in noise sigma.

    Returns
    -------
    numpy.ndarray
        The mean of what makes each of the three coverages right, at every level; between them the
        networks interpolate in the logarithm, and so does this.
    """
    nodes = np.log(LEVELS)
    place = np.log(np.clip(np.abs(level), LEVELS[0], LEVELS[-1]))
    nearest = np.searchsorted((nodes[1:] + nodes[:-1]) / 2, place)
    factors = np.ones(len(LEVELS))
    size = np.abs(pulls)
    for _ in range(_ROUNDS):
        scaled = size / np.interp(place, nodes, factors)
        for k in range(len(LEVELS)):
            here = scaled[nearest == k]
            if here.size < _MIN_PIXELS:
                factors[k] = factors[max(k - 1, 0)]
                continue
            factors[k] *= np.mean(
                [np.quantile(here, share / 100) / width for share, width in COVERAGES.items()]
            )
    return factors


def calibrate_model(
    images: Iterable[Mapping[str, Any]], task: str, out: Path, *, source: str
) -> NDArray[np.float64]:
    """Write the network of the uncertainty of a task's default model with a new scale.

    Parameters
    ----------
    images : iterable of mapping
        Images with a known truth, as for `pulls_of`.
    task : str
        A key of `TASKS`.
    out : pathlib.Path
        Folder for the weights and the card.
    source : str
        What the images are, for the card.

    Returns
    -------
    numpy.ndarray
        The factors that the uncertainties are multiplied by, one for each of `LEVELS`.

    Raises
    ------
    InputError
        If there is no image.
    """
    found = [pulls_of(image, task) for image in images]
    if not found:
        msg = f"images for {task!r} are none; at least one is needed"
        raise InputError(msg)
    factors = factors_of(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    name = default_model(task, TASKS[task][2])
    model = load_model(name, task)
    assert isinstance(model, NetworkModel)
    net = load_errors(ERRORS / f"{name}.safetensors", model.spec)
    net.factors *= torch.tensor(factors, dtype=net.factors.dtype)
    out.mkdir(parents=True, exist_ok=True)
    digest = save_errors(net, model.spec, out / f"{name}.safetensors")
    card = tomllib.loads((ERRORS / f"{name}.toml").read_text(encoding="utf-8"))
    card["sha256"] = digest
    command = "python -m astro_sr_plugin.training.calibrate"
    card["training"]["data"] = f"simulation; scale from {source} ({command})"
    (out / f"{name}.toml").write_text(to_toml(card), encoding="utf-8")
    return factors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m astro_sr_plugin.training.calibrate",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument(
        "--scenes", type=Path, required=True, metavar="FOLDER", help="of .npz files"
    )
    parser.add_argument("--out", type=Path, default=Path("calibration"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    paths = sorted(options.scenes.glob("*.npz"))
    if not paths:
        parser.error(f"--scenes {options.scenes} holds no .npz file")
    source = f"{len(paths)} rendered scenes"
    for task in TASKS:
        images = (dict(np.load(path)) for path in paths)
        factors = calibrate_model(images, task, options.out, source=source)
        sys.stderr.write(f"{task} {' '.join(f'{factor:.3f}' for factor in factors)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
