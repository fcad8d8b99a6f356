"""The verbs that a step of a recipe can be: those that make an image of an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from astro_sr_plugin.exceptions import InputError

__all__ = ["VERBS", "Verb", "find_verb"]

# What the run decides, not the recipe.
_NOT_FOR_RECIPES = {
    "image",
    "mask",
    "device",
    "runtime",
    "out",
    "stars_out",
    "overwrite",
    "hdu",
}


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes
    ----------
    module, name : str
        The function, and the module of the package where it is. It is loaded on first use, so that
        asking for help does not load torch.
    ending : str
        What the name of a result ends in; may hold ``{option}``.
    main : str or None
        The option that its flag of ``astro-sr batch`` takes, as in ``--denoise 0.8``.
    """

    module: str
    name: str
    ending: str
    main: str | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        found: Callable[..., Any] = getattr(
            import_module(f"astro_sr_plugin.{self.module}"), self.name
        )
        return found

    def takes(self, option: str) -> bool:
        """Whether the function has a parameter of this name."""
        return option in inspect.signature(self.function).parameters

    def options(self) -> dict[str, Any]:
        """Options that a recipe may give, with their usual values."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.name not in _NOT_FOR_RECIPES and parameter.kind != parameter.VAR_KEYWORD
        }

    @property
    def open_ended(self) -> bool:
        """Whether it takes further options, which it checks itself."""
        parameters = inspect.signature(self.function).parameters.values()
        return any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)


VERBS: Mapping[str, Verb] = {
    "debayer": Verb("data.debayer", "debayer", "debayered", "method"),
    "denoise": Verb("enhancement.denoise", "denoise", "denoised", "strength"),
    "deconvolve": Verb("enhancement.deconvolve", "deconvolve", "sharp"),
    "super-resolve": Verb("enhancement.super_resolve", "super_resolve", "x{scale}", "scale"),
    "remove-stars": Verb("enhancement.remove_stars", "remove_stars", "starless"),
    "colorize": Verb("enhancement.colorize", "colorize", "colours", "model"),
    "remove-artifacts": Verb("enhancement.remove_artifacts", "remove_artifacts", "clean"),
    "stretch": Verb("stretch", "apply_stretch", "stretched", "name"),
    "unstretch": Verb("stretch", "undo_stretch", "linear"),
}


def find_verb(name: str) -> str:
    """Return a verb as the command line writes it, ``super-resolve`` for ``super_resolve``.

    Raises
    ------
    InputError
        There is no such verb for recipes.
    """
    found = str(name).replace("_", "-")
    if found not in VERBS:
        msg = f"verb {name!r} cannot be a step of a recipe; allowed are {', '.join(VERBS)}"
        raise InputError(msg)
    return found
