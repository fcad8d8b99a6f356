"""How well stars are taken out of nebulae and galaxies, beside inpainting of a star mask.

``python -m benchmarks.star_removal --out DIR`` writes star_removal.md, star_removal.json and
crops/. The peers are given the star mask of the package; what they put in its place comes from
around it: the biharmonic equation of scikit-image, and the weighted mean of Astropy.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import galsim
import numpy as np
from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import inpaint_biharmonic

import astro_sr_plugin as asr
from benchmarks import structure
from benchmarks.crops import save_greys
from benchmarks.exposure import Camera
from benchmarks.hard_figures import ridge
from benchmarks.kinds import Plan
from benchmarks.rendering import Content, Galaxy, moffat, render, spider
from benchmarks.scenes import Scene, observe_plan
from benchmarks.tables import markdown_table

__all__ = ["METHODS", "SKIES", "Starry", "main", "make_starry", "measure_removal", "run_removal"]

Array = NDArray[np.float64]

_FWHM, _SKY = 3.2, 450.0
_CAMERA = Camera(1.2, 5.0)
_UNIT = _CAMERA.sigma(_SKY)
_PLACES = ((0.24, 0.29), (0.72, 0.22), (0.33, 0.76), (0.78, 0.71))
_ANGLE = 0.35  # of the spikes
_BRIGHT = 50.0  # least SNR of the stars whose residual is told


@dataclass(frozen=True)
class Starry:
    """A scene with stars, and the same without.

    Attributes
    ----------
    scene : Scene
        What was observed.
    starless : numpy.ndarray
        Without stars and noise, at the profile of the observation.
    galaxies : tuple of Galaxy
        Galaxies of the scene.
    bright : tuple of (float, float)
        Places (x, y) of stars with halos and spikes.
    """

    scene: Scene
    starless: Array
    galaxies: tuple[Galaxy, ...]
    bright: tuple[tuple[float, float], ...]


def _stars(size: int, rng: np.random.Generator, count: int) -> Content:
    number = round(count * (size / 256) ** 2)
    x, y = rng.uniform(4.0, size - 5.0, size=(2, number))
    low, high = 5.0**-0.7, 3000.0**-0.7
    snr = (low + rng.uniform(size=number) * (high - low)) ** (-1 / 0.7)
    return Content(x, y, _flux(snr))


def _flux(snr: Any) -> Array:
    return np.asarray(snr) * _UNIT * np.sqrt(4 * np.pi) * _FWHM / 2.355


def _gas(size: int, rng: np.random.Generator) -> Array:
    """Return a nebula on half pixels, in noise sigma, that fades outside of the frame."""
    n = 2 * (size + 80)
    y, x = np.mgrid[:n, :n] / n - 0.5
    edge = 1 / (1 + np.exp((np.maximum(np.abs(x), np.abs(y)) - 0.46) / 0.01))
    return np.asarray(4.0 * structure.nebula(n, rng) * edge * _UNIT)


def _nebula(size: int, rng: np.random.Generator) -> Plan:
    content = replace(_stars(size, rng, 100), texture=_gas(size, rng))
    return Plan([content], [moffat(_FWHM, 3.2)], _CAMERA, (_SKY,))


def _halos(size: int, rng: np.random.Generator) -> Plan:
    """Return a nebula with saturated stars with halos and spikes."""
    content = _stars(size, rng, 60)
    places = np.array(_PLACES) * size
    content = replace(
        content,
        x=np.concatenate([content.x, places[:, 0]]),
        y=np.concatenate([content.y, places[:, 1]]),
        flux=np.concatenate([content.flux, _flux((4e4, 1.5e4, 2e4, 1e4))]),
        texture=_gas(size, rng),
    )
    disc = galsim.Convolve([galsim.TopHat(24.0), galsim.Gaussian(fwhm=2.0)])
    psf = galsim.Sum([0.96 * spider(_FWHM, _ANGLE), 0.04 * disc])
    camera = replace(_CAMERA, full_well=_SKY + 1500.0 * _UNIT)
    return Plan([content], [psf], camera, (_SKY,))


def _galaxies(size: int, rng: np.random.Generator) -> Plan:
    """Return galaxies of all sizes, half of them with knots, among stars."""
    galaxies = []
    for k in range(16):
        half = float(np.exp(rng.uniform(np.log(1.8), np.log(8.0))))
        flux = float(_flux(np.exp(rng.uniform(np.log(60), np.log(900)))))
        profile: galsim.GSObject = galsim.Sersic(n=rng.uniform(0.7, 2.5), half_light_radius=half)
        if k % 2:
            disc = galsim.Exponential(half_light_radius=half)
            seed = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
            profile = 0.7 * disc + 0.3 * galsim.RandomKnots(12, profile=disc, rng=seed)
        turned = profile.shear(q=rng.uniform(0.35, 1.0), beta=rng.uniform(0, 180) * galsim.degrees)
        x, y = rng.uniform(20.0, size - 21.0, size=2)
        galaxies.append(Galaxy(turned.withFlux(flux), x, y, 10.0 * half))
    content = replace(_stars(size, rng, 60), galaxies=galaxies)
    return Plan([content], [moffat(_FWHM, 3.2)], _CAMERA, (_SKY,))


def _spiral(size: int, rng: np.random.Generator) -> Plan:
    surface = 6.0 * structure.spiral(2 * size, rng) * _UNIT
    content = replace(_stars(size, rng, 50), texture=surface)
    return Plan([content], [moffat(_FWHM, 3.2)], _CAMERA, (_SKY,))


SKIES: dict[str, Callable[[int, np.random.Generator], Plan]] = {
    "nebula": _nebula,
    "halos": _halos,
    "galaxies": _galaxies,
    "spiral": _spiral,
}
"""Plans by name."""


def make_starry(name: str, *, size: int = 256, seed: int = 1) -> Starry:
    """Simulate stars before a nebula or among galaxies.

    Parameters
    ----------
    name : str
        A key of `SKIES`.
    size : int
        Side of the frame (pixels).
    seed : int
        The same name, size and seed give the same scene.

    Returns
    -------
    Starry
        The observation, and the truth without stars.
    """
    rng = np.random.default_rng([crc32(name.encode()), seed])
    plan = SKIES[name](size, rng)
    scene = observe_plan(plan, _FWHM, name, seed, size, rng)
    none = np.empty(0)
    rest = replace(plan.content[0], x=none, y=none, flux=none)
    starless = render(rest, plan.psf[0], (size, size), fwhm=_FWHM, sigma=_UNIT / 4)
    bright = tuple((size * x, size * y) for x, y in _PLACES) if name == "halos" else ()
    return Starry(scene, starless + scene.background, tuple(rest.galaxies), bright)


def _ours(image: NDArray[np.float32]) -> NDArray[np.floating]:
    return np.asarray(asr.remove_stars(image)[0])


def _biharmonic(image: NDArray[np.float32]) -> NDArray[np.floating]:
    mask = asr.star_mask(image)
    return np.asarray(inpaint_biharmonic(image.astype(float), mask, split_into_regions=True))


def _interpolated(image: NDArray[np.float32]) -> NDArray[np.floating]:
    """Fill the mask with the mean around it, of a Gaussian as wide as it takes."""
    holes = np.where(asr.star_mask(image), np.nan, image.astype(float))
    width = 2.0
    while np.isnan(holes).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the kernel was too small for some holes
            holes = interpolate_replace_nans(holes, Gaussian2DKernel(width), boundary="extend")
        width *= 2
    return np.asarray(holes)


METHODS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "ours": _ours,
    "biharmonic": _biharmonic,
    "interpolation": _interpolated,
}
"""Functions of an image that return it without stars."""


def measure_removal(starry: Starry, result: NDArray[np.floating]) -> dict[str, float]:
    """Compare a starless image with the truth.

    Parameters
    ----------
    starry : Starry
        From `make_starry`.
    result : numpy.ndarray
        The image without stars, background included.

    Returns
    -------
    dict
        ``residual``, ``residual_90``: light left within 1.5 FWHM of unsaturated stars of SNR 50 or
        more, over their flux: median, and the absolute value that 90 of 100 are below. The noise is
        that of the place without the star. ``level``: median error within 1 FWHM of all stars in
        noise sigma, absolute value of the median over the stars; ``level_each``: median over the
        stars of the absolute value. ``rms``: root mean square error at all places that the star
        mask covers, seen through a Gaussian of 1 FWHM, in noise sigma. ``far``: the same where
        there are no stars, that of the noise that stays. ``galaxy_least``,
        ``galaxy_most``: light kept within twice the half-light radius of galaxies free of stars.
        ``knots``: contrast of the finest structure of what is no star over that of the truth.
        ``halo``, ``spike``: light left around bright stars over what was there.
    """
    scene = starry.scene
    sigma = float(scene.sigma)
    image = np.asarray(result, float)
    light = np.maximum(starry.starless - scene.background, 0.0)
    noise = np.sqrt(sigma**2 + float(scene.poisson) * light)
    error = (image - starry.starless) / noise
    level, left = [], []
    rows, columns = np.indices(image.shape)
    for x, y, flux, snr in zip(scene.x, scene.y, scene.flux, scene.snr, strict=True):
        if not 8 <= min(x, y) <= max(x, y) <= len(image) - 9:
            continue
        away = np.hypot(columns - x, rows - y)
        level.append(np.median(error[away < _FWHM]))
        here = round(y), round(x)
        if snr * sigma > _BRIGHT * noise[here] and not scene.excluded[here]:
            near = away < 1.5 * _FWHM
            left.append((image - starry.starless)[near].sum() / flux)
    stars = asr.star_mask(scene.observed)
    smooth = ndimage.gaussian_filter(error, _FWHM / 2.355)
    figures = {
        "residual": float(np.median(left)),
        "residual_90": float(np.percentile(np.abs(left), 90)),
        "level": float(abs(np.median(level))),
        "level_each": float(np.median(np.abs(level))),
        "rms": float(np.sqrt(np.mean(smooth[stars] ** 2))),
        "far": float(np.sqrt(np.mean(smooth[~stars] ** 2))),
        "knots": _knots(starry, image, stars),
    }
    kept = _galaxies_kept(starry, image)
    figures |= {"galaxy_least": min(kept), "galaxy_most": max(kept)} if kept else {}
    return figures | (_far_light(starry, image) if starry.bright else {})


def _knots(starry: Starry, image: Array, stars: NDArray[np.bool_]) -> float:
    """Return the slope of the fine structure of an image on that of the truth."""

    def fine(plane: Array) -> Array:
        near, far = (ndimage.gaussian_filter(plane, width) for width in (_FWHM / 2.355, _FWHM))
        return np.asarray(near - far)

    truth = fine(starry.starless)
    crowded = ndimage.maximum_filter(
        starry.scene.truth_denoise - starry.starless > starry.scene.sigma, size=9
    )
    crests = (np.abs(truth) > np.percentile(np.abs(truth), 95)) & ~crowded
    return float((fine(image) * truth)[crests].sum() / (truth[crests] ** 2).sum())


def _galaxies_kept(starry: Starry, image: Array) -> list[float]:
    scene, kept = starry.scene, []
    rows, columns = np.indices(image.shape)
    light = scene.truth_denoise - starry.starless
    for galaxy in starry.galaxies:
        inside = np.hypot(columns - galaxy.x, rows - galaxy.y) < 2 * galaxy.reach / 10 + _FWHM
        true = (starry.starless - scene.background)[inside].sum()
        if light[inside].sum() < 0.05 * true:
            kept.append(float((image - scene.background)[inside].sum() / true))
    return kept


def _far_light(starry: Starry, image: Array) -> dict[str, float]:
    """Return what is left of halos (3 to 9 FWHM) and spikes over what was there, the largest."""
    scene = starry.scene
    left, light = image - starry.starless, scene.truth_denoise - starry.starless
    rows, columns = np.indices(image.shape)
    halos, spikes = [], []
    for x, y in starry.bright:
        away = np.hypot(columns - x, rows - y)
        ring = (away > 3 * _FWHM) & (away < 9 * _FWHM)
        halos.append(abs(left[ring].sum() / light[ring].sum()))
        there, was = 0.0, 0.0
        for turn in range(4):
            angle = _ANGLE + turn * np.pi / 2
            direction = np.array([np.cos(angle), np.sin(angle)])
            ends = [np.array([x, y]) + r * _FWHM * direction for r in (4, 12)]
            there += ridge(left, *ends, 2)[0].sum()
            was += ridge(light, *ends, 2)[0].sum()
        spikes.append(abs(there / was))
    return {"halo": float(max(halos)), "spike": float(max(spikes))}


def run_removal(
    out: str | Path,
    *,
    skies: Sequence[str] = tuple(SKIES),
    methods: Sequence[str] = tuple(METHODS),
    size: int = 256,
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Take the stars out by each method and write the report.

    Parameters
    ----------
    out : path
        Folder for star_removal.md, star_removal.json and crops/.
    skies, methods : sequence of str
        What to run.
    size, seed : int
        Of the scenes.

    Returns
    -------
    list of dict
        Sky, method and figures.
    """
    folder = Path(out)
    (folder / "crops").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for sky in skies:
        starry = make_starry(sky, size=size, seed=seed)
        shown = [("input", starry.scene.observed), ("truth", starry.starless)]
        for method in methods:
            result = METHODS[method](starry.scene.observed)
            figures = measure_removal(starry, result)
            rows.append({"sky": sky, "method": method, **figures})
            shown.insert(len(shown) - 1, (method, result))
            print(sky, method, figures, file=sys.stderr, flush=True)
        _save_crop(starry, shown, folder / "crops" / f"star-removal-{sky}.png")
    exact = _exact(skies, size, seed)
    setting = {"size": size, "seed": seed}
    record = {"setting": setting, "sum_is_input": exact, "rows": rows}
    (folder / "star_removal.json").write_text(json.dumps(record, indent=1))
    (folder / "star_removal.md").write_text(_report(rows, exact, size, seed))
    return rows


