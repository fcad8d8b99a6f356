"""The ``completion`` command: completion of commands and options by the shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from astro_sr_plugin.cli.options import Commands, add_command

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
# Places for files and folders; other arguments have choices or are numbers.
_FILES = ("INPUT", "OUTPUT", "BEFORE", "AFTER", "FILE", "STARS", "PATH")


def add_commands(commands: Commands) -> None:
    """Add completion."""
    parser = add_command(
        commands,
        "completion",
        _completion,
        usage="completion SHELL",
        summary="Print a script that lets the shell complete commands and options.",
        details="Put it where the shell looks for completions, and open a new shell.",
        examples="  bash: astro-sr completion bash > "
        "~/.local/share/bash-completion/completions/astro-sr\n"
        "  zsh:  astro-sr completion zsh > ~/.zfunc/_astro-sr   (with fpath+=~/.zfunc)\n"
        "  fish: astro-sr completion fish > ~/.config/fish/completions/astro-sr.fish\n"
        "  tcsh: astro-sr completion tcsh > ~/.astro-sr.tcsh   (source it in ~/.tcshrc)",
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=", ".join(_SHELLS))


def _completion(args: argparse.Namespace, console: Console) -> None:
    import shtab

    for action in _actions(args.parser):
        if action.choices is None and _names_a_file(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(args.parser, shell=args.shell)
    console.record(shell=args.shell, script=script)
    console.say(script)


def _names_a_file(action: argparse.Action) -> bool:
    words = str(action.metavar or action.dest.upper())
    return any(word in words for word in _FILES)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
