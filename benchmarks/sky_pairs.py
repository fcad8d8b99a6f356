"""Pairs of observations of one field: a poorer one, and a better one on the grid of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.sky_matching import (
    SEEN,
    Array,
    align,
    find_maxima,
    gaussian_psf,
    half_width,
    largest_near,
    match_psf,
    matched_filter,
    measured_psf,
    shifted,
    sky_noise,
    values_at,
)

__all__ = ["Pair", "find_pairs", "make_pair", "middle"]

_SIDE = 640  # of what is compared of larger images
_PROGRAMMES = ("01324", "02561")


@dataclass(frozen=True)
class Pair:
    """What is enhanced, and what the result is compared with.

    Attributes
    ----------
    name, task, what : str
        Short name, one of "denoise", "deconvolve", "super-resolve", and a line for the report.
    image : numpy.ndarray
        What the verbs are given, (ny, nx) or (3, ny, nx).
    plane : int or None
        The plane of a colour image that is compared.
    poorer : numpy.ndarray
        That plane.
    poorer_psf : numpy.ndarray
        Its profile, sum 1.
    better : numpy.ndarray
        The better data in the units, at the sky level and on the grid of the result.
    better_psf : numpy.ndarray
        Its profile on that grid.
    reference : numpy.ndarray
        The better data at the profile and on the grid of the poorer ones (the other way round
        where the poorer profile is the narrower one).
    sigma : float
        Noise of a pixel of the poorer data.
    given_psf : numpy.ndarray or None
        The profile that is given to the verb; None where it measures it itself.
    mask, better_mask : numpy.ndarray
        True = left out, on the grid of the poorer data and on that of the result.
    better_variance : numpy.ndarray or None
        Variance of the better data where it is known from the scatter of their frames.
    note : str
        What was fitted.
    """

    name: str
    task: str
    what: str
    image: Array
    plane: int | None
    poorer: Array
    poorer_psf: Array
    better: Array
    better_psf: Array
    reference: Array
    sigma: float
    given_psf: Array | None
    mask: NDArray[np.bool_]
    better_mask: NDArray[np.bool_]
    better_variance: Array | None = None
    note: str = ""

    @property
    def scale(self) -> int:
        """Pixels of the result per pixel of the poorer data, along an axis."""
        return self.better.shape[0] // self.poorer.shape[0]

    @cached_property
    def poorer_flux(self) -> tuple[Array, float]:
        """Map of the flux of a point source on the poorer data, and its error."""
        return matched_filter(self.poorer, self.poorer_psf, self.mask)

    @cached_property
    def better_snr(self) -> Array:
        """Map of the signal to noise ratio of a point source on the better data."""
        flux, error = matched_filter(self.better, self.better_psf, self.better_mask)
        return flux / error

    @cached_property
    def known(self) -> tuple[Array, Array]:
        """Places (x, y) of the sources of the better data, and their SNR in the poorer ones."""
        places = find_maxima(self.better_snr, SEEN, self.better_mask)
        reach = max(1.0, 0.5 * half_width(self.poorer_psf))
        largest = largest_near(self.poorer_flux[0] / self.poorer_flux[1], reach)
        return places, values_at(largest, (places + 0.5) / self.scale - 0.5)


def make_pair(
    name: str,
    task: str,
    what: str,
    poorer: Array,
    better: Array,
    *,
    poorer_psf: Array | None = None,
    better_psf: Array | None = None,
    given_psf: Array | None = None,
    image: Array | None = None,
    plane: int | None = None,
    better_variance: Array | None = None,
) -> Pair:
    """Make a pair of two images of one grid: fit flux scale, shift and sky of the better one.

    Parameters
    ----------
    name, task, what : str
        See `Pair`.
    poorer, better : numpy.ndarray
        (ny, nx) each; not-finite pixels are left out. If the better one has twice the pixels, its
        2 x 2 means are on the grid of the poorer one.
    poorer_psf, better_psf : numpy.ndarray, optional
        Profiles; measured on the images if not given.
    given_psf, image, plane, better_variance
        See `Pair`.

    Returns
    -------
    Pair
    """
    scale = better.shape[0] // poorer.shape[0]
    profile = measured_psf(poorer) if poorer_psf is None else poorer_psf
    better_profile = measured_psf(better) if better_psf is None else better_psf
    bad, better_bad = ~np.isfinite(poorer), ~np.isfinite(better)
    sigma = sky_noise(poorer, bad)
    low = np.where(bad, np.median(poorer[~bad]), poorer)
    high = np.where(better_bad, np.median(better[~better_bad]), better)
    reach = int(np.ceil(2 * half_width(profile)))
    mask = ndimage.binary_dilation(bad | _binned(better_bad, scale), iterations=reach)
    mask |= _border(low.shape, reach)
    at_low, seen = _binned(high, scale), low
    if scale == 1 and half_width(better_profile) > half_width(profile):
        seen = match_psf(low, profile, better_profile)
    elif scale == 1:
        at_low = match_psf(high, better_profile, profile)
    fit = align(seen, at_low, sigma=sigma, mask=mask)
    reference = fit.scale * shifted(at_low, fit.dx, fit.dy) + fit.sky
    moved = fit.scale * shifted(high, scale * fit.dx, scale * fit.dy)
    note = (
        f"flux scale {fit.scale:.4f} +- {fit.scale_error:.4f}, shift ({fit.dx:+.2f}, {fit.dy:+.2f})"
        f" px, FWHM {half_width(profile):.2f} and {half_width(better_profile):.2f} px"
    )
    return Pair(
        name=name,
        task=task,
        what=what,
        image=poorer if image is None else image,
        plane=plane,
        poorer=low,
        poorer_psf=profile,
        better=moved + _repeated(fit.sky, scale),
        better_psf=better_profile,
        reference=reference,
        sigma=sigma,
        given_psf=given_psf,
        mask=mask,
        better_mask=_repeated(mask, scale),
        better_variance=None if better_variance is None else better_variance * fit.scale**2,
        note=note,
    )


def find_pairs(folder: str | Path, say: Callable[[str], None], *, only: str = "") -> Iterator[Pair]:
    """Yield every pair whose files are in a folder; tell which are not.

    Parameters
    ----------
    folder : path
        With the folders pairs/, stacks/ and psfs/, as docs/science_validation.rst names them.
    say : callable
        Is told of everything that is skipped.
    only : str
        Part of the name of the pairs to yield.
    """
    from benchmarks.sky_stacks import decam_frames, halves

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

    import astro_sr_plugin as asr

    low, header = _read(root / "pairs/cosmos_Cut_HSC.fits")
    high, high_header = _read(root / "pairs/cosmos_Cut_HST.fits")
    psf, _ = _read(root / "pairs/cosmos_PSF_HSC.fits")
    high_psf, _ = _read(root / "pairs/cosmos_PSF_HST.fits")
    band = 2
    poorer, poorer_psf = low[band], psf[band] / psf[band].sum()
    wcs, high_wcs = WCS(header, naxis=2), WCS(high_header, naxis=2)
    ratio = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))
    ratio /= float(np.sqrt(abs(np.linalg.det(high_wcs.pixel_scale_matrix))))
    # The FWHM of the result, in its own pixels: as many as the input's stars have in theirs.
    doubled = asr.super_resolve(_image(poorer, wcs), psf=poorer_psf, model="bicubic")
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
    mask = ndimage.binary_dilation(_binned(bad, 2), iterations=2) | _border(poorer.shape, 2)
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
        better=fit.scale * shifted(filled, 2 * fit.dx, 2 * fit.dy) + _repeated(fit.sky, 2),
        better_psf=fine_psf,
        reference=fit.scale * shifted(at_low, fit.dx, fit.dy) + fit.sky,
        sigma=sigma,
        given_psf=poorer_psf,
        mask=mask,
        better_mask=_repeated(mask, 2),
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
        _binned(first, 2),
        second,
        poorer_psf=small,
        better_psf=other_psf,
        given_psf=small,
    )


def _jwst_files(root: Path) -> tuple[Array, Array, Array, Array]:
    images = [
        middle(_read(root / f"pairs/abell2744_jwst_f200w_{n}.fits.gz")[0]) for n in _PROGRAMMES
    ]
    psfs = [_odd(_read(root / f"psfs/webbpsf_f200w_{n}.fits")[0]) for n in _PROGRAMMES]
    return images[0], images[1], psfs[0], psfs[1]


def _decam(root: Path) -> Iterator[Pair]:
    """Yield a night of poor seeing against a stack of a night of good seeing."""
    better, _ = _read(root / "pairs/decam_Stack-DEC-OBS18.fits")
    stack, _ = _read(root / "pairs/decam_Stack-DEC-OBS04.fits")
    frame, _ = _read(root / "stacks/decam_sfft/DEC-OBS04a.mini.fits")
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


def _read(path: Path) -> tuple[Array, fits.Header]:
    if not path.exists():
        msg = f"{path} is not there"
        raise FileNotFoundError(msg)
    with fits.open(path) as hdus:
        hdu = next(h for h in hdus if h.data is not None)
        return np.array(hdu.data, dtype=np.float64), hdu.header.copy()


def middle(image: Array) -> Array:
    """Return the middle of the last two axes, of 640 pixels at most."""
    ny, nx = image.shape[-2:]
    side = min(_SIDE, ny, nx)
    y, x = (ny - side) // 2, (nx - side) // 2
    return image[..., y : y + side, x : x + side]


def _image(data: Array, wcs: WCS) -> object:
    from astropy.nddata import CCDData

    return CCDData(data, unit="adu", wcs=wcs)


def _odd(psf: Array) -> Array:
    """Return a profile cut to 101 pixels about its middle, sum 1."""
    half = 50
    y, x = (side // 2 for side in psf.shape)
    cut = psf[y - half : y + half + 1, x - half : x + half + 1]
    return np.asarray(cut / cut.sum(), np.float64)


def _binned(image: NDArray, factor: int) -> NDArray:
    """Return means of blocks; of booleans, whether any is true."""
    if factor == 1:
        return image
    ny, nx = (side // factor for side in image.shape)
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    return blocks.any(axis=(1, 3)) if image.dtype == bool else blocks.mean(axis=(1, 3))


def _binned_psf(psf: Array) -> Array:
    """Return the profile on pixels twice as large, of a star in the middle of one of them."""
    corner = ndimage.shift(psf, 0.5, order=3, mode="nearest")[:-1, :-1]
    binned = _binned(corner, 2)[1:, 1:] if (corner.shape[0] // 2) % 2 == 0 else _binned(corner, 2)
    return np.asarray(binned / binned.sum(), np.float64)


def _enlarged(psf: Array) -> Array:
    """Return the profile on pixels half as large."""
    side, half = psf.shape[0], psf.shape[0] // 2
    place = np.arange(-2 * half, 2 * half + 1) / 2 + (side - 1) / 2
    fine = ndimage.map_coordinates(psf, np.meshgrid(place, place, indexing="ij"), order=3)
    return np.asarray(fine / fine.sum(), np.float64)


def _repeated(image: NDArray, factor: int) -> NDArray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _border(shape: tuple[int, ...], width: int) -> NDArray[np.bool_]:
    edge = np.ones(shape, dtype=bool)
    edge[width:-width, width:-width] = False
    return edge
