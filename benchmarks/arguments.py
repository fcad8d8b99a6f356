"""Options that several runs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

__all__ = ["add_options", "numbers", "one_of", "shape"]


def one_of(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a type for comma-separated words that are all known."""
    allowed = tuple(known)

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(word for word in text.split(",") if word)
        if unknown := [word for word in words if word not in allowed]:
            msg = f"{', '.join(unknown)} is not one of {', '.join(allowed)}"
            raise argparse.ArgumentTypeError(msg)
        return words

    return parse


def numbers(text: str) -> tuple[int, ...]:
    """Parse comma-separated whole numbers."""
    return tuple(int(word) for word in text.split(",") if word)


def shape(text: str) -> tuple[int, int]:
    """Parse the sides "ny,nx" of a frame."""
    ny, nx = numbers(text)
    return ny, nx


def add_options(parser: argparse.ArgumentParser, *names: str, size: int = 512) -> None:
    """Add options by name: "tasks", "kinds", "seeds", "seed" and "size".

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of a run.
    *names : str
        What to add.
    size : int
        Default of ``--size``.
    """
    from benchmarks.truth.kinds import KINDS
    from benchmarks.truth.scene import TASKS

    def chosen(name: str, known: tuple[str, ...]) -> None:
        text = f"comma-separated, of {', '.join(known)} (default: all)"
        parser.add_argument(f"--{name}", type=one_of(known), default=known, help=text)

    for name in names:
        if name == "tasks":
            chosen(name, TASKS)
        elif name == "kinds":
            chosen(name, KINDS)
        elif name == "seeds":
            parser.add_argument("--seeds", type=numbers, default=(1,), help="comma-separated")
        elif name == "seed":
            parser.add_argument("--seed", type=int, default=1, help="seed of the scenes")
        else:
            text = "side of the frames (pixels)"
            parser.add_argument(f"--{name}", type=int, default=size, help=text)
