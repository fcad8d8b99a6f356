"""Sharpening of stacks of planets, the Moon and the Sun, by the methods of the field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData, StdDevUncertainty
from numpy.typing import NDArray
from scipy.ndimage import convolve, distance_transform_edt, gaussian_filter, laplace

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, iter_planes, repack, unpack
from astro_sr_plugin.data.provenance import add_keywords
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError, check_choice
from astro_sr_plugin.stacking.planetary.blur import (
    fit_fwhm,
    gaussian_psf,
    richardson_lucy,
    wiener,
)
from astro_sr_plugin.stacking.planetary.layers import MOST_LAYERS, amplify_layers

__all__ = ["METHODS", "SharpenMethod", "parse_method", "sharpen"]

SharpenMethod = Literal["wavelet", "unsharp", "laplace", "kernel", "rl", "wiener"]
METHODS: tuple[SharpenMethod, ...] = get_args(SharpenMethod)
"""Names of the methods."""

GAINS = (3.0, 2.0, 1.5, 1.0)
"""Factors of the wavelet layers by default: a moderate sharpening of stacks that are sampled at
three to four pixels per FWHM, chosen on stacks of Jupiter and the Moon."""
NSIGMA = 3.0
"""Threshold of the wavelet layers in units of their noise, by default."""
_SIGMA = {"unsharp": 2.0, "laplace": 1.5}
"""Standard deviation of the Gaussian in pixels, by default."""
_AMOUNT = {"unsharp": 1.5, "laplace": 2.0, "kernel": 0.125}
"""Strength by default. That of the kernel is the one of Pillow's filter SHARPEN."""
_ITERATIONS = 20
"""Iterations of Richardson-Lucy by default."""
_NOISE_TO_SIGNAL = 0.003
"""Ratio of the powers of noise and signal of the Wiener filter, by default."""
_LARGEST_FWHM = 100.0
"""Pixels; a blur that is wider leaves nothing to restore."""
_PARAMETERS = {
    "wavelet": ("gains", "nsigma"),
    "unsharp": ("sigma", "amount"),
    "laplace": ("sigma", "amount"),
    "kernel": ("amount",),
    "rl": ("psf", "iterations"),
    "wiener": ("psf", "noise_to_signal"),
}
"""Parameters of each method, in the order of `parse_method`."""


