"""Real series of frames, stacked by us and by Siril, and what both stacks are worth.

Noise is that of blocks of 8 x 8 pixels, which interpolation hardly lowers, from the differences of
neighbouring ones, in units of the flux of the same stars. The FWHM is that of one profile fitted to
these stars together. Photometric scatter is that of the magnitudes of stars between the stacks of
two halves of the frames: of every other frame, and of halves by chance.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.table import Table
from numpy.typing import NDArray
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry
from scipy.optimize import least_squares

import astro_sr_plugin as asr
from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.exceptions import UnchangedWarning
from benchmarks.peers.siril import Siril, SirilError

__all__ = ["compare_series"]

_FEWEST = 4
"""Number of frames from which halves are stacked."""
_SPLITS = 3
"""Ways in which frames are divided into halves."""
_STARS = 100
"""Number of stars, the brightest, that are compared."""
_SNR = 20.0
"""Signal-to-noise ratio of stars whose magnitudes are compared."""
_FIND = "-sigma=0.5 -relax=on"
"""Settings of Siril's star finder for frames in which it finds too few stars by its own ones."""
_BLOCK = 8
"""Side in pixels of the blocks whose noise is compared."""
_PROFILE = 1.8
"""Radius in FWHM of the light that a profile is fitted to."""
_RADIUS, _SKY = 1.8, (4.0, 6.0)
"""Radii in FWHM of the aperture, and of the ring of the sky."""


class _Stack(NamedTuple):
    """A stack, those of the halves of its frames, and what it took."""

    whole: NDArray[Any]
    halves: list[tuple[NDArray[Any], NDArray[Any]]]
    used: int
    seconds: float
    cpu: float


def compare_series(
    name: str,
    files: Sequence[Path],
    siril: Siril,
    pictures: Path | None = None,
    *,
    super_resolve: bool = False,
) -> list[dict[str, Any]]:
    """Stack a series by both programs, and return a row for each.

    Parameters
    ----------
    name : str
        Of the series.
    files : sequence of Path
        Frames.
    siril : Siril
        The other program.
    pictures : Path, optional
        Folder for pictures of the stacks.
    super_resolve : bool
        Super-resolve the frames too, where there is something to gain; not halves of them.
    """
    stacks = {"ours": _stack_all(files, _stack_by_us)}
    with fits.open(files[0]) as hdus:
        mosaic = any("BAYERPAT" in hdu.header for hdu in hdus)
    if mosaic:
        by_drops = partial(_stack_by_us, drizzle=1.0, pixfrac=1.0)
        stacks["ours, drizzle 1"] = _stack_all(files, by_drops)
    if super_resolve:
        with contextlib.suppress(UnchangedWarning):
            stacks["ours, super-resolved 2"] = _stack_all(files, _super_resolve, halves=False)
    stacks["Siril"] = _stack_all(files, lambda part: _stack_by_siril(siril, part))
    stars = asr.detect_stars(stacks["ours"].whole, max_stars=_STARS)
    finer = {who: round(len(one.whole) / len(stacks["ours"].whole)) for who, one in stacks.items()}
    radius = max(float(asr.measure(one.whole).fwhm[0]) / finer[who] for who, one in stacks.items())
    fluxes = {who: _fluxes(one.whole, stars, radius * finer[who]) for who, one in stacks.items()}
    bright = np.asarray(stars["snr"]) > _SNR
    rows = []
    for who, one in stacks.items():
        scale = float(np.nanmedian(fluxes[who] / fluxes["ours"]))
        pairs = [[_fluxes(half, stars, radius * finer[who]) for half in two] for two in one.halves]
        apart = [-2.5 * np.log10(first / second)[bright] for first, second in pairs]
        scatters = [float(mad_std(one[np.isfinite(one)])) for one in apart]
        rows.append(
            {
                "series": name,
                "program": who,
                "frames": f"{one.used}/{len(files)}",
                "noise": _noise(one.whole, _BLOCK * finer[who]) / scale,
                # Siril has other units.
                "flux": scale / finer[who] ** 2 if who.startswith("ours") else None,
                "fwhm": _fwhm(one.whole, stars, radius * finer[who]) / finer[who],
                "scatter": float(np.sqrt(np.mean(np.square(scatters)))) if scatters else None,
                "stars": int(np.isfinite(apart[0]).sum()) if apart else 0,
                "seconds": one.seconds,
                "cpu": one.cpu,
            }
        )
        if pictures is not None:
            _draw(one.whole, pictures / f"{name}_{who}.png")
    for row in rows:
        row["noise_ratio"] = row["noise"] / rows[0]["noise"]
    return rows


