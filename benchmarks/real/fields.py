"""The public files that pairs are made of, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from astropy.wcs import WCS
from scipy import ndimage

import astro_sr_plugin as asr
from benchmarks.real.frames import decam_frames, halves
from benchmarks.real.matching import (
    Array,
    align,
    gaussian_psf,
    half_width,
    match_psf,
    shifted,
    sky_noise,
)
from benchmarks.real.pairs import (
    Pair,
    binned,
    border,
    make_pair,
    middle,
    read_first_image,
    repeated,
)

__all__ = ["find_pairs"]

_PROGRAMMES = ("01324", "02561")


def find_pairs(folder: str | Path, say: Callable[[str], None], *, only: str = "") -> Iterator[Pair]:
    """Yield every pair whose files are in a folder; say which are not.

    Parameters
    ----------
    folder : path
        With the folders pairs/, stacks/ and psfs/, as docs/science_validation.rst names them.
    say : callable
        Is called with a sentence about everything that is skipped.
    only : str
        Part of the name of the pairs to yield.
    """
    root = Path(folder)
    for name, load in {
        "cosmos-x2": _cosmos,
        "jwst-denoise": _jwst,
        "jwst-x2": _jwst_binned,
        "decam-deconvolve": _decam,
    }.items():
        if only and only not in name and name not in only:
            continue
        try:
            yield from (pair for pair in load(root) if only in pair.name)
        except FileNotFoundError as error:
            say(f"skipped {name}: {error}")
    if only in "decam-denoise-04 decam-denoise-18":
        yield from (pair for pair in decam_frames(root / "stacks", say) if only in pair.name)
    if only in "halves" or only.startswith("halves"):
        yield from halves(root / "stacks", say, "" if only in "halves" else only)


def _cosmos(root: Path) -> Iterator[Pair]:
    """Yield Subaru HSC, to be doubled, and HST on the doubled grid.

    HST sees through F814W, between the i and z bands of HSC: i is taken.
    """
    from reproject import reproject_interp

    low, header = read_first_image(root / "pairs/cosmos_Cut_HSC.fits")
    high, high_header = read_first_image(root / "pairs/cosmos_Cut_HST.fits")
    psf, _ = read_first_image(root / "pairs/cosmos_PSF_HSC.fits")
    high_psf, _ = read_first_image(root / "pairs/cosmos_PSF_HST.fits")
    band = 2
    poorer, poorer_psf = low[band], psf[band] / psf[band].sum()
    wcs, high_wcs = WCS(header, naxis=2), WCS(high_header, naxis=2)
    ratio = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))
    ratio /= float(np.sqrt(abs(np.linalg.det(high_wcs.pixel_scale_matrix))))
    # The FWHM of the result, in its own pixels: as many as the input's stars have in theirs.
    doubled = asr.super_resolve(
        CCDData(poorer, unit="adu", wcs=wcs), psf=poorer_psf, model="bicubic"
    )
    target = half_width(poorer_psf)
    fine_psf = gaussian_psf(target)
    smooth = match_psf(high, high_psf / high_psf.sum(), gaussian_psf(target * ratio / 2))
    better, covered = reproject_interp(
        (smooth, high_wcs), doubled.wcs, shape_out=doubled.shape, order="bicubic"
    )
    better[covered < 1] = np.nan
    bad = ~np.isfinite(better)
    filled = np.where(bad, np.nanmedian(better), better)
    rows, columns = 2 * np.indices(poorer.shape) + 0.5
    at_low = match_psf(filled, fine_psf, _enlarged(poorer_psf))
    at_low = ndimage.map_coordinates(at_low, [rows, columns], order=3, mode="nearest")
    mask = ndimage.binary_dilation(binned(bad, 2), iterations=2) | border(poorer.shape, 2)
    sigma = sky_noise(poorer)
    fit = align(poorer, at_low, sigma=sigma, mask=mask)
    yield Pair(
        name="cosmos-x2",
        task="super-resolve",
        what="COSMOS: Subaru HSC i doubled, against HST ACS F814W",
        image=poorer,
        plane=None,
        poorer=poorer,
        poorer_psf=poorer_psf,
        better=fit.scale * shifted(filled, 2 * fit.dx, 2 * fit.dy) + repeated(fit.sky, 2),
        better_psf=fine_psf,
        reference=fit.scale * shifted(at_low, fit.dx, fit.dy) + fit.sky,
        sigma=sigma,
        given_psf=poorer_psf,
        mask=mask,
        better_mask=repeated(mask, 2),
        note=f"flux scale {fit.scale:.4f} +- {fit.scale_error:.4f}, shift ({fit.dx:+.2f}, "
        f"{fit.dy:+.2f}) px, FWHM {half_width(poorer_psf):.2f} px against "
        f"{half_width(high_psf) * 2 / ratio:.2f} px on the doubled grid",
    )


def _jwst(root: Path) -> Iterator[Pair]:
    """Yield two programmes of JWST with one field, filter and grid, the first to be denoised."""
    first, second, psf, _ = _jwst_files(root)
    yield make_pair(
        "jwst-denoise",
        "denoise",
        "Abell 2744, JWST NIRCam F200W: programme 1324 denoised, against 2561",
        first,
        second,
        poorer_psf=psf,
        better_psf=psf,  # of one telescope: nothing to match
    )


def _jwst_binned(root: Path) -> Iterator[Pair]:
    """Yield one programme binned 2 x 2, to be doubled again, and the other one."""
    first, second, psf, other_psf = _jwst_files(root)
    small = _binned_psf(psf)
    yield make_pair(
        "jwst-x2",
        "super-resolve",
        "Abell 2744, JWST NIRCam F200W: programme 1324 binned 2 x 2 and doubled, against 2561",
        binned(first, 2),
        second,
        poorer_psf=small,
        better_psf=other_psf,
        given_psf=small,
    )


def _jwst_files(root: Path) -> tuple[Array, Array, Array, Array]:
    images = [
        middle(read_first_image(root / f"pairs/abell2744_jwst_f200w_{n}.fits.gz")[0])
        for n in _PROGRAMMES
    ]
    psfs = [_odd(read_first_image(root / f"psfs/webbpsf_f200w_{n}.fits")[0]) for n in _PROGRAMMES]
    return images[0], images[1], psfs[0], psfs[1]


def _decam(root: Path) -> Iterator[Pair]:
    """Yield a night of poor seeing against a stack of a night of good seeing."""
    better, _ = read_first_image(root / "pairs/decam_Stack-DEC-OBS18.fits")
    stack, _ = read_first_image(root / "pairs/decam_Stack-DEC-OBS04.fits")
    frame, _ = read_first_image(root / "stacks/decam_sfft/DEC-OBS04a.mini.fits")
    for name, what, poorer in (
        ("decam-deconvolve-frame", "one exposure", frame),
        ("decam-deconvolve-stack", "a stack", stack),
    ):
        yield make_pair(
            name,
            "deconvolve",
            f"DECam i: {what} of 2018 deconvolved, against the stack of 2016 in better seeing",
            poorer,
            better,
        )


def _odd(psf: Array) -> Array:
    """Return a profile cut to 101 pixels about its middle, sum 1."""
    half = 50
    y, x = (side // 2 for side in psf.shape)
    cut = psf[y - half : y + half + 1, x - half : x + half + 1]
    return np.asarray(cut / cut.sum(), np.float64)


def _binned_psf(psf: Array) -> Array:
    """Return the profile on pixels twice as large, of a star in the middle of one of them."""
    corner = ndimage.shift(psf, 0.5, order=3, mode="nearest")[:-1, :-1]
    coarse = binned(corner, 2)
    if (corner.shape[0] // 2) % 2 == 0:
        coarse = coarse[1:, 1:]
    return np.asarray(coarse / coarse.sum(), np.float64)


def _enlarged(psf: Array) -> Array:
    """Return the profile on pixels half as large."""
    side, half = psf.shape[0], psf.shape[0] // 2
    place = np.arange(-2 * half, 2 * half + 1) / 2 + (side - 1) / 2
    fine = ndimage.map_coordinates(psf, np.meshgrid(place, place, indexing="ij"), order=3)
    return np.asarray(fine / fine.sum(), np.float64)
