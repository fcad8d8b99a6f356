"""Whether pixels are what the verbs are for: linear light, one filter per plane."""

from __future__ import annotations

from astro_sr_plugin.data.cfa import find_cfa, has_mosaic_steps, looks_like_mosaic
from astro_sr_plugin.data.nddata import Unpacked
from astro_sr_plugin.data.nonlinear import find_curved_unit, is_asinh_compressed
from astro_sr_plugin.data.stretch_signs import find_stretch_signs
from astro_sr_plugin.exceptions import InputError, warn

__all__ = ["check_linear"]

_FORCE = "force=True uses them as they are"
# Keyword that `apply_stretch` writes.
_OWN_STRETCH = "ASRSTR"
_DEBAYER = "debayer(image, 'superpixel') or debayer(image, 'bilinear')"


def check_linear(parts: Unpacked, *, force: bool = False) -> None:
    """Refuse pixels that are no linear light, and warn where they do not look like it.

    Parameters
    ----------
    parts : Unpacked
        The image.
    force : bool, default False
        Take it as it is.

    Raises
    ------
    InputError
        If header or unit say that the image is a raw colour mosaic, that its values are
        magnitudes, logarithms, roots or asinh-compressed, or that it was stretched by `stretch`.

    Warns
    -----
    AstroSRWarning
        If only the pixels look like a mosaic, or if history or pixels look like a stretch.
    """
    if force:
        return
    _check_curve(parts)
    _check_mosaic(parts)
    _check_stretch(parts)


def _check_curve(parts: Unpacked) -> None:
    unit = find_curved_unit(parts.meta, parts.unit)
    if unit:
        msg = (
            f"the unit of the pixels is {unit!r}, which is not proportional to light; turn them "
            f"into linear flux first; {_FORCE}"
        )
        raise InputError(msg)
    if is_asinh_compressed(parts.meta, parts.data):
        msg = (
            "the pixels are compressed by asinh (keywords BSOFTEN and BOFFSET of Pan-STARRS); "
            f"read_image makes them linear; {_FORCE}"
        )
        raise InputError(msg)


def _check_mosaic(parts: Unpacked) -> None:
    cfa = find_cfa(parts.meta, parts.data.shape)
    if cfa is None:
        if looks_like_mosaic(parts.data):
            msg = (
                "the pixels look like the raw mosaic of a colour camera, though no keyword says "
                f"so; if they are, make a colour image of them by {_DEBAYER}"
            )
            warn(msg)
        return
    if not has_mosaic_steps(parts.data, cfa):
        return
    named = f"{cfa.pattern[:4]} mosaic" if len(cfa.pattern) == 4 else "mosaic (X-Trans)"
    if not cfa.pattern:
        named = "mosaic"
    msg = (
        f"the image is the raw {named} of a colour camera (a Bayer or other colour filter array): "
        f"neighbouring pixels have different colours; make a colour image of it by {_DEBAYER}; "
        f"{_FORCE}"
    )
    raise InputError(msg)


def _check_stretch(parts: Unpacked) -> None:
    if _OWN_STRETCH in parts.meta:
        msg = (
            f"the image is stretched (keyword {_OWN_STRETCH} = {parts.meta[_OWN_STRETCH]!r}); "
            f"unstretch first (astro-sr unstretch, undo_stretch), and stretch the result; {_FORCE}"
        )
        raise InputError(msg)
    sign = find_stretch_signs(parts.meta, parts.data)
    if sign:
        msg = (
            f"the image seems to be stretched for display ({sign}); results are right for linear "
            "images only: use the image from before the stretch, and stretch the result; "
            "force=True takes it as linear"
        )
        warn(msg)