def _stack_all(
    files: Sequence[Path], stack: Callable[[Sequence[Path]], tuple], *, halves: bool = True
) -> _Stack:
    before = _cpu()
    start = time.perf_counter()
    whole, used = stack(files)
    seconds, cpu = time.perf_counter() - start, _cpu() - before
    divided = _divide(files) if halves else ()
    pairs = [(stack(one)[0], stack(other)[0]) for one, other in divided]
    return _Stack(whole, pairs, used, seconds, cpu)


def _divide(files: Sequence[Path]) -> Iterator[tuple[Sequence[Path], Sequence[Path]]]:
    """Divide frames into halves, in several ways."""
    rng = np.random.default_rng(1)
    order = np.arange(len(files))
    for _ in range(_SPLITS if len(files) >= _FEWEST else 0):
        yield [files[k] for k in sorted(order[::2])], [files[k] for k in sorted(order[1::2])]
        order = rng.permutation(len(files))


def _cpu() -> float:
    """Seconds of processors that this process and its children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _stack_by_us(files: Sequence[Path], **options: float) -> tuple[NDArray[Any], int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = asr.stack(files, **options)
    return _luminance(result.image.data), int(result.table["used"].sum())


def _super_resolve(files: Sequence[Path]) -> tuple[NDArray[Any], int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # That there is nothing to gain.
        warnings.simplefilter("error", UnchangedWarning)
        result = asr.super_resolve_stack(files, scale=2)
    return _luminance(result.image.data), int(result.table["used"].sum())


def _stack_by_siril(siril: Siril, files: Sequence[Path]) -> tuple[NDArray[Any], int]:
    for old in siril.work.glob("*.[fs][ie][tq]"):
        old.unlink()
    # Siril keeps lists of stars by the names of frames.
    shutil.rmtree(siril.work / "cache", ignore_errors=True)
    mosaic = False
    for number, path in enumerate(files, start=1):
        with warnings.catch_warnings(), fits.open(path) as hdus:
            warnings.simplefilter("ignore")
            hdu = next(hdu for hdu in hdus if hdu.data is not None)
            mosaic = find_cfa(hdu.header, hdu.data.shape) is not None
            data = hdu.data
            if data.dtype.kind == "f":
                # Siril divides floats above 10 by 65535, frame by frame.
                data = (data / 65535.0).astype(np.float32)
            target = siril.work / f"night_{number:05d}.fit"
            fits.writeto(target, data, hdu.header, overwrite=True, output_verify="silentfix")
    name = "c_night_" if mosaic else "night_"
    colours = ["calibrate night_ -debayer -prefix=c_"] if mosaic else []
    aligned = [f"register {name} -2pass", f"seqapplyreg {name}"]
    how = "rej 3 3 -norm=addscale -output_norm -weight=noise -out=result"
    # Frames that lie on each other are not registered; stars may be too faint for its own settings.
    for found, steps, prefix in (("", aligned, "r_"), (_FIND, aligned, "r_"), ("", [], "")):
        commands = ["setcpu 2", "set32bits", f"setfindstar reset {found}", *colours, *steps]
        try:
            siril.script([*commands, f"stack {prefix}{name} {how}"])
        except SirilError:
            continue
        break
    used = len(list(siril.work.glob(f"{prefix}{name}*.fit")))
    return _luminance(fits.getdata(siril.work / "result.fit").astype(np.float32)), used


def _luminance(image: NDArray[Any]) -> NDArray[Any]:
    """Green light of a colour image."""
    return image[1] if image.ndim == 3 else image


def _noise(image: NDArray[Any], side: int) -> float:
    """Noise of the sum of a block of so many pixels along a side."""
    ny, nx = (n // side for n in image.shape)
    blocks = image[: ny * side, : nx * side].astype(np.float64).reshape(ny, side, nx, side)
    means = blocks.mean(axis=(1, 3))
    apart = means[:, 1:] - means[:, :-1]
    return float(mad_std(apart, ignore_nan=True)) / np.sqrt(2) * side**2


def _fwhm(image: NDArray[Any], stars: Table, fwhm: float) -> float:
    """FWHM in pixels of the profile of the stars that stand alone, all together; NaN if none."""
    places = _places(image, stars)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    alone = (apart.min(axis=1) > 2 * _SKY[1] * fwhm) & (np.asarray(stars["snr"]) > _SNR)
    alone &= np.asarray(stars["flags"]) == 0
    flux = _fluxes(image, stars, fwhm)
    # `_fluxes` leaves out stars whose ring goes beyond the edge.
    reach = int(_SKY[1] * fwhm) - 1
    radii, values = [], []
    for (x, y), total in zip(places[alone], flux[alone], strict=True):
        if not np.isfinite(total):
            continue
        row, column = round(y), round(x)
        part = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
        v, u = np.mgrid[part]
        radius = np.hypot(u - x, v - y)
        sky = np.nanmedian(image[part][radius > _SKY[0] * fwhm])
        near = (radius < _PROFILE * fwhm) & np.isfinite(image[part])
        radii.append(radius[near])
        values.append((image[part][near] - sky) / total)
    if not radii:
        return float("nan")

    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        peak, alpha, beta = parameters
        model = peak * (1 + (np.concatenate(radii) / alpha) ** 2) ** -beta
        return np.concatenate(values) - model

    first = 1 / fwhm**2, fwhm, 3.0
    bounds = [0, 0.2 * fwhm, 1.2], [10 / fwhm**2, 4 * fwhm, 20]
    fit = least_squares(misfit, first, bounds=bounds, loss="soft_l1", f_scale=0.1 * first[0])
    _, alpha, beta = fit.x
    return float(2 * alpha * np.sqrt(2 ** (1 / beta) - 1))


def _places(image: NDArray[Any], stars: Table) -> NDArray[np.float64]:
    """Places (x, y) of the stars in an image."""
    transform = asr.find_transform(image, stars)
    return np.column_stack(transform.to_image(np.asarray(stars["x"]), np.asarray(stars["y"])))


def _fluxes(image: NDArray[Any], stars: Table, fwhm: float) -> NDArray[np.float64]:
    """Fluxes of the stars, wherever the image shows them; NaN near its edge."""
    places = _places(image, stars)
    light = np.nan_to_num(image - np.nanmedian(image)).astype(np.float64)
    aperture = CircularAperture(places, _RADIUS * fwhm)
    ring = CircularAnnulus(places, *(radius * fwhm for radius in _SKY))
    flux = np.asarray(aperture_photometry(light, aperture)["aperture_sum"])
    sky = np.array([np.median(mask.get_values(light)) for mask in ring.to_mask()])
    flux = flux - sky * aperture.area
    ny, nx = image.shape
    margin = _SKY[1] * fwhm
    x, y = places.T
    inside = (x > margin) & (x < nx - margin) & (y > margin) & (y < ny - margin)
    return np.where(inside & (flux > 0), flux, np.nan)


def _draw(image: NDArray[Any], path: Path) -> None:
    from PIL import Image

    low, high = np.nanpercentile(image, (2, 99.7))
    shown = np.arcsinh(10 * np.clip((np.nan_to_num(image) - low) / (high - low), 0, 1))
    Image.fromarray((255 * shown / np.arcsinh(10)).astype(np.uint8)[::-1]).save(path)
