"""The ``collect`` command: pictures for training from public archives, and patches of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from astro_sr_plugin.cli.options import Commands, add_command, add_reporting_options
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_LEAST_PAUSE = 1.0
"""Least seconds between two requests to a public archive."""


def add_commands(commands: Commands) -> None:
    """Add ``collect`` with ``esa-hubble``, ``astrobin``, ``galaxy10`` and ``patches``."""
    parser = commands.add_parser(
        "collect",
        help="Take pictures for training from public archives, with their credits.",
        description="Take pictures for training from public archives, with their credits.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="archive", metavar="ARCHIVE", required=True)
    rules = (
        "One request at a time, with pauses, as robots.txt of the server allows. A command that\n"
        "was stopped goes on where it ended. manifest.csv names object, credit, licence, source\n"
        "and SHA-256 of every picture, left_out.csv what was not taken, and why."
    )
    for name, summary in (
        ("esa-hubble", "Take pictures of the sky from ESA/Hubble; illustrations are left out."),
        ("astrobin", "Take images of the day of AstroBin whose licence allows changes."),
    ):
        archive = add_command(
            actions,
            name,
            _collect,
            usage=f"collect {name} -o FOLDER",
            summary=summary,
            details=rules,
            examples=f"  astro-sr collect {name} -o pictures --count 200\n"
            "  astro-sr train srcnn_x2.toml --pictures pictures --out runs/srcnn",
        )
        _add_folder(archive)
        archive.add_argument(
            "--least-side",
            type=int,
            default=512,
            metavar="PX",
            help="smaller pictures are left out (default: 512)",
        )
        _add_manners(archive)
    galaxies = add_command(
        actions,
        "galaxy10",
        _collect_galaxies,
        usage="collect galaxy10 -o FOLDER",
        summary="Take pictures of galaxies from Galaxy10 DECaLS, one file of 2.7 GB.",
        details="A download that was cut goes on where it ended. Needs pip install\n"
        "'astro_sr_plugin[hdf5]'.",
        examples="  astro-sr collect galaxy10 -o galaxies --count 500\n"
        "  astro-sr collect galaxy10 -o galaxies --file Galaxy10_DECals.h5",
    )
    _add_folder(galaxies)
    galaxies.add_argument(
        "--file", type=Path, metavar="FILE.h5", help="the file, if it is there already"
    )
    galaxies.add_argument("--sha256", metavar="SUM", help="checksum of the file behind --url")
    _add_manners(galaxies)
    patches = add_command(
        actions,
        "patches",
        _make_patches,
        usage="collect patches PICTURES -o FOLDER",
        summary="Cut pictures into patches, with the smaller ones that a network enlarges.",
        details="Objects, not patches, are split between training and validation.",
        examples="  astro-sr collect patches pictures -o pairs --size 256 --scale 2",
    )
    patches.add_argument(
        "pictures", metavar="PICTURES", type=Path, help="folder of pictures with manifest.csv"
    )
    patches.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="made if missing"
    )
    for option, default, meaning in (
        ("--size", 256, "side of a patch in pixels"),
        ("--scale", 2, "how many times smaller the input is"),
        ("--seed", 1, "of the places of the crops"),
    ):
        patches.add_argument(
            option, type=int, default=default, help=f"{meaning} (default: {default})"
        )
    patches.add_argument(
        "--validation",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="share of the objects for validation (default: 0.3)",
    )
    patches.add_argument(
        "--whole", action="store_true", help="reduce each picture to one patch instead of cropping"
    )
    add_reporting_options(patches)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="made if missing"
    )
    parser.add_argument(
        "--count", type=int, default=100, help="pictures in the folder in the end (default: 100)"
    )


def _add_manners(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pause",
        type=float,
        default=_LEAST_PAUSE,
        metavar="SECONDS",
        help="between two requests; at least 1, but for a mirror of your own (default: 1)",
    )
    parser.add_argument("--url", help="address of a mirror of your own")
    add_reporting_options(parser)


def _check(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be meant.

    Raises
    ------
    InputError
        Names the option.
    """
    if args.count < 1:
        msg = f"--count {args.count} must be at least 1"
        raise InputError(msg)
    least = 0.0 if args.url else _LEAST_PAUSE
    if not args.pause >= least:
        msg = f"--pause {args.pause} must be at least {least:g} s"
        raise InputError(msg)


def _collect(args: argparse.Namespace, console: Console) -> None:
    _check(args)
    from astro_sr_plugin.training.collect.collect import collect_pictures

    outcome = collect_pictures(
        args.archive,
        args.output,
        count=args.count,
        least_side=args.least_side,
        pause=args.pause,
        address=args.url,
        progress=console.progress("pictures"),
    )
    console.record(output=args.output, **vars(outcome))
    console.say(
        f"{args.output}: {outcome.taken} pictures, {outcome.new} of them new; "
        f"{outcome.left_out} left out"
    )


def _collect_galaxies(args: argparse.Namespace, console: Console) -> None:
    _check(args)
    from astro_sr_plugin.training.collect.galaxies import (
        GALAXY10,
        GALAXY10_SHA256,
        collect_galaxies,
    )

    outcome = collect_galaxies(
        args.output,
        count=args.count,
        file=args.file,
        address=args.url or GALAXY10,
        sha256=args.sha256 or GALAXY10_SHA256,
        pause=args.pause,
        progress=console.progress("pictures"),
    )
    console.record(output=args.output, **vars(outcome))
    console.say(f"{args.output}: {outcome.taken} pictures, {outcome.new} of them new")


def _make_patches(args: argparse.Namespace, console: Console) -> None:
    from astro_sr_plugin.training.collect.patches import make_patches

    counts = make_patches(
        args.pictures,
        args.output,
        size=args.size,
        scale=args.scale,
        validation=args.validation,
        whole=args.whole,
        seed=args.seed,
        progress=console.progress("pictures"),
    )
    console.record(output=args.output, **counts)
    console.say(
        f"{args.output}: {counts['training']} patches for training, {counts['validation']} for "
        f"validation; {counts['too_small']} pictures are too small"
    )
