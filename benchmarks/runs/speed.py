"""Speed of the whole verbs against the x4 networks of the field, on the same threads.

Timed per input pixel: the reference networks in their best memory layout and tile size, without
reading, padding or blending; the verbs on an array, with the settings of the command line, the
measuring of PSF and noise included. Runs alternate; medians are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.arguments import one_of, shape

GOALS = {"denoise": 8.0, "deconvolve": 8.0, "super-resolve": 5.0}
"""Least ratio of the reference's time per input pixel to that of the verb."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument(
        "--shape", type=shape, default=(4000, 6000), help="ny,nx of the frame (pixels)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--planes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--verbs", type=one_of(GOALS), default=tuple(GOALS), help="comma-separated")
    parser.add_argument("--reference", type=int, default=512, help="side of the reference's input")
    parser.add_argument("--model", help="model of all verbs instead of their default")


def main(options: argparse.Namespace) -> int:
    """Time verbs and references, and write the report; return 1 where a ratio is below its goal."""
    # Before NumPy and torch are loaded, which read them.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    result = run_speed(
        shape=options.shape,
        threads=options.threads,
        repeats=options.repeats,
        planes=options.planes,
        verbs=options.verbs,
        model=options.model,
        reference=options.reference,
    )
    from benchmarks.figures.results import made_with, write_results

    setting = result["setting"]
    about = (
        "Frame {} x {} x {planes}, {threads} threads, median of {repeats}, torch {torch}"
    ).format(*setting["shape"], **setting)
    models = [] if options.model is None else [options.model]
    text = write_results(
        options.out,
        "speed",
        title="Speed",
        made=made_with(options.verbs, models=models),
        sections=[about, _table(result)],
        record=result,
    )
    print(text)
    slow = [v for v, ratios in result["ratios"].items() if min(ratios.values()) < GOALS[v]]
    return 1 if slow else 0


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
    from benchmarks.figures.results import say
    from benchmarks.peers.verbs import VERBS
    from benchmarks.truth.large_frame import large_frame

    torch.set_num_threads(threads)
    frame = large_frame(shape)
    if planes == 3:
        frame = np.stack([frame] * 3)
    # As the command line runs them.
    options: dict[str, Any] = {"runtime": asr.Runtime(reuse_memory=True)}
    if model is not None:
        options["model"] = model
    runs: dict[str, tuple[Callable[[], Any], int]] = {}
    references = _references(torch, reference, threads)
    for name, run in references.items():
        runs[name] = (run, reference**2)
    for name in verbs:
        runs[name] = (partial(VERBS[name], frame, **options), shape[0] * shape[1])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name, (run, pixels) in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / pixels * 1e6)
            say(f"{turn + 1}/{repeats} {name}: {times[name][-1]:.3f} us/px")
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
    from astro_sr_plugin.models.astrosleuth import AstroSleuthFast
    from astro_sr_plugin.models.srvgg import SRVGG
    from benchmarks.figures.results import say
    from benchmarks.peers.reference_networks import infer

    torch.manual_seed(0)
    image = torch.rand(1, 3, side, side)
    runs: dict[str, Callable[[], None]] = {}
    for name, kind in (
        ("srvgg-32x64-x4", partial(SRVGG, convolutions=32)),
        ("bilinear-fast-x4", AstroSleuthFast),
    ):
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
        say(f"{name}: {layout}, tile {tile}, {threads} threads")
        runs[name] = partial(infer, network, image, tile=tile, channels_last=channels_last)
    return runs


def _table(result: dict[str, Any]) -> str:
    from benchmarks.figures.tables import markdown_table

    times = result["microseconds"]
    references = [name for name in times if name not in result["ratios"]]
    lines = [[name, f"{times[name]:.3f}", *("" for _ in references), ""] for name in references]
    for verb, ratios in result["ratios"].items():
        lines.append(
            [verb, f"{times[verb]:.3f}", *(f"{ratios[r]:.1f}x" for r in references)]
            + [f"{GOALS[verb]:.0f}x"]
        )
    head = ["", "us per input pixel", *(f"against {r}" for r in references), "goal"]
    return markdown_table(head, lines)
