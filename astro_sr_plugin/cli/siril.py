"""The commands siril install and siril uninstall: the scripts where Siril finds them."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin
from astro_sr_plugin.cli.options import Commands, add_command, add_reporting_options
from astro_sr_plugin.exceptions import InputError, OutputError

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands", "default_folder"]

_SHARED = "astro_sr_siril"
_NOTE = "command.txt"


def add_commands(commands: Commands) -> None:
    """Add siril install and siril uninstall."""
    parser = commands.add_parser(
        "siril",
        usage="astro-sr siril {install,uninstall} [options]",
        help="Put the scripts for Siril where it finds them, or take them away.",
        description="Put the scripts for Siril where it finds them, or take them away.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, run, usage, summary in (
        ("install", _install, "siril install", "Put the scripts into Siril's menu."),
        ("uninstall", _uninstall, "siril uninstall", "Take the scripts away from Siril's menu."),
    ):
        action = add_command(
            actions,
            name,
            run,
            usage=usage,
            summary=summary,
            details="Siril shows them under Scripts > Python Scripts when it is started again.",
            examples=f"  astro-sr {usage}\n  astro-sr {usage} --folder ~/my-scripts",
        )
        action.add_argument(
            "--folder",
            type=Path,
            metavar="FOLDER",
            help="a folder that Siril looks for scripts in (default: its own in your home)",
        )
        add_reporting_options(action)


def _scripts_folder(name: str) -> Path:
    """Return where the files of another program lie, in the package or in the source tree.

    Parameters
    ----------
    name : {'siril_scripts', 'pixinsight_scripts'}
        Name of the folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If it is not there.
    """
    package = Path(astro_sr_plugin.__file__).parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    msg = f"the folder {name!r} is missing from this installation of astro_sr_plugin"
    raise InputError(msg)


def default_folder() -> Path:
    """Return the folder of scripts that Siril looks into by itself."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"), "siril/scripts")
    used = Path.home() / "siril" / "scripts"
    return used if used.is_dir() else Path.home() / ".siril" / "scripts"


def _install(args: argparse.Namespace, console: Console) -> None:
    source = _scripts_folder("siril_scripts")
    target: Path = args.folder or default_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
        _remove(target)
        for script in _scripts(source):
            shutil.copy(script, target)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / _SHARED, target / _SHARED, ignore=ignore)
        (target / _SHARED / _NOTE).write_text(_own_command(), encoding="utf-8")
    except OSError as error:
        msg = f"the scripts could not be put into {str(target)!r}: {error.strerror or error}"
        raise OutputError(msg) from error
    names = [script.name for script in _scripts(source)]
    console.record(folder=target, scripts=names, command=_own_command())
    console.say(f"{target}: {len(names)} scripts, which run {_own_command()}")


def _uninstall(args: argparse.Namespace, console: Console) -> None:
    target: Path = args.folder or default_folder()
    try:
        removed = _remove(target)
    except OSError as error:
        msg = f"the scripts in {str(target)!r} could not be removed: {error.strerror or error}"
        raise OutputError(msg) from error
    console.record(folder=target, removed=removed)
    console.say(f"{target}: {len(removed)} scripts removed")


def _remove(target: Path) -> list[str]:
    """Remove the scripts, those of an older version too, and nothing else."""
    scripts = _scripts(target)
    for script in scripts:
        script.unlink()
    if (target / _SHARED).is_dir():
        shutil.rmtree(target / _SHARED)
    return [script.name for script in scripts]


def _scripts(folder: Path) -> list[Path]:
    return sorted(folder.glob("AstroSR_*.py"))


def _own_command() -> str:
    """Return the command that runs now, for Siril to call it again."""
    beside = Path(sys.executable).with_name("astro-sr.exe" if os.name == "nt" else "astro-sr")
    if beside.exists():
        return str(beside)
    found = shutil.which("astro-sr")
    return str(Path(found).resolve()) if found else str(Path(sys.argv[0]).resolve())
