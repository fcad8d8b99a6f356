"""Stacking of deep-sky frames: the public functions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astro_sr_plugin.data.frames import FrameImage, FrameSequence
from astro_sr_plugin.data.nddata import HDUChoice
from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.stacking.checkpoints import Checkpoints, identify
from astro_sr_plugin.stacking.combination import Combination
from astro_sr_plugin.stacking.drizzling import DrizzleKernel, Drizzling
from astro_sr_plugin.stacking.normalisation import NormalisationMode, WeightMode
from astro_sr_plugin.stacking.options import DEFAULT_MEMORY, StackOptions, read_memory
from astro_sr_plugin.stacking.output_frame import OutputFrame
from astro_sr_plugin.stacking.rejection import Method, check_limits
from astro_sr_plugin.stacking.result import StackResult
from astro_sr_plugin.stacking.series import (
    CalibrationFrames,
    StackPlan,
    allow_open_files,
    open_series,
    plan_series,
)
from astro_sr_plugin.stacking.steps import Progress, StackSteps
from astro_sr_plugin.stacking.super_resolution import check_scale

__all__ = ["plan_stack", "stack", "super_resolve_stack"]


def plan_stack(
    frames: Iterable[FrameImage],
    *,
    bias: Iterable[FrameImage] = (),
    dark: Iterable[FrameImage] = (),
    flat: Iterable[FrameImage] = (),
    library: Iterable[FrameImage] = (),
    hdu: HDUChoice = None,
) -> StackPlan:
    """Say which frames would be stacked, and how each of them would be calibrated.

    Only headers are read.

    Parameters
    ----------
    frames, bias, dark, flat, library, hdu
        As in `stack`.

    Returns
    -------
    StackPlan
        ``print(plan.to_text())`` shows it.

    Raises
    ------
    InputError
        If no frame can be stacked, or calibration frames given by kind do not match.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> frames = [rng.normal(100.0, 5.0, (64, 64)) for _ in range(4)]
    >>> print(asr.plan_stack(frames).to_text().splitlines()[0])
    4 frames of 64 x 64 pixels
    """
    series = open_series(FrameSequence(frames, hdu=hdu))
    given = CalibrationFrames(list(bias), list(dark), list(flat), list(library))
    return plan_series(series, given)


def stack(
    frames: Iterable[FrameImage],
    *,
    bias: Iterable[FrameImage] = (),
    dark: Iterable[FrameImage] = (),
    flat: Iterable[FrameImage] = (),
    library: Iterable[FrameImage] = (),
    align: bool = True,
    reference: int | None = None,
    frame: OutputFrame = "reference",
    combine: Combination = "mean",
    rejection: Method = "noise",
    limits: tuple[float, float] | None = None,
    weights: WeightMode = "snr",
    normalise: NormalisationMode = "photometric",
    kernel: str = "bspline",
    drizzle: float | None = None,
    pixfrac: float = 0.7,
    drizzle_kernel: DrizzleKernel = "square",
    super_resolve: float | None = None,
    cosmic_rays: bool | None = None,
    memory: float | str = DEFAULT_MEMORY,
    scheduler: Any = None,
    jobs: int | None = None,
    strict: bool = False,
    scratch: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    hdu: HDUChoice = None,
) -> StackResult:
    """Calibrate, register, normalise and combine frames of one field.

    Parameters
    ----------
    frames : iterable of CCDData, NDData, ndarray, str or Path
        Lights of one size and filter: mono, colour (3, ny, nx), or raw frames of a colour camera,
        which become a colour image. Frames that cannot be used are left out and named.
    bias, dark, flat : iterable of images
        Calibration frames, single ones or masters. They have to match the lights.
    library : iterable of images
        Calibration frames of all kinds, of which those that match are used.
    align : bool
        Register the frames by their stars; False takes them as aligned.
    reference : int, optional
        Number of the frame whose grid is kept; chosen by sharpness, stars and place by default.
    frame : {"reference", "union", "intersection"}
        Pixels of the result on that grid: those of the reference, all that any frame covers (a
        mosaic of fields that overlap), or a rectangle that all frames cover.
    combine : {"mean", "median"}
        The mean is weighted.
    rejection : str
        ``"noise"`` compares with the known noise of each frame, and allows for the seeing in the
        light of stars. ``"sigma" "winsorized" "mad" "linearfit" "gesd"`` estimate the scatter from
        the values of a pixel; ``"percentile" "minmax" "none"``.
    limits : (float, float), optional
        Limits of the rejection below and above; 4, 4 sigma for ``"noise"``.
    weights : {"snr", "noise", "fwhm", "exposure", "none"}
        ``"snr"`` weights by the squared signal-to-noise ratio of a faint star, ``"noise"`` by that
        of extended light.
    normalise : {"photometric", "additive", "none"}
        ``"photometric"``: the scale by common stars, and the difference of the skies as a
        polynomial.
    kernel : {"bspline", "lanczos", "linear"}
        Interpolation of frames that are moved.
    drizzle : float, optional
        Pixels of the result per pixel of the frames along each axis, 1 to 4: the frames are
        drizzled, those of a colour camera colour by colour. Surface brightness is kept. It pays
        where frames are undersampled and dithered. Needs the package drizzle.
    pixfrac : float
        Side of a drop over that of a pixel, above 0 up to 1.
    drizzle_kernel : {"square", "turbo", "point", "gaussian"}
        Shape of a drop.
    super_resolve : {2, 3}, optional
        Pixels of the result per pixel of the frames along each axis, as of `super_resolve_stack`.
    cosmic_rays : bool, optional
        Look for cosmic rays in each frame; by default in series of fewer than five.
    memory : float or str
        Bytes for pixels, such as ``"4GB"``; at least 100 MB.
    scheduler : str or distributed.Client, optional
        Dask scheduler that the bands are combined on, by its address; ``"local"`` starts workers
        here. The result is the same.
    jobs : int, optional
        Number of processes (on Linux, for large series), threads, or local workers; that of the
        processors by default.
    strict : bool
        Whether a frame that cannot be used is an error.
    scratch : str or Path, optional
        Folder for temporary copies of compressed frames.
    resume : str or Path, optional
        Folder that keeps finished steps: an interrupted call goes on where it was when it is
        repeated. It is removed at the end.
    progress : callable, optional
        Called with the number of finished steps, and of all.
    hdu : int, str or (str, int), optional
        Which image of each file.

    Returns
    -------
    StackResult
        The image on the grid and scale of the reference, its uncertainty, counts and maps of the
        rejection, and a table of the frames. ``result.write(path)`` stores everything.

    Raises
    ------
    InputError
        If fewer than two frames can be used, a calibration frame does not match, or a parameter is
        out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> frames = [rng.normal(100.0, 5.0, (64, 64)) for _ in range(16)]
    >>> frames[3][20] += 500.0  # a trail
    >>> result = asr.stack(frames, align=False)
    >>> print(f"noise {result.image.data.std():.2f}, row 20 {result.image.data[20].mean():.0f}")
    noise 1.25, row 20 100
    """
    options = StackOptions(
        align,
        reference,
        combine,
        rejection,
        check_limits(rejection, limits),
        weights,
        normalise,
        kernel,
        cosmic_rays,
        read_memory(memory),
        None if drizzle is None else Drizzling(drizzle, pixfrac, drizzle_kernel),
        None if super_resolve is None else check_scale(super_resolve),
        frame,
    )
    given = CalibrationFrames(list(bias), list(dark), list(flat), list(library))
    images = list(frames)
    allow_open_files(len(images))
    with _workspace(scratch) as folder:
        series = open_series(FrameSequence(images, hdu=hdu, scratch=folder))
        plan = plan_series(series, given)
        for note in plan.calibration.notes:
            warn(note)
        checkpoints = None
        if resume is not None:
            names = [*series.names, *plan.sources]
            checkpoints = Checkpoints(Path(resume), identify(names, vars(options)))
        steps = StackSteps(plan, options, checkpoints, progress)
        result = steps.run(jobs, scheduler, strict)
        if checkpoints is not None:
            checkpoints.clear()
    return result


def super_resolve_stack(
    frames: Iterable[FrameImage], *, scale: float = 2, **choices: Any
) -> StackResult:
    """Make one sharper image on a finer grid from many dithered frames that are undersampled.

    Least squares on the pixels of the frames as they are, those of a colour camera included: each
    pixel is the mean of the fine image over its area, with the PSF of its frame, and counts by its
    noise. Outliers are left out. The curvature of the image is regularised, with a strength that
    predicts pixels best that were left out for that.

    Parameters
    ----------
    frames : iterable of CCDData, NDData, ndarray, str or Path
        As in `stack`.
    scale : {2, 3}
        Pixels of the result per pixel of the frames along each axis.
    **choices
        Parameters of `stack`, but for `combine`, `drizzle` and what belongs to it.

    Returns
    -------
    StackResult
        What a camera of finer pixels would have recorded with the optics and seeing of the sharp
        frames. Surface brightness is kept. The uncertainty is that of the noise. Where frames hold
        no finer detail (too few, well sampled, or not dithered) `UnchangedWarning` says so, and the
        stack is enlarged by cubic splines.

    Raises
    ------
    InputError
        As `stack`, and if the scale is not 2 or 3.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:64, :64]
    >>> stars = np.column_stack([rng.uniform(6, 58, (16, 2)), rng.uniform(500, 5000, 16)])
    >>> frames = []
    >>> for dx, dy in rng.uniform(-1, 1, (8, 2)):
    ...     light = [f * np.exp(-((x - u - dx) ** 2 + (y - v - dy) ** 2)) for u, v, f in stars]
    ...     frames.append(100 + sum(light) + rng.normal(0, 5, x.shape))
    >>> result = asr.super_resolve_stack(frames)
    >>> result.image.shape
    (128, 128)
    """
    return stack(frames, super_resolve=scale, **choices)


@contextmanager
def _workspace(scratch: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Make a folder for temporary files, which is removed at the end."""
    parent = None if scratch is None else Path(scratch)
    with tempfile.TemporaryDirectory(
        prefix=".astro-sr-", dir=parent, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)