@image_function
def sharpen(
    image: Image,
    method: SharpenMethod = "wavelet",
    *,
    gains: Sequence[float] | None = None,
    nsigma: float | Sequence[float] | None = None,
    sigma: float | None = None,
    amount: float | None = None,
    psf: float | NDArray[np.floating] | str | os.PathLike[str] | None = None,
    iterations: int | None = None,
    noise_to_signal: float | None = None,
    mask: MaskLike | None = None,
    hdu: HDUChoice = None,
) -> CCDData | NDArray:
    """Sharpen a stack of a planet, the Moon or the Sun.

    Every method is linear in the light up to its threshold and keeps the mean; nothing is clipped,
    so edges may overshoot below the background and above white. For stars and nebulae, whose PSF
    can be measured, `deconvolve` does better.

    Parameters
    ----------
    image : CCDData, NDData, ndarray, str or Path, shape (ny, nx) or (n, ny, nx)
        The stack. Not changed.
    method : {"wavelet", "unsharp", "laplace", "kernel", "rl", "wiener"}
        ``"wavelet"`` multiplies layers of structures of about 1, 2, 4, 8, ... pixels where they
        stand out of the noise; ``"unsharp"`` adds the difference from a Gaussian blur;
        ``"laplace"`` blurs by a Gaussian and subtracts the Laplacian; ``"kernel"`` convolves with
        3 x 3 pixels; ``"rl"`` and ``"wiener"`` deconvolve (Richardson-Lucy, Wiener filter).
    gains : sequence of float, optional
        Factor of each wavelet layer, from the finest; 3, 2, 1.5, 1 by default.
    nsigma : float or sequence of float, optional
        Threshold of the wavelet layers in units of their noise, of all or of each; 3 by default.
        The noise is that of the uncertainty of the image, else measured in the first layer.
    sigma : float, optional
        Standard deviation of the Gaussian in pixels; 2 (unsharp) and 1.5 (laplace) by default.
    amount : float, optional
        What is added, in units of the difference (unsharp, 1.5 by default), of the Laplacian
        (laplace, 2), and of the difference from each neighbour (kernel, 0.125).
    psf : float, ndarray, str or Path, optional
        FWHM of a Gaussian in pixels, an image of odd sides, or a FITS file of one; by default a
        Gaussian that is fitted to the spectrum of the image.
    iterations : int, optional
        Of Richardson-Lucy; 20 by default.
    noise_to_signal : float, optional
        Ratio of their powers for the Wiener filter; 0.003 by default.

    Returns
    -------
    CCDData or ndarray
        In floating point. NaN and masked pixels come back as they were, and have no part in the
        others. There is no uncertainty.

    Raises
    ------
    InputError
        If a parameter is not allowed, does not belong to the method, or no blur can be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[-16:17, -16:17]
    >>> blurred = np.exp(-(x**2 + y**2) / 50)
    >>> sharp = asr.sharpen(blurred, "unsharp", sigma=2, amount=1)
    >>> bool(sharp[16, 16] > blurred[16, 16]), bool(np.isclose(sharp.sum(), blurred.sum()))
    (True, True)
    """
    given = {
        "gains": gains,
        "nsigma": nsigma,
        "sigma": sigma,
        "amount": amount,
        "psf": psf,
        "iterations": iterations,
        "noise_to_signal": noise_to_signal,
    }
    settings = _check(method, {name: value for name, value in given.items() if value is not None})
    parts = unpack(image, mask=mask, hdu=hdu)
    dtype = np.float64 if parts.data.dtype.itemsize > 4 else np.float32
    data = np.array(parts.data, dtype)
    noise = _noise_of(parts.uncertainty)
    for index, plane in iter_planes(data):
        bad = ~np.isfinite(plane)
        if parts.mask is not None:
            bad |= parts.mask[index]
        own = noise[index] if isinstance(noise, np.ndarray) and noise.ndim == data.ndim else noise
        if bad.all():
            continue
        result = _sharpen_plane(_filled(plane, bad), method, settings, own)
        plane[~bad] = result[~bad]
    meta = parts.meta
    if isinstance(meta, Header):
        noted = {k: v for k, v in settings.items() if k != "psf"}
        add_keywords(meta, task="sharpen", model=method, parameters=noted)
    return repack(parts, data, mask=parts.mask, wcs=parts.wcs, meta=meta, flags=parts.flags)


def parse_method(text: str) -> tuple[SharpenMethod, dict[str, Any]]:
    """Read a method and its parameters from a text, as the command line has them.

    Parameters
    ----------
    text : str
        ``METHOD`` or ``METHOD:NUMBERS``: ``wavelet:3,2,1.5`` (gains, each perhaps followed by
        ``@`` and its threshold), ``unsharp:SIGMA,AMOUNT``, ``laplace:SIGMA,AMOUNT``,
        ``kernel:AMOUNT``, ``rl:FWHM,ITERATIONS``, ``wiener:FWHM,RATIO``.

    Returns
    -------
    method : str
        For `sharpen`.
    parameters : dict
        For `sharpen`.

    Raises
    ------
    InputError
        If it cannot be understood, or a value is not allowed.
    """
    name, _, rest = text.partition(":")
    words = [word.strip() for word in rest.split(",")] if rest.strip() else []
    try:
        if name == "wavelet":
            pairs = [word.partition("@") for word in words]
            parameters: dict[str, Any] = {}
            if pairs:
                parameters["gains"] = tuple(float(gain) for gain, _, _ in pairs)
                parameters["nsigma"] = tuple(float(limit or NSIGMA) for _, _, limit in pairs)
        else:
            names = _PARAMETERS.get(name, ())
            parameters = dict(zip(names, map(float, words), strict=False))
            if len(words) > len(names) and names:
                msg = f"sharpen={text!r} has more than {len(names)} numbers"
                raise InputError(msg)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        msg = f"sharpen={text!r} is not METHOD:NUMBER,NUMBER,... such as 'unsharp:2,1.5'"
        raise InputError(msg) from error
    if "iterations" in parameters:
        parameters["iterations"] = round(parameters["iterations"])
    _check(name, parameters)
    return name, parameters  # type: ignore[return-value]


