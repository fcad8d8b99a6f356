"""Speed of the whole verbs against the x4 networks of the field, in one run on the same threads.

``python -m benchmarks.speed --shape 4000,6000`` times per input pixel: the reference network in
its best memory layout and tile size, without reading, padding or blending; our verbs as a user
calls them on an array, measuring of PSF and noise included. Runs alternate; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["GOALS", "main", "run_speed"]

GOALS = {"denoise": 8.0, "deconvolve": 8.0, "super-resolve": 5.0}
"""Least ratio of the reference's time per input pixel to that of the verb."""


def run_speed(
    *,
    shape: tuple[int, int] = (4000, 6000),
    threads: int = 2,
    repeats: int = 3,
    planes: int = 1,
    verbs: Sequence[str] = tuple(GOALS),
    model: str | None = None,
    reference: int = 512,
) -> dict[str, Any]:
    """Time verbs and reference networks in turns.

    Parameters
    ----------
    shape : (int, int)
        Frame given to the verbs (pixels).
    threads : int
        Threads of torch and processors that everything may use.
    repeats : int
        Rounds; medians are returned.
    planes : int
        1 for mono, 3 for colour frames (the reference always takes three channels at once).
    verbs : sequence of str
        Keys of `GOALS`.
    model : str, optional
        Model of all verbs instead of their default.
    reference : int
        Side of the square that the reference networks are given (pixels).

    Returns
    -------
    dict
        ``microseconds`` per input pixel by name, ``ratios`` by verb and reference, ``setting``.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    import numpy as np
    import torch

    import astro_sr_plugin as asr
    from benchmarks.frames import large_frame

    torch.set_num_threads(threads)
    frame = large_frame(shape)
    if planes == 3:
        frame = np.stack([frame] * 3)
    functions: dict[str, Callable[..., Any]] = {
        "denoise": asr.denoise,
        "deconvolve": asr.deconvolve,
        "super-resolve": asr.super_resolve,
    }
    options = {} if model is None else {"model": model}
    runs: dict[str, tuple[Callable[[], Any], int]] = {}
    references = _references(torch, reference, threads)
    for name, run in references.items():
        runs[name] = (run, reference**2)
    for name in verbs:
        runs[name] = (partial(functions[name], frame, **options), shape[0] * shape[1])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name, (run, pixels) in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / pixels * 1e6)
            print(f"{turn + 1}/{repeats} {name}: {times[name][-1]:.3f} us/px", file=sys.stderr)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "setting": {
            "shape": list(shape),
            "planes": planes,
            "threads": threads,
            "repeats": repeats,
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
        },
        "microseconds": median,
        "all": times,
        "ratios": {
            verb: {name: median[name] / median[verb] for name in references} for verb in verbs
        },
    }


def _references(torch: Any, side: int, threads: int) -> dict[str, Callable[[], None]]:
    """Return each reference network on its input, in the quickest layout and tile."""
    from benchmarks.reference_networks import BilinearFast, CompactSRVGG, infer

    torch.manual_seed(0)
    image = torch.rand(1, 3, side, side)
    runs: dict[str, Callable[[], None]] = {}
    for name, kind in (("srvgg-32x64-x4", CompactSRVGG), ("bilinear-fast-x4", BilinearFast)):
        choices = []
        for channels_last in (False, True):
            network: Any = kind().eval()
            if channels_last:
                network = network.to(memory_format=torch.channels_last)
            for tile in (64, 128, 256):
                part = image[:, :, :tile, :256]
                infer(network, part[:, :, :64, :64], tile=64, channels_last=channels_last)
                start = time.perf_counter()
                infer(network, part, tile=tile, channels_last=channels_last)
                seconds = (time.perf_counter() - start) / (part.shape[2] * part.shape[3])
                choices.append((seconds, tile, channels_last, network))
        _, tile, channels_last, network = min(choices, key=lambda choice: choice[0])
        layout = "channels_last" if channels_last else "contiguous"
        print(f"{name}: {layout}, tile {tile}, {threads} threads", file=sys.stderr)
        runs[name] = partial(infer, network, image, tile=tile, channels_last=channels_last)
    return runs


def report(result: dict[str, Any]) -> str:
    """Return the result as a Markdown table."""
    from benchmarks.tables import markdown_table

    times, setting = result["microseconds"], result["setting"]
    references = [name for name in times if name not in result["ratios"]]
    lines = [[name, f"{times[name]:.3f}", *("" for _ in references), ""] for name in references]
    for verb, ratios in result["ratios"].items():
        lines.append(
            [verb, f"{times[verb]:.3f}", *(f"{ratios[r]:.1f}x" for r in references)]
            + [f"{GOALS[verb]:.0f}x"]
        )
    head = ["", "us per input pixel", *(f"against {r}" for r in references), "goal"]
    ny, nx = setting["shape"]
    title = (
        f"Frame {ny} x {nx} x {setting['planes']}, {setting['threads']} threads, median of "
        f"{setting['repeats']}, torch {setting['torch']}"
    )
    return f"# Speed\n\n{title}\n\n{markdown_table(head, lines)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 where a ratio is below its goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--shape", default="4000,6000", help="ny,nx of the frame (pixels)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--planes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--verbs", default=",".join(GOALS), help="comma-separated")
    parser.add_argument("--reference", type=int, default=512, help="side of the reference's input")
    parser.add_argument("--model", help="model of all verbs instead of their default")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    ny, nx = (int(side) for side in options.shape.split(","))
    verbs = tuple(options.verbs.split(","))
    if unknown := set(verbs) - set(GOALS):
        parser.error(f"{', '.join(sorted(unknown))} is not one of {', '.join(GOALS)}")
    result = run_speed(
        shape=(ny, nx),
        threads=options.threads,
        repeats=options.repeats,
        planes=options.planes,
        verbs=verbs,
        model=options.model,
        reference=options.reference,
    )
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(result, indent=1))
    (folder / "speed.md").write_text(report(result))
    print(report(result))
    slow = [v for v, ratios in result["ratios"].items() if min(ratios.values()) < GOALS[v]]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
