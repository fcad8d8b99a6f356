"""Which extensions of a FITS file belong to an image: its mask, its uncertainty, its weight."""

from __future__ import annotations

import re
from dataclasses import dataclass

from astropy.nddata import (
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)

__all__ = ["Extension", "find_companions", "is_image", "uncertainty_class"]

_MASKS = ["MASK", "DQ", "MSK", "BPM", "FLG", "FLAG", "FLAGS", "QUAL", "DQUAL", "QUALITY"]
_UNCERTAINTY_OF: dict[str, type[NDUncertainty]] = {
    **dict.fromkeys(
        ["UNCERT", "UNCERTAINTY", "ERR", "ERROR", "STDDEV", "STD", "SIGMA", "RMS"],
        StdDevUncertainty,
    ),
    **dict.fromkeys(["VAR", "VARIANCE", "STAT"], VarianceUncertainty),
    **dict.fromkeys(["IVAR", "INVVAR", "WHT", "WEIGHT", "WGT", "WT"], InverseVariance),
}
"""Extensions, best first, and what they hold unless their keyword UTYPE says otherwise."""

# Planes that describe an image and are none; they are neither used nor named as left out.
_OTHERS = [
    "CON",
    "CTX",
    "EXP",
    "NEXP",
    "TIME",
    "SAMP",
    "AREA",
    "PSF",
    "PREVIEW",
    "THUMBNAIL",
    "BKG",
    "BACKGROUND",
    "SKY",
    "VAR_POISSON",
    "VAR_RNOISE",
    "VAR_FLAT",
    "VARPSN",
    "VARRN",
    "D2IMARR",
    "WCSDVARR",
    "PATHLOSS_PS",
    "PATHLOSS_UN",
    "NUSED",
    "REJLOW",
    "REJHIGH",
    "ZEROFRAME",
    "OBJMASK",
]
_IMAGES = ["SCI", "IMAGE", "IMG", "DATA", "CAL", "PRIMARY", "SCIENCE", "SIGNAL"]
_KINDS = {
    **dict.fromkeys(_MASKS, "mask"),
    **dict.fromkeys(_UNCERTAINTY_OF, "uncertainty"),
    **dict.fromkeys(_OTHERS, "other"),
    **dict.fromkeys(_IMAGES, "image"),
}
_UTYPES: dict[str, type[NDUncertainty]] = {
    "std": StdDevUncertainty,
    "StdDevUncertainty": StdDevUncertainty,
    "var": VarianceUncertainty,
    "VarianceUncertainty": VarianceUncertainty,
    "ivar": InverseVariance,
    "InverseVariance": InverseVariance,
    "unknown": UnknownUncertainty,
    "UnknownUncertainty": UnknownUncertainty,
}


@dataclass(frozen=True)
class Extension:
    """What pairs an image with its companions.

    Parameters
    ----------
    name : str
        EXTNAME, in capitals.
    version : int
        EXTVER.
    shape : tuple of int or None
        Shape without axes of length one; None for tables.
    """

    name: str
    version: int
    shape: tuple[int, ...] | None

    @property
    def kind(self) -> str:
        """``"image"``, ``"mask"``, ``"uncertainty"`` or ``"other"``."""
        return _KINDS.get(self.word, "image")

    @property
    def word(self) -> str:
        """The word of the name that says what the extension holds; empty for an own name."""
        return _split(self.name)[0]

    @property
    def group(self) -> str:
        """The rest of the name: ``"3-4.E"`` of ``"3-4.E.SCI"``."""
        return _split(self.name)[1]


def is_image(extension: Extension) -> bool:
    """Whether an extension is an image of the sky with two or three axes, by shape and name."""
    shape = extension.shape
    if shape is None or len(shape) not in (2, 3) or 0 in shape:
        return False
    return extension.kind == "image"


def find_companions(extensions: list[Extension], index: int) -> tuple[list[int], int | None]:
    """Find the masks and the uncertainty of an image.

    An image and its companions share the version (``SCI,2`` and ``DQ,2``) and the rest of the name
    (``CCD1.SCI`` and ``CCD1.FLG``), or the companion follows its image before the next one.

    Parameters
    ----------
    extensions : list of Extension
        All of the file, in its order.
    index : int
        Number of the image.

    Returns
    -------
    masks : list of int
        Numbers of the masks.
    uncertainty : int or None
        Number of the best extension with an uncertainty or a weight.
    """
    own = extensions[index]
    if own.kind != "image":
        return [], None
    images = [number for number, extension in enumerate(extensions) if is_image(extension)]
    found = []
    for number, extension in enumerate(extensions):
        if extension.shape != own.shape or extension.kind not in ("mask", "uncertainty"):
            continue
        partners = [
            image
            for image in images
            if extensions[image].group == extension.group
            and extensions[image].version == extension.version
        ]
        if not partners and not extension.group:
            partners = images if len(images) == 1 else [i for i in images if i < number][-1:]
        if index in partners and (len(partners) == 1 or partners[0] == index):
            found.append(number)
    masks = [number for number in found if extensions[number].kind == "mask"]
    order = list(_UNCERTAINTY_OF)
    errors = [number for number in found if extensions[number].kind == "uncertainty"]
    errors.sort(key=lambda number: order.index(extensions[number].word))
    return masks, errors[0] if errors else None


def uncertainty_class(extension: Extension, utype: object) -> type[NDUncertainty]:
    """Give the class of an uncertainty.

    Parameters
    ----------
    extension : Extension
        One with an uncertainty.
    utype : object
        Value of its keyword UTYPE, as CCDData writes it; anything unknown does not count.

    Returns
    -------
    type
        Subclass of NDUncertainty.
    """
    return _UTYPES.get(str(utype), _UNCERTAINTY_OF[extension.word])


def _split(name: str) -> tuple[str, str]:
    """Split a name into the word that says what it holds and the rest."""
    if name in _KINDS:
        return name, ""
    match = re.fullmatch(r"(.+)[ ._-]([^ ._-]+)", name)
    if match is not None and match[2] in _KINDS:
        return match[2], match[1]
    match = re.fullmatch(r"([^ ._-]+)[ ._-](.+)", name)
    if match is not None and match[1] in _KINDS:
        return match[1], match[2]
    return "", name
