"""A network for display images, ready to run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.filters import without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec, RestoreTile

__all__ = ["ExternalModel"]


@dataclass(frozen=True, eq=False)
class ExternalModel:
    """A network that works on display images, not on linear data.

    It comes from a user's file, or is a published architecture that this project trained.

    It is a `Model` of ``spec.domain == "unit"``: what surrounds it has to stretch the image to
    ``value_range`` and back. It never clips.

    Attributes
    ----------
    spec : ModelSpec
        Task, scale, planes, halo, ``multiple_of``, least size, SHA-256 of the file.
    module : torch.nn.Module
        The network in evaluation mode on the CPU, float32: (B, C, H, W) to (B, C', s H, s W).
        Heights and widths have to be multiples of `size_multiple`.
    parameters : int
        How many weights it has.
    value_range : tuple of float
        Values of black and white of the images that it was trained on.
    window : int
        Side in input pixels of the windows of its attention, 1 without; tiles have to start at
        multiples of it.
    size_multiple : int
        Heights and widths that ``module`` takes are multiples of this; a call pads and crops.
    notes : tuple of str
        What the user should know, one sentence each.

    Examples
    --------
    >>> import torch
    >>> import astro_sr_plugin as asr
    >>> from astro_sr_plugin.models.srcnn import SRCNN
    >>> torch.save(SRCNN().state_dict(), "srcnn_x2.pth")
    >>> model = asr.load_model("srcnn_x2.pth")
    >>> model.spec.architecture, model.spec.scale, model.parameters, model.spec.halo
    ('SRCNN 9-5-5', 2, 57281, 6)
    >>> model(torch.rand(1, 1, 20, 30)).shape
    torch.Size([1, 1, 40, 60])
    """

    spec: ModelSpec
    module: nn.Module
    parameters: int
    value_range: tuple[float, float] = (0.0, 1.0)
    window: int = 1
    size_multiple: int = 1
    notes: tuple[str, ...] = ()

    def __call__(self, batch: Tensor) -> Tensor:
        """Run the network on images of any size from ``spec.min_size``.

        Parameters
        ----------
        batch : Tensor of float32, shape (B, channels_in, H, W)
            Display images, black and white at ``value_range``; values beyond are not clipped.

        Returns
        -------
        Tensor of float32, shape (B, channels_out, scale H, scale W)

        Raises
        ------
        InputError
            If the batch has another number of planes, or is too small.
        """
        self._check(batch)
        with torch.inference_mode():
            return self._run(self.module, batch)

    def _check(self, batch: Tensor) -> None:
        planes, least = self.spec.channels_in, self.spec.min_size
        if batch.ndim != 4 or batch.shape[1] != planes or min(batch.shape[-2:]) < least:
            msg = (
                f"batch of shape {tuple(batch.shape)} does not suit model {self.spec.name!r}; "
                f"allowed is (images, {planes}, height, width) of at least {least} pixels"
            )
            raise InputError(msg)

    def _apply(self, module: nn.Module, batch: Tensor, origin: tuple[int, int]) -> Tensor:
        """Run the network on what has a size that it takes, and a place in the frame."""
        del origin
        result: Tensor = module(batch)
        return result

    def _run(self, module: nn.Module, batch: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Mirror the lower and the right edge up to the size that the network takes, and crop."""
        height, width = batch.shape[-2:]
        lower, right = -height % self.size_multiple, -width % self.size_multiple
        padded = F.pad(batch, (0, right, 0, lower), mode="reflect") if lower or right else batch
        result = self._apply(module, padded, origin)
        return result[..., : height * self.spec.scale, : width * self.spec.scale]

    def halo(self, conditions: Conditions | None = None) -> int:
        """Input pixels around a tile on which its output depends; the same for every image."""
        del conditions
        return self.spec.halo

    def prepare(
        self, conditions: Conditions | None = None, device: str = "cpu", dtype: str = "float32"
    ) -> RestoreTile:
        """Return the function that restores tiles; masks are not used, and it needs no PSF."""
        del conditions
        run, border = self.on(device, dtype), self.spec.halo * self.spec.scale

        def restore(observed: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
            del mask
            return without_border(run(observed, origin), border)

        return restore

    def on(
        self, device: str = "cpu", dtype: str = "float32"
    ) -> Callable[[Tensor, tuple[int, int]], Tensor]:
        """Return the function that runs the network on batches that are on a device.

        Beside the batch it takes row and column of its first pixel in the frame.
        """
        module = self.module if device == "cpu" else copy.deepcopy(self.module).to(device)

        def run(batch: Tensor, origin: tuple[int, int]) -> Tensor:
            with torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=dtype == "bfloat16"
            ):
                return self._run(module, batch, origin).float()

        return run
