"""Display pictures of gray tones: coloured, enlarged and smoothed by networks, and measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.colorizer import colour_ratios
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.registry import ModelLike, load_model
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.tones import light_of_tones, tones_of_light

__all__ = ["EnhancedPicture", "compare_picture", "enhance_picture"]

SCALE = 2
"""Pixels of the result per pixel of the picture, along each axis."""
_WHITE_LIGHT = 30_000.0
"""Light of white in noise sigma, as the networks see a picture: so much that the steps of 8 bits at
its dark end are light, not noise that they take away."""
_LEAST_SIDE = 16
"""Least side of a picture in pixels."""
_TONE_SIGMA, _PIXEL_SIGMA = 0.1, 1.0
"""Widths of the bilateral filter, in tones of 0 to 1 and in pixels."""
_PLANES = 3
"""Red, green and blue."""
_NO_CONDITIONS = Conditions(np.ones((1, 1), np.float32), 1.0, 4.0, 0.0, 1.0)
"""What is measured on linear images; networks for pictures do not ask for it."""


@dataclass(frozen=True, eq=False)
class EnhancedPicture:
    """A picture that was made gray and small, and what the networks made of that.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (ny, nx, 3)
        The result.
    scores : dict
        Structural similarity to the true picture: ``ssim`` of the result; ``bicubic`` of the true
        colours at half size, interpolated; ``gray`` of the gray picture at full size. The same to
        the true picture after the bilateral filter, as published: ``smooth_ssim``,
        ``smooth_bicubic``, ``smooth_gray``, and ``smooth_filtered`` of the interpolated picture
        after the filter.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> compared = asr.compare_picture(np.full((40, 40, 3), 90, np.uint8))
    >>> compared.pixels.shape, round(compared.scores["gray"], 3)
    ((40, 40, 3), 1.0)
    """

    pixels: NDArray[np.uint8]
    scores: dict[str, float]


def enhance_picture(
    picture: ArrayLike,
    *,
    model: ModelLike = "srcnn-x2",
    colours: ModelLike | None = None,
    saturation: float = 1.0,
    bilateral: bool = False,
    runtime: Runtime | None = None,
) -> NDArray[np.uint8]:
    """Give a gray display picture colours, twice the pixels, and smooth it.

    For finished pictures (tones of sRGB); linear images are for `colorize` and `super_resolve`.

    Parameters
    ----------
    picture : array of uint8
        Shape (ny, nx), or (ny, nx, 3), which is made gray by the mean of the light.
    model : str, Path or Model
        Network of scale 2 for display images.
    colours : str, Path or Model, optional
        Network for colours; the result stays gray without one.
    saturation : float
        Factor of the colours; 1 is what the network returns.
    bilateral : bool
        Whether the result goes through a bilateral filter (Tomasi & Manduchi 1998), which takes
        away noise, and faint stars with it.
    runtime : Runtime, optional
        Device, tiles, progress.

    Returns
    -------
    ndarray of uint8, shape (2 ny, 2 nx, 3)
        Made-up colours: not for measurements.

    Raises
    ------
    InputError
        If the picture has another shape or type, or fewer than 16 pixels a side.
    ModelError
        If a model is unknown, damaged, or for something else.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:32, :40]
    >>> picture = (200 * np.exp(-((x - 20) ** 2 + (y - 16) ** 2) / 40)).astype(np.uint8)
    >>> asr.enhance_picture(picture).shape
    (64, 80, 3)
    """
    light = _light_of(_check(picture)).mean(0, keepdims=True)
    runtime = runtime or Runtime()
    enlarge = _network(model, "super-resolve", SCALE)
    if colours is None:
        planes = light.repeat(_PLANES, axis=0)
    else:
        logits = _run(_network(colours, "colorize", 1), light, runtime)
        planes = light * colour_ratios(torch.from_numpy(logits)[None], saturation)[0].numpy()
    stretch = DisplayStretch(_WHITE_LIGHT)
    channels = enlarge.spec.channels_in
    parts = [planes[k : k + channels] for k in range(0, _PLANES, channels)]
    shown = np.concatenate([_run(enlarge, part, runtime) for part in parts])
    result = _tones_of(stretch.inverse(torch.from_numpy(shown)).numpy() / _WHITE_LIGHT)
    return smooth(result) if bilateral else result


def compare_picture(
    truth: ArrayLike,
    *,
    model: ModelLike = "srcnn-x2",
    colours: ModelLike | None = None,
    saturation: float = 1.0,
    bilateral: bool = False,
    runtime: Runtime | None = None,
) -> EnhancedPicture:
    """Make a colour picture gray and half as large, enhance that, and compare the result.

    The similarity is SSIM (Wang et al. 2004): Gaussian weights of sigma 1.5 in windows of 11 x 11
    pixels, population covariance, tones of 0 to 255, the mean over the three planes and the valid
    area.

    Parameters
    ----------
    truth : array of uint8, shape (ny, nx, 3)
        A colour picture; an odd row or column at its end is left out.
    model, colours, saturation, bilateral, runtime
        As for `enhance_picture`.

    Returns
    -------
    EnhancedPicture
        The result, and similarities beside those of simple methods.

    Raises
    ------
    InputError, ModelError
        As `enhance_picture`.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:64, :64]
    >>> spot = np.exp(-((x - 30) ** 2 + (y - 34) ** 2) / 60)
    >>> colours = (200 * spot[..., None] * [1.0, 0.8, 0.5]).astype(np.uint8)
    >>> scores = asr.compare_picture(colours).scores
    >>> scores["bicubic"] > 0.99, scores["ssim"] < scores["bicubic"]
    (True, True)
    """
    true = _check(truth)
    height, width = (length - length % SCALE for length in true.shape[:2])
    true = true[:height, :width]
    small = _resized(true, width // SCALE, height // SCALE)
    enlarged = _resized(small, width, height)
    result = enhance_picture(
        small,
        model=model,
        colours=colours,
        saturation=saturation,
        bilateral=bilateral,
        runtime=runtime,
    )
    gray = _tones_of(_light_of(true).mean(0, keepdims=True).repeat(_PLANES, axis=0))
    shown = {"ssim": result, "bicubic": enlarged, "gray": gray}
    scores = {name: _similarity(true, picture) for name, picture in shown.items()}
    filtered = smooth(true)
    shown["filtered"] = smooth(enlarged)
    for name, picture in shown.items():
        scores[f"smooth_{name}"] = _similarity(filtered, picture)
    return EnhancedPicture(result, scores)


def smooth(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a colour picture after the bilateral filter."""
    from skimage.restoration import denoise_bilateral

    tones = denoise_bilateral(
        picture / 255.0, sigma_color=_TONE_SIGMA, sigma_spatial=_PIXEL_SIGMA, channel_axis=-1
    )
    return _rounded(tones)


