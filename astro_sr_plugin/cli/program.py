"""The parser of ``astro-sr``, its exit codes and its behaviour when interrupted."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

import astro_sr_plugin
from astro_sr_plugin.cli import (
    artifacts,
    audit,
    auto,
    batch,
    collect,
    colorize,
    compare,
    completion,
    demo,
    doctor,
    enhance,
    measure,
    models,
    pictures,
    planetary,
    psf,
    register,
    sharpen,
    siril,
    stack,
    stretching,
    training,
)
from astro_sr_plugin.cli.console import Console, debugging, open_missing_streams
from astro_sr_plugin.cli.options import add_reporting_options
from astro_sr_plugin.exceptions import AstroSRError

__all__ = ["Parser", "build_parser", "main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
"""Exit codes: 128 and the number of the signal for the last two, as shells have it."""

_EXAMPLES = """\
examples:
  astro-sr auto stack.fits
  astro-sr measure stack.fits
  astro-sr denoise stack.fits -o clean.fits
  astro-sr deconvolve stack.fits -o sharp.fits --stars 0.8 --extended 1.0
  astro-sr super-resolve stack.fits -o big.fits --scale 2
  astro-sr audit stack.fits sharp.fits
  astro-sr stack lights/ -o stack.fits --library calibration/
  astro-sr batch stacks/ -o sharp/ --deconvolve
  astro-sr demo

exit codes:
  0 done    1 the work failed    2 wrong usage or unusable input    130 interrupted

Set ASTRO_SR_DEBUG=1 to see the traceback of an error, and the log."""


class WrongUsage(SystemExit):
    """Arguments cannot be understood; leaves the program with code 2."""

    def __init__(self, text: str) -> None:
        super().__init__(EXIT_USAGE)
        self.text = text


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2, and a sentence that `main` prints."""
        text = f"{message} (see '{self.prog} --help')"
        raise WrongUsage(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all its commands."""
    parser = Parser(
        prog="astro-sr",
        description="Denoise, sharpen and upscale astronomical images, linear in and linear out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"astro-sr {astro_sr_plugin.__version__}"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="commands")
    groups = (
        auto,
        enhance,
        colorize,
        pictures,
        artifacts,
        register,
        stack,
        planetary,
        sharpen,
        batch,
        measure,
        psf,
        stretching,
        compare,
        audit,
        models,
        training,
        collect,
        demo,
    )
    for group in (*groups, doctor, siril, completion):
        group.add_commands(verbs)
    verbs.choices["completion"].set_defaults(parser=parser)
    for command in verbs.choices.values():
        if command.get_default("run") is not None:
            add_reporting_options(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 2 unusable input, 130 interrupted, 143 terminated. Wrong
        usage leaves through `SystemExit` with code 2, as argparse does.
    """
    open_missing_streams()
    if argv is None:
        sys.excepthook = _report_unexpected
    try:
        args = build_parser().parse_args(argv)
    except WrongUsage as usage:
        words = sys.argv[1:] if argv is None else argv
        Console(json_output="--json" in words).error(usage.text, EXIT_USAGE)
        raise
    console = Console(
        json_output=getattr(args, "json", False),
        quiet=getattr(args, "quiet", False),
        progress=getattr(args, "progress", "auto"),
        options=vars(args).keys(),
        must_be_read=getattr(args, "output", None) is None,
    )
    previous = _catch_termination()
    try:
        with console.listening():
            code = args.run(args, console) or 0
        console.finish(code)
    except AstroSRError as error:
        return _fail(console, str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read the result has gone.
        return EXIT_FAILED
    except MemoryError:
        return _fail(console, "there is not enough memory; try a smaller --tile-size", EXIT_FAILED)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
        return _fail(console, _describe(error), EXIT_USAGE if full else EXIT_FAILED)
    except KeyboardInterrupt:
        return _stop(console, "interrupted", EXIT_INTERRUPTED)
    except Terminated:
        return _stop(console, "terminated", EXIT_TERMINATED)
    except Exception as error:
        console.close()
        console.fail(_describe_unexpected(error), EXIT_FAILED)
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
    return int(code)


class Terminated(BaseException):
    """The process was asked to end; raised so that half-written files are taken away."""


def _catch_termination() -> signal._HANDLER:
    if threading.current_thread() is not threading.main_thread():
        return None

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    return signal.signal(signal.SIGTERM, terminate)


def _fail(console: Console, message: str, exit_code: int) -> int:
    if debugging():
        raise
    console.error(message, exit_code)
    return exit_code


def _stop(console: Console, word: str, exit_code: int) -> int:
    console.close()
    print(f"astro-sr: {word}", file=sys.stderr)
    console.fail(word, exit_code)
    return exit_code


def _describe(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _report_unexpected(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if debugging():
        sys.__excepthook__(kind, error, traceback)
        return
    if issubclass(kind, KeyboardInterrupt):
        print("astro-sr: interrupted", file=sys.stderr)
        return
    print(f"astro-sr: error: {_describe_unexpected(error)}", file=sys.stderr)


def _describe_unexpected(error: BaseException) -> str:
    message = " ".join(str(error).split())
    return (
        f"unexpected {type(error).__name__}: {message} "
        "(set ASTRO_SR_DEBUG=1 to see where, and please report it)"
    )
