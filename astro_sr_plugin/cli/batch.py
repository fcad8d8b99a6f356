"""The ``batch`` command: one recipe over many images."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.batch.verbs import VERBS
from astro_sr_plugin.cli.figures import FIGURES
from astro_sr_plugin.cli.options import (
    DTYPES,
    Commands,
    add_command,
    hdu_argument,
    psf_argument,
)
from astro_sr_plugin.cli.wording import in_options
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astro_sr_plugin.batch.work import FrameResult
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

EXIT_SOME_FAILED = 1
"""Exit code of a batch in which an image failed."""
_ORDER = "(inputs stand before the steps)"

_DETAILS = """\
INPUT is a folder, a list (a text file with one path per line, or - for standard input), a
pattern in quotes, or an image file. The recipe is a TOML file of [[step]] tables, or flags; the
flags are done in their order. An image is sharpened once, as it was recorded: deconvolve and
super-resolve take the noise away themselves, and a recipe that denoises before them is refused.

A run that was interrupted goes on where it was: what is finished is skipped, found by the content
of the input, the recipe, the weights of the models and the bytes of the result, not by names.
An image that cannot be done does not stop the others; the exit code is then 1."""

_EXAMPLES = """\
  astro-sr batch stacks/ -o sharp/ --deconvolve
  astro-sr batch 'night?/*.fits' -o sharp/ --step deconvolve stars=0.7 extended=1 --jobs 4
  astro-sr batch frames.txt -o results/ --recipe recipe.toml --json > results.json
  astro-sr batch stacks/ -o clean/ --denoise 0.8 --scheduler tcp://192.168.1.10:8786
  find . -name '*.xisf' | astro-sr batch - -o clean/ --denoise --dry-run

a recipe file:
  [[step]]
  verb = "remove-stars"

  [[step]]
  verb = "denoise"
  strength = 0.8"""


def add_commands(commands: Commands) -> None:
    """Add batch."""
    parser = add_command(
        commands,
        "batch",
        _batch,
        usage="batch INPUT... -o FOLDER (--recipe FILE | STEPS)",
        summary="Do the same steps on many images, and go on where an earlier run ended.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="folder, list, pattern or image; - for stdin"
    )
    _add_files(parser)
    _add_steps(parser)
    _add_work(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where the results go; made if it does not exist",
    )
    group.add_argument("--hdu", type=hdu_argument, metavar="N|NAME", help="FITS extension to read")
    group.add_argument(
        "--ending", metavar="TEXT", help="what names of results end in (default: what was done)"
    )
    group.add_argument(
        "--format",
        metavar="SUFFIX",
        help="format of the results, such as .fits or .xisf (default: that of each input)",
    )
    group.add_argument("--dtype", choices=DTYPES, help="number format (default: float32)")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files that are not finished results of this batch",
    )


def _add_steps(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("steps, after the inputs and in the order of the work")
    group.add_argument("--recipe", type=Path, metavar="FILE", help="TOML file with all the steps")
    parser.set_defaults(steps=None)
    for name, verb in VERBS.items():
        option = {"nargs": "?", "metavar": verb.main.upper()} if verb.main else {"nargs": 0}
        text = f"{name} (see 'astro-sr {name} --help')"
        group.add_argument(f"--{name}", action=_AddVerb, dest="steps", help=text, **option)
    group.add_argument(
        "--step",
        action=_AddStep,
        dest="steps",
        nargs="+",
        metavar=("VERB", "NAME=VALUE"),
        help="any verb with any of its options, as in --step deconvolve stars=0.7 target-fwhm=2",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="images at a time; the processor's threads are divided among them (default: 1)",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS|local",
        help="work on Dask: the address of a scheduler whose workers see the same files, or "
        "'local' for --jobs workers here; needs pip install 'astro_sr_plugin[dask]'",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="only print what would be done, and what is finished"
    )
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to run")
    group.add_argument(
        "--tile-size", type=int, metavar="PX", help="edge of a tile (default: by memory)"
    )


class _AddVerb(argparse.Action):
    """Append a step that is a flag of its own, such as ``--denoise 0.8``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        verb = str(option_string).removeprefix("--")
        main = VERBS[verb].main
        if main is None or not isinstance(values, str):
            _append(namespace, {"verb": verb})
            return
        value = _value(values)
        if main not in ("name", "method") and not isinstance(value, int | float):
            parser.error(f"{option_string} {values}: {main} is not a number {_ORDER}")
        _append(namespace, {"verb": verb, main: value})


class _AddStep(argparse.Action):
    """Append a step given as ``--step VERB NAME=VALUE...``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        verb, *words = list(values or ())
        options = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                parser.error(f"--step {verb}: {word!r} is not NAME=VALUE {_ORDER}")
            try:
                options[name] = psf_argument(text) if name == "psf" else _value(text)
            except argparse.ArgumentTypeError as error:
                parser.error(f"--step {verb}: psf {error}")
        _append(namespace, {"verb": verb, **options})


def _append(namespace: argparse.Namespace, step: dict[str, Any]) -> None:
    namespace.steps = [*(namespace.steps or []), step]


def _value(text: str) -> Any:
    """Return what TOML would read, else the text: 0.8, true, [3.4, 2.8], wiener."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _batch(args: argparse.Namespace, console: Console) -> int:
    if (args.recipe is None) == (args.steps is None):
        msg = "give either --recipe FILE or steps such as --deconvolve"
        raise InputError(msg)
    from astro_sr_plugin.batch.run import run_batch

    show, tiles = console.progress("images"), None
    if isinstance(show, asr.ProgressBar) and args.jobs == 1 and args.scheduler is None:
        # Lines report images; the bar can show how far the present one is.
        show, tiles = None, console.progress("tiles")

    def notify(result: FrameResult, done: int, total: int) -> None:
        if result.status in ("done", "failed"):
            console.close()
            console.say(f"[{done}/{total}] {console.translate(_sentence(result))}")
        if show is not None:
            show(done, total)

    summary = run_batch(
        args.inputs,
        args.output,
        args.recipe or args.steps,
        hdu=args.hdu,
        ending=args.ending,
        suffix=args.format,
        dtype=args.dtype,
        overwrite=args.overwrite,
        jobs=args.jobs,
        scheduler=args.scheduler,
        runtime=asr.Runtime(
            device=args.device, tile_size=args.tile_size, progress=tiles, reuse_memory=True
        ),
        notify=notify,
        dry_run=args.dry_run,
    )
    record = summary.to_dict()
    for result in record["results"]:
        if "error" in result:
            result["error"] = console.translate(result["error"])
        if "steps" in result:
            result["steps"] = [
                {FIGURES[key]: value for key, value in step.items() if key in FIGURES}
                for step in result["steps"]
            ]
    console.record(**record)
    lines = summary.to_text().splitlines()
    console.say("\n".join(["", *(in_options(line, vars(args)) for line in lines)]))
    if not summary.failed:
        return 0
    first = summary.failed[0]
    count = f"{len(summary.failed)} of {len(summary.frames)} images failed"
    reason = console.translate(first.message)
    print(f"astro-sr: error: {count}; {first.input.name}: {reason}", file=sys.stderr)
    return EXIT_SOME_FAILED


def _sentence(result: FrameResult) -> str:
    if result.status == "failed":
        return f"{result.input.name}: failed: {result.message}"
    return f"{result.output}, {result.seconds:.1f} s"
