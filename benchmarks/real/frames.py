"""Frames of one field: one frame against the mean of the others, one half against the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

import astro_sr_plugin as asr
from benchmarks.real.matching import Array, align, half_width, match_psf, measured_psf, shifted
from benchmarks.real.pairs import Pair, make_pair, middle, read_first_image

__all__ = ["decam_frames", "halves", "mean_and_variance", "registered"]

_LEAST_FRAMES = 4
_ENDINGS = (".fits", ".fit", ".fits.fz", ".fit.fz", ".fits.gz")


def decam_frames(stacks: Path, say: Callable[[str], None]) -> Iterator[Pair]:
    """Yield the first frame of each epoch of DECam against the mean of the other four."""
    for epoch in ("04", "18"):
        paths = sorted(stacks.glob(f"decam_sfft/DEC-OBS{epoch}?.mini.fits"))
        if len(paths) < _LEAST_FRAMES:
            say(f"skipped decam frames of epoch {epoch}: {len(paths)} frames in {stacks}")
            continue
        first, *others = (read_first_image(path)[0] for path in paths)
        psf = measured_psf(first)
        moved = [_made_like(frame, first, psf) for frame in others]
        yield make_pair(
            f"decam-denoise-{epoch}",
            "denoise",
            f"DECam i, epoch {epoch}: one exposure denoised, against the mean of {len(moved)}",
            first,
            np.mean(moved, axis=0),
            poorer_psf=psf,
        )


def _made_like(frame: Array, first: Array, psf: Array) -> Array:
    """Return a frame with the place and flux scale of the first one, at its own profile."""
    own = measured_psf(frame)
    seen, other = first, frame
    if half_width(own) > half_width(psf):
        seen = match_psf(first, psf, own)
    else:
        other = match_psf(frame, own, psf)
    fit = align(seen, other, sigma=float(np.std(first)))
    return fit.scale * shifted(frame, fit.dx, fit.dy) + fit.sky


def halves(stacks: Path, say: Callable[[str], None], only: str = "") -> Iterator[Pair]:
    """Yield, of each folder of raw frames, one half's mean denoised against the other's."""
    try:
        import astroalign  # noqa: F401
    except ImportError:
        say("skipped all halves of stacks: the astroalign package is not installed")
        return
    for folder in sorted(path for path in stacks.glob("*") if path.is_dir()):
        paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(_ENDINGS))
        if only not in f"halves-{folder.name}":
            continue
        if len(paths) < _LEAST_FRAMES or folder.name.startswith("decam"):
            if not folder.name.startswith("decam"):
                say(f"skipped halves of {folder.name}: {len(paths)} frames, 4 are needed")
            continue
        try:
            cube, colour = _registered_frames(paths, say)
        except ValueError as error:
            say(f"skipped halves of {folder.name}: {error}")
            continue
        first, second = cube[0::2], cube[1::2]
        a, _ = mean_and_variance(first)
        b, variance = mean_and_variance(second)
        plane = 1 if colour else 0
        yield make_pair(
            f"halves-{folder.name}",
            "denoise",
            f"{folder.name}: mean of {len(first)} frames denoised, against that of "
            f"{len(second)} others" + (", green" if colour else ""),
            a[plane],
            b[plane],
            image=a if colour else None,
            plane=plane if colour else None,
            better_variance=variance[plane],
        )


def mean_and_variance(frames: Array) -> tuple[Array, Array]:
    """Return the mean over the first axis and the variance of that mean, from the scatter."""
    return np.mean(frames, axis=0), np.var(frames, axis=0, ddof=1) / len(frames)


def registered(frames: list[Array], luminances: list[Array]) -> Array:
    """Bring frames of shape (c, ny, nx) to the grid of the first one by the stars.

    Raises
    ------
    ValueError
        If no frame but the first could be matched.
    """
    import astroalign

    reference = luminances[0]
    result = [frames[0]]
    for frame, luminance in zip(frames[1:], luminances[1:], strict=True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                transform, _ = astroalign.find_transform(
                    luminance.astype(np.float32), reference.astype(np.float32), detection_sigma=5
                )
        except (astroalign.MaxIterError, TypeError, ValueError):
            continue
        inverse = transform.inverse.params  # of (x, y, 1)
        matrix = inverse[:2, :2][::-1, ::-1]
        offset = inverse[:2, 2][::-1]
        result.append(
            np.stack(
                [
                    ndimage.affine_transform(
                        p, matrix, offset, order=3, mode="constant", cval=np.nan
                    )
                    for p in frame
                ]
            )
        )
    if len(result) < _LEAST_FRAMES:
        msg = f"{len(result)} of {len(frames)} frames could be registered, 4 are needed"
        raise ValueError(msg)
    return np.stack(result)


def _registered_frames(paths: list[Path], say: Callable[[str], None]) -> tuple[Array, bool]:
    """Return (n, c, ny, nx) of the middle of the frames, and whether they are in colour."""
    read = [read_first_image(path) for path in paths]
    pattern = str(read[0][1].get("BAYERPAT", "")).strip()
    frames = [
        np.asarray(asr.debayer(raw, pattern=pattern)) if pattern else raw[None] for raw, _ in read
    ]
    cube = registered(frames, [frame.mean(axis=0) for frame in frames])
    if len(cube) < len(paths):
        say(f"{len(paths) - len(cube)} frames of {paths[0].parent.name} could not be registered")
    cube = middle(cube)
    # Light clouds and a moving sky: every frame gets the level and scale of the first one.
    like = [cube[0]]
    for frame in cube[1:]:
        planes = []
        for plane, own in zip(frame, cube[0], strict=True):
            fit = align(own, plane, sigma=float(np.nanstd(own - plane)), move=False)
            planes.append(fit.scale * plane + fit.sky)
        like.append(np.stack(planes))
    return np.stack(like), bool(pattern)
