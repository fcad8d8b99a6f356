"""Set the scale of the shipped uncertainties, on scenes of seeds that no figure is measured on.

``python -m benchmarks.calibration --seeds 101,102 --out DIR`` runs the verbs on scenes of all
kinds, rendered by GalSim and measured as a user's image is, and writes the small networks again,
with a factor for each level of brightness, and their cards.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.models.checkpoint import load_errors, save_errors
from astro_sr_plugin.models.registry import default_model, load_model
from astro_sr_plugin.models.wiener_unet.error_net import LEVELS
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.provider import ERRORS
from astro_sr_plugin.training.config import to_toml
from benchmarks.coverage import COVERAGES, pulls_of
from benchmarks.scenes import KINDS, SCALES, TASKS, make_scene

__all__ = ["factors_of", "main"]

_FEWEST = 20_000  # pixels; those of one star are not as many witnesses
_ROUNDS = 4


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
            if here.size < _FEWEST:
                factors[k] = factors[max(k - 1, 0)]
                continue
            factors[k] *= np.mean(
                [np.quantile(here, share / 100) / width for share, width in COVERAGES.items()]
            )
    return factors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--seeds", default="101,102", help="comma-separated")
    parser.add_argument("--size", type=int, default=512, help="side of the scenes (pixels)")
    parser.add_argument("--scenes", type=Path, help="where scenes are kept (default: in DIR)")
    parser.add_argument("--out", type=Path, default=Path("calibration"), metavar="DIR")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    scenes = options.scenes or options.out / "scenes"
    for task in TASKS:
        found = [
            pulls_of(make_scene(kind, seed, size=options.size, cache=scenes), task)
            for kind in KINDS
            for seed in seeds
        ]
        factors = factors_of(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        print(task, *(f"{factor:.3f}" for factor in factors), file=sys.stderr)
        name = default_model(task, SCALES[task])
        _write(name, task, factors, options.out, options.seeds)
    return 0


def _write(name: str, task: str, factors: NDArray[np.float64], out: Path, seeds: str) -> None:
    model = load_model(name, task)
    if not isinstance(model, NetworkModel):
        msg = f"model {name!r} is no network"
        raise TypeError(msg)
    net = load_errors(ERRORS / f"{name}.safetensors", model.spec)
    net.factors *= torch.tensor(factors, dtype=net.factors.dtype)
    digest = save_errors(net, model.spec, out / f"{name}.safetensors")
    card = tomllib.loads((ERRORS / f"{name}.toml").read_text(encoding="utf-8"))
    card["sha256"] = digest
    card["training"]["data"] = (
        f"simulation; scale from GalSim scenes of seeds {seeds} (python -m benchmarks.calibration)"
    )
    (out / f"{name}.toml").write_text(to_toml(card), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