def _check(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters of a method, and return them all."""
    check_choice("method", method, METHODS)
    wrong = sorted(set(given) - set(_PARAMETERS[method]))
    if wrong:
        allowed = ", ".join(_PARAMETERS[method])
        msg = f"{wrong[0]} does not belong to method={method!r}, whose parameters are {allowed}"
        raise InputError(msg)
    if method == "wavelet":
        return _layer_settings(given)
    defaults: dict[str, Any] = {
        "sigma": _SIGMA.get(method),
        "amount": _AMOUNT.get(method),
        "psf": None,
        "iterations": _ITERATIONS,
        "noise_to_signal": _NOISE_TO_SIGNAL,
    }
    settings = {name: given.get(name, defaults[name]) for name in _PARAMETERS[method]}
    for name, value in settings.items():
        if name == "psf":
            settings[name] = _psf_of(value)
        elif not (np.isfinite(value) and value > 0):
            msg = f"{name}={value:g} is out of range; allowed is above 0"
            raise InputError(msg)
    return settings


def _layer_settings(given: dict[str, Any]) -> dict[str, Any]:
    gains = tuple(float(gain) for gain in given.get("gains", GAINS))
    nsigma = given.get("nsigma", NSIGMA)
    limits = tuple(nsigma) if isinstance(nsigma, Sequence) else (float(nsigma),) * len(gains)
    if not 1 <= len(gains) <= MOST_LAYERS:
        msg = f"gains has {len(gains)} values; allowed are 1 to {MOST_LAYERS} layers"
        raise InputError(msg)
    if len(limits) != len(gains):
        msg = f"nsigma has {len(limits)} values for {len(gains)} layers"
        raise InputError(msg)
    for name, values in (("gains", gains), ("nsigma", limits)):
        if not all(np.isfinite(value) and value >= 0 for value in values):
            msg = f"{name}={values} is out of range; allowed is 0 and above"
            raise InputError(msg)
    return {"gains": gains, "nsigma": limits}


def _psf_of(psf: Any) -> NDArray[np.floating] | float | None:
    if psf is None:
        return None
    if isinstance(psf, str | os.PathLike):
        psf = unpack(psf).data
    if np.ndim(psf) == 0:
        fwhm = float(psf)
        if not 0 < fwhm <= _LARGEST_FWHM:
            msg = f"psf={fwhm:g} is out of range; allowed is a FWHM up to {_LARGEST_FWHM:g} pixels"
            raise InputError(msg)
        return fwhm
    image = np.asarray(psf, np.float64)
    odd = image.ndim == 2 and all(side % 2 for side in image.shape)
    if not odd or not np.isfinite(image).all() or not image.sum() > 0:
        msg = f"psf has shape {image.shape}; allowed are finite images of odd sides, sum above 0"
        raise InputError(msg)
    return image / image.sum()


def _noise_of(uncertainty: Any) -> float | NDArray[np.floating] | None:
    if uncertainty is None or uncertainty.array is None:
        return None
    array = np.asarray(uncertainty.represent_as(StdDevUncertainty).array)
    finite = np.isfinite(array)
    return np.where(finite, array, 0) if finite.any() else None


def _filled(plane: NDArray[np.floating], bad: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Take the nearest value where there is none."""
    if not bad.any():
        return plane.copy()
    nearest = distance_transform_edt(bad, return_distances=False, return_indices=True)
    return np.asarray(plane[tuple(nearest)])


def _sharpen_plane(
    plane: NDArray[np.floating],
    method: str,
    settings: dict[str, Any],
    noise: float | NDArray[np.floating] | None,
) -> NDArray[np.floating]:
    if method == "wavelet":
        return amplify_layers(plane, settings["gains"], settings["nsigma"], noise)
    if method == "unsharp":
        blurred = gaussian_filter(plane, settings["sigma"])
        return np.asarray(plane + settings["amount"] * (plane - blurred))
    if method == "laplace":
        curvature = laplace(gaussian_filter(plane, settings["sigma"]))
        return np.asarray(plane - settings["amount"] * curvature)
    if method == "kernel":
        kernel = np.full((3, 3), -settings["amount"])
        kernel[1, 1] = 1 + 8 * settings["amount"]
        return np.asarray(convolve(plane, kernel, mode="nearest"))
    psf = settings["psf"]
    if psf is None:
        psf = fit_fwhm(plane)
        if psf is None:
            msg = "no blur could be fitted to the image; give the FWHM in pixels, such as psf=3"
            raise InputError(msg)
    kernel = gaussian_psf(psf) if np.ndim(psf) == 0 else psf
    if method == "rl":
        return richardson_lucy(plane, kernel, int(settings["iterations"]))
    return wiener(plane, kernel, settings["noise_to_signal"])