def _check(picture: ArrayLike) -> NDArray[np.uint8]:
    """Return a picture as colours.

    Raises
    ------
    InputError
        If it is none.
    """
    pixels = np.asarray(picture)
    if pixels.ndim == 2:  # noqa: PLR2004
        pixels = pixels[..., None].repeat(_PLANES, axis=-1)
    if pixels.dtype != np.uint8 or pixels.ndim != _PLANES or pixels.shape[-1] != _PLANES:
        msg = (
            f"picture of shape {np.shape(picture)} and type {pixels.dtype} is not allowed; allowed "
            "is uint8 of shape (ny, nx) or (ny, nx, 3)"
        )
        raise InputError(msg)
    if min(pixels.shape[:2]) < _LEAST_SIDE:
        msg = f"picture of shape {np.shape(picture)} has fewer than {_LEAST_SIDE} pixels a side"
        raise InputError(msg)
    return pixels


def _network(model: ModelLike, task: str, scale: int) -> ExternalModel:
    """Load a network for display images.

    Raises
    ------
    InputError
        If it is a model for linear images.
    """
    loaded = load_model(model, task, scale)
    if not isinstance(loaded, ExternalModel):
        msg = f"model={loaded.spec.name!r} is for linear images; pictures need one for pictures"
        raise InputError(msg)
    return loaded


def _run(model: ExternalModel, light: NDArray[np.float32], runtime: Runtime) -> NDArray[np.float32]:
    """Return what a network makes of light, stretched; in tiles, which do not show."""
    stretch = DisplayStretch(_WHITE_LIGHT, *model.value_range)
    shown = stretch(torch.from_numpy(light * np.float32(_WHITE_LIGHT))).numpy()

    def read(y0: int, y1: int, x0: int, x1: int) -> tuple[NDArray, NDArray]:
        rows, columns = (
            reflect_indices(first, last, length)
            for (first, last), length in zip(((y0, y1), (x0, x1)), shown.shape[1:], strict=True)
        )
        part = np.ascontiguousarray(shown[:, rows[:, None], columns])
        return part, np.zeros_like(part)

    strips: Iterator[tuple[int, NDArray[np.float32]]] = Predictor(
        model, _NO_CONDITIONS, runtime
    ).strips(read, shown.shape[1:])
    return np.concatenate([strip for _, strip in strips], axis=1)


def _light_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return light of shape (3, ny, nx), 0 to 1, from tones of sRGB."""
    return light_of_tones(np.moveaxis(picture, -1, 0) / 255.0).astype(np.float32)


def _tones_of(light: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return tones of sRGB of shape (ny, nx, 3); light beyond 0 to 1 is black or white."""
    tones = tones_of_light(np.clip(light.astype(np.float64), 0.0, 1.0))
    return _rounded(np.moveaxis(tones, 0, -1))


def _rounded(tones: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(255.0 * np.clip(tones, 0.0, 1.0)).astype(np.uint8)


def _resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture of another size (bicubic, with antialiasing where it gets smaller)."""
    from PIL import Image

    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _similarity(truth: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float:
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            truth,
            picture,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
