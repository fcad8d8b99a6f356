"""What public functions share: their parameters, and the kind of image that they return."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import ArrayImage, FileImage, Image

__all__ = ["ImageFunction", "PairFunction", "image_function", "pair_function", "shared_parameters"]

P = ParamSpec("P")
Function = TypeVar("Function", bound=Callable[..., Any])

_SHARED = {
    "model": """str, Path or Model, optional
    Name from `list_models`, a weights file, or what `load_model` returned; by default the shipped
    network.""",
    "measured": """Quality, optional
    What `measure` found on this image, to be used again.""",
    "mask": """ndarray of bool, str or Path, optional
    True = excluded, in addition to the image's own mask; shape (ny, nx) or that of the image. The
    bits of a file are read by their meanings, not zero = excluded otherwise.""",
    "device": """{'auto', 'cpu', 'cuda', 'mps'}, optional
    Shorthand for ``runtime=Runtime(device=...)``.""",
    "runtime": """Runtime, optional
    Device, tiles, progress.""",
    "out": """str or Path, optional
    FITS file to stream the result into, for images larger than the memory.""",
    "overwrite": """bool
    Whether ``out`` may replace a file.""",
    "hdu": """int, str or (str, int), optional
    Which image of a file or HDUList: number, name (``"SCI"``), or name and version.""",
    "force": """bool
    Take pixels as they are that the function is not for: a mosaic, magnitudes, a stretched image,
    one that was denoised or sharpened before.""",
}
"""Parameters with one meaning in all functions, as numpydoc has them."""


def shared_parameters(function: Function) -> Function:
    """Complete the docstring of a function by the parameters that it shares with others.

    Every parameter that the docstring leaves out is added before the section "Returns", in the
    order of the signature.

    Parameters
    ----------
    function : callable
        With a numpydoc docstring.

    Raises
    ------
    KeyError
        If a parameter is described neither in the docstring nor here.
    """
    if function.__doc__ is None:
        # python -OO
        return function
    before, title, after = inspect.cleandoc(function.__doc__).partition("\nReturns\n")
    lines = re.findall(r"^(\w+(?:, \w+)*) : ", before, re.MULTILINE)
    described = {name for line in lines for name in line.split(", ")}
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind != p.VAR_KEYWORD and p.name not in described]
    entries = "".join(f"{name} : {_SHARED[name]}\n" for name in names)
    function.__doc__ = f"{before.rstrip()}\n{entries}{title}{after}\n"
    return function


class ImageFunction(Protocol[P]):
    """A function that returns an array for an array, and a CCDData for any other image.

    With ``uncertainty=True`` an array too comes back as a CCDData, which these types leave out:
    give a CCDData where a type checker has to know it.
    """

    @overload
    def __call__(self, image: FileImage, *args: P.args, **kwargs: P.kwargs) -> CCDData: ...
    @overload
    def __call__(self, image: ArrayImage, *args: P.args, **kwargs: P.kwargs) -> NDArray: ...


class PairFunction(Protocol[P]):
    """A function that returns two images by the rule of `ImageFunction`."""

    @overload
    def __call__(
        self, image: FileImage, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[CCDData, CCDData]: ...
    @overload
    def __call__(
        self, image: ArrayImage, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[NDArray, NDArray]: ...


def image_function(
    function: Callable[Concatenate[Image, P], CCDData | NDArray],
) -> ImageFunction[P]:
    """Declare a function to be an `ImageFunction`, and complete its docstring."""
    return cast("ImageFunction[P]", shared_parameters(function))


def pair_function(
    function: Callable[Concatenate[Image, P], tuple[CCDData | NDArray, CCDData | NDArray]],
) -> PairFunction[P]:
    """Declare a function to be a `PairFunction`, and complete its docstring."""
    return cast("PairFunction[P]", shared_parameters(function))
