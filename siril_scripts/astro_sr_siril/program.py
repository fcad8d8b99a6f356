"""What every script does when it is started: arguments, then the work or the window."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from types import FrameType
from typing import NoReturn

import sirilpy as s

from astro_sr_siril.delivery import choose_command, deliver, place_beside
from astro_sr_siril.errors import CancelledError, ScriptError
from astro_sr_siril.job import Job
from astro_sr_siril.machine import DEVICES, machine_flags
from astro_sr_siril.series import stack_series
from astro_sr_siril.session import Session
from astro_sr_siril.verb import Choice, Number, Slider, Switch, Values, Verb

__all__ = ["parse", "run"]


def run(verb: Verb, requires: str = "1.4.0") -> None:
    """Run a script: at once in an .ssf or on the command line of Siril, else with a window.

    Parameters
    ----------
    verb : Verb
        What it does.
    requires : str
        The oldest version of Siril that will do.
    """
    try:
        siril = s.SirilInterface()
        siril.connect()
    except s.SirilConnectionError as error:
        print(f"AstroSR: {error}; run this script from Siril", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    session = Session(siril)
    # Siril stops a script by SIGTERM; the command is to end then too, and its files to go.
    signal.signal(signal.SIGTERM, _leave)
    try:
        siril.cmd("requires", requires)
        if session.with_window and verb.result != "stack":
            s.ensure_installed("PyQt6")
            from astro_sr_siril.window import show

            show(session, verb)
        else:
            _work(session, verb, sys.argv[1:])
    except ScriptError as problem:
        session.fail(str(problem))
        sys.exit(1)
    except CancelledError:
        session.fail("stopped before it was done")
        sys.exit(1)
    except s.SirilError as error:
        session.fail(f"Siril: {error}")
        sys.exit(1)
    finally:
        with contextlib.suppress(s.SirilError):
            siril.reset_progress()


def parse(verb: Verb, arguments: list[str]) -> tuple[Values, argparse.Namespace]:
    """Read the arguments of a script.

    Parameters
    ----------
    verb : Verb
        What the script does.
    arguments : list of str
        With one dash, as is the custom of scripts for Siril.

    Returns
    -------
    values : dict
        Values of the options of the verb.
    namespace : argparse.Namespace
        The arguments that all scripts have.

    Raises
    ------
    ScriptError
        For anything that is not allowed.
    """
    parser = _Parser(prog=verb.title, description=verb.about, allow_abbrev=False)
    for option in verb.options:
        flag = f"-{option.name}"
        if isinstance(option, Switch):
            parser.add_argument(flag, dest=option.key, action="store_true", help=option.help)
        elif isinstance(option, (Slider, Number)):
            parser.add_argument(
                flag, dest=option.key, type=float, default=option.default, help=option.help
            )
        else:
            words = ", ".join(option.choices) if isinstance(option, Choice) else None
            parser.add_argument(
                flag, dest=option.key, default=option.default, help=option.help, metavar=words
            )
    if not verb.whole:
        parser.add_argument("-whole", action="store_true", help="take no notice of the selection")
    if verb.network:
        parser.add_argument("-model", metavar="NAME|FILE", help="another model")
        parser.add_argument("-device", choices=DEVICES, help="where to run")
    parser.set_defaults(whole=False, model=None, device=None, output=None, overwrite=False)
    if verb.beside:
        parser.add_argument("-output", metavar="FILE", help="the file instead of the one beside")
        parser.add_argument("-overwrite", action="store_true", help="replace it if it exists")
    parser.add_argument("-command", metavar="PATH", help="the astro-sr command, remembered")
    found = parser.parse_args(arguments)
    values = {option.key: getattr(found, option.key) for option in verb.options}
    verb.check(values)
    return values, found


def _work(session: Session, verb: Verb, arguments: list[str]) -> None:
    values, found = parse(verb, arguments)
    if verb.result == "stack":
        command = choose_command(session, found.command)
        stack_series(session, verb, values, command, found.output, found.overwrite)
        return
    frame = session.read()
    beside = place_beside(session, verb, frame, found.output, found.overwrite)
    command = choose_command(session, found.command)
    region = None if verb.whole or found.whole else frame.selection
    job = Job(verb, values, command, machine_flags(verb, found.model, found.device))
    outcome = job.run(frame, region, progress=session.progress, warn=session.warn)
    deliver(session, verb, frame, outcome, beside)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence for the log."""

    def error(self, message: str) -> NoReturn:
        raise ScriptError(message)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise CancelledError
