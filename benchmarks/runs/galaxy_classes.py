"""Whether a classifier of galaxies knows them better after contaminants were removed.

A small network learns four kinds of simulated galaxies from clean images, and is then shown others
that are clean, that have discs, spheres and trails before them, and that were cleaned.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from astropy.nddata import CCDData
from numpy.typing import NDArray
from torch import Tensor, nn

import astro_sr_plugin as asr
from astro_sr_plugin.models.contaminant_net import KINDS
from benchmarks.arguments import add_options
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.truth.galaxy_classes import CLASSES, cells_of, make_mosaic

_TRAINING = 32
"""Mosaics that the classifier learns from."""
_EPOCHS = 20
"""Times that it sees each of them."""
_BATCH = 64

_COLUMNS = {
    "label": ("galaxies", ""),
    "accuracy": ("accuracy", ".2%"),
    "error": ("+-", ".2%"),
    "gain": ("more than contaminated", "+.2%"),
    "gain_error": ("+-", ".2%"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "seeds")
    parser.add_argument(
        "--mosaics", type=int, default=8, help="mosaics of 64 galaxies of each seed (default: 8)"
    )


def main(options: argparse.Namespace) -> int:
    """Train a classifier for each seed, show it all versions, and write the report."""
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for seed in options.seeds:
        net = _train(seed)
        rng = np.random.default_rng([seed, 1])
        for _ in range(options.mosaics):
            mosaic = make_mosaic(rng)
            versions = {"clean": mosaic.clean, "contaminated": mosaic.contaminated}
            for name, image in tuple(versions.items()):
                versions |= {f"{name}, {method}": i for method, i in _cleaned(image).items()}
            for name, image in versions.items():
                right.setdefault(name, []).append(_classify(net, image) == mosaic.labels)
        say("seed", seed)
    rows = [_row(name, right) for name in right]
    text = write_results(
        options.out,
        "galaxy_classes",
        title="Classes of galaxies, before and after cleaning",
        made=made_with(["remove-artifacts"]),
        sections=[
            f"{64 * options.mosaics * len(options.seeds)} galaxies ({', '.join(CLASSES)}),"
            f" seeds {', '.join(map(str, options.seeds))}, a classifier for each.",
            figures_table(rows, _COLUMNS),
        ],
        record={"rows": rows},
    )
    print(text)
    return 0


def _row(name: str, right: dict[str, list[NDArray[np.bool_]]]) -> dict[str, Any]:
    """Return the accuracy, and its gain over that of the same galaxies behind contaminants."""
    mine, base = (np.concatenate(right[which]).astype(float) for which in (name, "contaminated"))
    gain = mine - base
    return {
        "label": name,
        "accuracy": float(mine.mean()),
        "error": float(mine.std() / np.sqrt(len(mine))),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std() / np.sqrt(len(gain))),
    }


def _cleaned(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return an image without what each method finds, by the names of the methods."""
    given = CCDData(image, unit="adu")
    measured = asr.measure(given)
    network = asr.remove_artifacts(given, method="unet", kinds=KINDS, measured=measured)
    shapes = asr.remove_artifacts(given, templates="disc", measured=measured)
    both = asr.remove_artifacts(CCDData(network.data, unit="adu"), templates="disc")
    results = {"templates": shapes, "network": network, "network, then templates": both}
    return {f"cleaned by {name}": np.asarray(result.data) for name, result in results.items()}


def _seen(cells: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.arcsinh(cells / 3)).float()[:, None]


def _train(seed: int) -> nn.Module:
    """Return a classifier that learned from clean mosaics."""
    rng = np.random.default_rng([seed, 0])
    mosaics = [make_mosaic(rng) for _ in range(_TRAINING)]
    images = _seen(np.concatenate([cells_of(mosaic.clean) for mosaic in mosaics]))
    labels = torch.from_numpy(np.concatenate([mosaic.labels for mosaic in mosaics]))
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for taken, given in ((1, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(taken, given, 4, stride=2, padding=1),
            nn.BatchNorm2d(given),
            nn.ReLU(),
        ]
    net = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 4)
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    steps = _EPOCHS * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        pick = torch.randint(len(images), (_BATCH,))
        turned = images[pick].rot90(int(torch.randint(4, ())), (-2, -1))
        turned = turned.flip(-1) if torch.rand(()) < 0.5 else turned
        optimizer.zero_grad()
        F.cross_entropy(net(turned), labels[pick]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _classify(net: nn.Module, image: NDArray[np.floating]) -> NDArray[np.int64]:
    with torch.inference_mode():
        return np.asarray(net(_seen(cells_of(image))).argmax(1))
