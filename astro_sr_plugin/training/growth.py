"""A larger network that begins with what a smaller one has learned."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from astro_sr_plugin.models.wiener_unet.unet import WienerUNet

__all__ = ["grown"]

_WHOLE = ("tail.weight", "tail.bias")
"""Parameters whose first axis, what the network returns, must be the same."""


def grown(net: WienerUNet, smaller: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return parameters with which a network does what a smaller one does.

    Its further channels begin as filters that nothing yet listens to, and its further blocks add
    nothing, so that training goes on where that of the smaller network ended.

    Parameters
    ----------
    net : WienerUNet
        The network; not changed.
    smaller : mapping
        Parameters of a network of as many or fewer channels and blocks.

    Returns
    -------
    dict or None
        All parameters of the network; None if the other one is no part of it.

    References
    ----------
    Chen, Goodfellow & Shlens (2016), arXiv:1511.05641 (Net2Net).
    """
    own = net.state_dict()
    if not all(name in own and _fits(name, own[name], old) for name, old in smaller.items()):
        return None
    return {name: _enlarged(name, new, smaller.get(name)) for name, new in own.items()}


def _fits(name: str, new: Tensor, old: Tensor) -> bool:
    if new.ndim != old.ndim or (name in _WHOLE and len(new) != len(old)):
        return False
    return all(large >= small for large, small in zip(new.shape, old.shape, strict=True))


def _enlarged(name: str, fresh: Tensor, old: Tensor | None) -> Tensor:
    if old is None:
        # The second convolution of a residual block is what it adds.
        return torch.zeros_like(fresh) if ".second." in name else fresh.clone()
    if ".steer." in name:
        # Gains and offsets of all channels follow each other.
        halves = zip(fresh.chunk(2), old.chunk(2), strict=True)
        return torch.cat([_corner(part, kept) for part, kept in halves])
    if name.startswith("up.") and fresh.ndim == 4:
        return _corner(fresh.transpose(0, 1), old.transpose(0, 1)).transpose(0, 1).contiguous()
    return _corner(fresh, old)


def _corner(fresh: Tensor, old: Tensor) -> Tensor:
    """Lay parameters over those of more channels: what was there does not see what is new."""
    result = fresh.clone()
    result[: len(old)] = 0
    result[tuple(slice(length) for length in old.shape)] = old.to(fresh)
    return result
