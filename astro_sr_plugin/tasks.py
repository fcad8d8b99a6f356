"""What a model can be for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLORIZE", "REMOVE_ARTIFACTS", "TASKS", "Task"]


@dataclass(frozen=True)
class Task:
    """A task of a model.

    Attributes
    ----------
    name : str
        The verb of the command line.
    keeps_psf : bool
        Whether the result has the PSF of the input.
    scales : tuple of int
        Output pixels per input pixel that are offered.
    trained_scale : int
        The scale of the network that is trained for it.
    outputs : int
        Images that a network makes of one plane.
    """

    name: str
    keeps_psf: bool
    scales: tuple[int, ...] = (1,)
    trained_scale: int = 1
    outputs: int = 1


#: The tasks by name.
TASKS = {
    task.name: task
    for task in (
        Task("denoise", keeps_psf=True),
        Task("deconvolve", keeps_psf=False),
        Task("super-resolve", keeps_psf=False, scales=(2, 4), trained_scale=2),
        # The image without noise, and the same without its stars.
        Task("remove-stars", keeps_psf=True, outputs=2),
    )
}

COLORIZE = "colorize"
"""Task of the networks that make up colours; nothing is restored, and no truth simulated."""

REMOVE_ARTIFACTS = "remove-artifacts"
"""Task of what fills artefacts; everything else stays, and no truth is simulated."""
