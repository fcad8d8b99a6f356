"""Denoise frames in processes of one's own, with a share of the processor for each."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import torch
from astropy.stats import sigma_clipped_stats
from frames import make_frames

import astro_sr_plugin as asr


def main() -> None:
    """Everything is picklable: the function, its options and its result."""
    frames = [asr.read_image(path) for path in sorted(make_frames().glob("*.fits"))]
    denoise = partial(asr.denoise, strength=0.8, runtime=asr.Runtime(device="cpu"))
    workers = 2
    threads = max(1, torch.get_num_threads() // workers)
    # PyTorch does not survive a fork: start fresh processes.
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    ) as pool:
        for frame, clean in zip(frames, pool.map(denoise, frames), strict=True):
            before, after = (sigma_clipped_stats(image.data)[2] for image in (frame, clean))
            print(f"background rms {before:.2f} -> {after:.2f} {clean.unit}")
            assert after < before


# Fresh processes read this file again; the work must not start there.
if __name__ == "__main__":
    main()
