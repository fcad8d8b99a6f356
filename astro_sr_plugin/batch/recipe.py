"""Recipes: steps that are done one after the other on every image."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.batch.journal import hash_file
from astro_sr_plugin.batch.verbs import VERBS, Verb, find_verb
from astro_sr_plugin.data.earlier_work import Work, check_order
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.registry import default_model, load_model
from astro_sr_plugin.restoration.strengths import check_strength

__all__ = ["Recipe", "Step", "make_recipe"]

_STRENGTHS = ("strength", "stars", "extended")
_FILES = ("model", "psf")


@dataclass(frozen=True)
class Step:
    """One verb with its options.

    Attributes
    ----------
    verb : str
        As on the command line: ``denoise``, ``deconvolve``, ``super-resolve``, ``remove-stars``,
        ``stretch`` or ``unstretch``.
    options : mapping
        Keywords of the function of that name, such as ``{"strength": 0.8}``.

    Raises
    ------
    InputError
        The verb or an option is unknown, or a value is out of range.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> step = asr.Step("denoise", {"strength": 0.8})
    >>> step.ending
    'denoised'
    """

    verb: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verb", find_verb(self.verb))
        options = {str(key).replace("-", "_"): value for key, value in self.options.items()}
        object.__setattr__(self, "options", {key: _whole(key, options[key]) for key in options})
        allowed = self._verb.options()
        for key, value in self.options.items():
            if key not in allowed and not self._verb.open_ended:
                choice = f"allowed are {', '.join(allowed)}" if allowed else "it takes none"
                msg = f"step {self.verb!r} has no option {key!r}; {choice}"
                raise InputError(msg)
            if key in _STRENGTHS:
                _check_number(f"{self.verb} {key}", value)
                check_strength(f"{self.verb} {key}", value)
        self._model_name()

    @property
    def _verb(self) -> Verb:
        return VERBS[self.verb]

    @property
    def ending(self) -> str:
        """What the name of a result ends in, ``x2`` for instance."""
        return self._verb.ending.format(**self._all_options())

    def apply(
        self,
        image: CCDData | NDArray,
        *,
        runtime: Runtime | None = None,
        out: str | os.PathLike[str] | None = None,
    ) -> CCDData | NDArray:
        """Do this step on an image.

        Parameters
        ----------
        image : CCDData, NDData or ndarray
            Not changed.
        runtime : Runtime, optional
            Device, tiles, progress.
        out : str or Path, optional
            FITS file to write the result into; streamed, where the verb can.

        Returns
        -------
        CCDData or ndarray
            The result.
        """
        options = dict(self.options)
        if self._verb.takes("runtime"):
            options["runtime"] = runtime
        streamed = out is not None and self._verb.takes("out")
        if streamed:
            options["out"] = out
        result = self._verb.function(image, **options)
        # Of the two images that star removal makes, the one without stars goes on.
        result = result[0] if isinstance(result, tuple) else result
        if out is not None and not streamed:
            write_image(result, out)
        return result

    def identity(self) -> list[Any]:
        """Return all that the result depends on beside the image, as JSON can hold it."""
        options = self._all_options()
        for key in _FILES:
            if isinstance(options.get(key), str) and Path(options[key]).is_file():
                options[key] = hash_file(options[key])
        if "model" in options:
            options["model"] = self._model_name()
        return [self.verb, options]

    def work(self) -> Work:
        """Return what the step does, for the check of the order."""
        options = self._all_options()
        if options.get("model") == "bicubic":
            return Work("interpolate")
        return Work(self.verb, float(options.get("strength", 1.0)))

    def _all_options(self) -> dict[str, Any]:
        return {**self._verb.options(), **self.options}

    def _model_name(self) -> str | None:
        """Names and weights of the models; raises if one does not exist or does not fit."""
        options = self._all_options()
        if "model" not in options:
            return None
        scale = options.get("scale", 1)
        try:
            name = options["model"] or default_model(self.verb, scale)
        except KeyError:
            msg = f"step {self.verb!r} has scale={scale!r}, for which there is no model"
            raise InputError(msg) from None
        specs = [load_model(name, task=self.verb, scale=scale).spec]
        if options["model"] is None and "colour" in specs[0].variants:
            specs.append(load_model(specs[0].variants["colour"]).spec)
        return " ".join(f"{spec.name} {spec.sha256}".strip() for spec in specs)


@dataclass(frozen=True)
class Recipe:
    """Steps that are done one after the other; results stay in memory between them.

    Attributes
    ----------
    steps : tuple of Step
        At least one. Mappings like ``{"verb": "denoise", "strength": 0.8}`` become steps.

    Raises
    ------
    InputError
        There is no step, one of them is not right, or their order harms the images.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> recipe = asr.Recipe(({"verb": "remove-stars"}, {"verb": "denoise", "strength": 0.8}))
    >>> [step.verb for step in recipe.steps]
    ['remove-stars', 'denoise']
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        steps = tuple(step if isinstance(step, Step) else _step(step) for step in self.steps)
        object.__setattr__(self, "steps", steps)
        if not steps:
            msg = "the recipe has no steps; give at least one, such as 'denoise'"
            raise InputError(msg)
        check_order(
            [step.work() for step in steps], [bool(step.options.get("force")) for step in steps]
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file of ``[[step]]`` tables.

        Parameters
        ----------
        path : str or Path
            The file. Paths of models and star profiles in it are taken from its own folder.

        Returns
        -------
        Recipe

        Raises
        ------
        InputError
            The file cannot be read, or is not a recipe.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"recipe {str(path)!r} cannot be read: {(error.strerror or str(error)).lower()}"
            raise InputError(msg) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"recipe {str(path)!r} is not TOML: {error}"
            raise InputError(msg) from error
        steps = tables.pop("step", [])
        if tables or not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
            stranger = f"it holds {next(iter(tables))!r}" if tables else "'step' is no list"
            msg = f"recipe {str(path)!r} may hold [[step]] tables only: {stranger}"
            raise InputError(msg)
        for step in steps:
            for key in _FILES:
                value = step.get(key)
                if isinstance(value, str) and (path.parent / value).is_file():
                    step[key] = str(path.parent / value)
        return cls(tuple(_step(step) for step in steps))

    @property
    def ending(self) -> str:
        """What the names of results end in, ``denoised_sharp`` for instance."""
        return "_".join(step.ending for step in self.steps)

    def apply(
        self,
        image: CCDData | NDArray | str | os.PathLike[str],
        *,
        hdu: int | str | None = None,
        runtime: Runtime | None = None,
    ) -> CCDData | NDArray:
        """Do all steps on one image.

        Parameters
        ----------
        image : CCDData, NDData, ndarray, str or Path
            Not changed.
        hdu : int or str, optional
            Which image of a file.
        runtime : Runtime, optional
            Device, tiles, progress.

        Returns
        -------
        CCDData or ndarray
            The result of the last step.
        """
        result = read_image(image, hdu=hdu) if isinstance(image, str | os.PathLike) else image
        for step in self.steps:
            result = step.apply(result, runtime=runtime)
        return result

    def to_list(self) -> list[dict[str, Any]]:
        """Return the steps as tables, for JSON."""
        return [{"verb": step.verb, **step.options} for step in self.steps]

    def identity(self) -> str:
        """Return a hash of the steps, all their options and the weights of their models."""
        text = json.dumps([step.identity() for step in self.steps], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def make_recipe(
    recipe: Recipe | str | os.PathLike[str] | Iterable[Step | Mapping[str, Any]],
) -> Recipe:
    """Make a recipe of a TOML file or of steps."""
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, str | os.PathLike):
        return Recipe.read(recipe)
    return Recipe(tuple(recipe))  # type: ignore[arg-type]


def _step(table: Mapping[str, Any] | str) -> Step:
    options = {"verb": table} if isinstance(table, str) else dict(table)
    if "verb" not in options:
        msg = f"a step has no verb but {options}; allowed are {', '.join(VERBS)}"
        raise InputError(msg)
    return Step(options.pop("verb"), options)


def _whole(key: str, value: Any) -> Any:
    """Return a path in full, for a worker may stand elsewhere; lists as tuples."""
    if key in _FILES and isinstance(value, str | os.PathLike) and Path(value).is_file():
        return str(Path(value).absolute())
    return tuple(value) if isinstance(value, list) else value


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name}={value!r} is not a number"
        raise InputError(msg)