def _exact(skies: Sequence[str], size: int, seed: int) -> bool:
    """Tell whether both parts add up to the input, to the last bit of float64."""
    for sky in skies:
        image = make_starry(sky, size=size, seed=seed).scene.observed
        starless, stars = (np.asarray(part, float) for part in asr.remove_stars(image))
        if not np.array_equal(starless + stars, image.astype(float)):
            return False
    return True


def _save_crop(
    starry: Starry, shown: Sequence[tuple[str, NDArray[np.floating]]], path: Path
) -> None:
    background, sigma = starry.scene.background, float(starry.scene.sigma)
    greys = [(label, (image - background) / sigma) for label, image in shown]
    save_greys(greys, path, span=5.0)


def _report(rows: Sequence[dict[str, Any]], exact: bool, size: int, seed: int) -> str:
    names = {
        "residual": ("residual", ".2%"),
        "residual_90": ("90 of 100 below", ".2%"),
        "level": ("under stars (sigma)", ".2f"),
        "level_each": ("each", ".2f"),
        "rms": ("rms there", ".2f"),
        "far": ("rms elsewhere", ".2f"),
        "knots": ("fine structure", ".3f"),
        "galaxy_least": ("galaxies, least", ".3f"),
        "galaxy_most": ("most", ".3f"),
        "halo": ("halo left", ".1%"),
        "spike": ("spikes left", ".1%"),
    }
    lines = [
        [f"{row['sky']} {row['method']}"]
        + [format(row[name], form) if name in row else "–" for name, (_, form) in names.items()]
        for row in rows
    ]
    total = "is" if exact else "is not"
    parts = [
        "# Star removal",
        f"Frames of {size} x {size} pixels, seed {seed}. Starless and stars of this package: their"
        f" sum in float64 {total} the input to the last bit. Residual: light left at stars of a"
        f" signal-to-noise ratio above {_BRIGHT:g}, over their flux.",
        markdown_table(["sky, method", *(label for label, _ in names.values())], lines),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.star_removal", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the frames (pixels)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenes")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR")
    options = parser.parse_args(arguments)
    run_removal(options.out, size=options.size, seed=options.seed)
    print((Path(options.out) / "star_removal.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
