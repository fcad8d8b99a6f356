"""One progress count for all planes of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from astro_sr_plugin.inference.runtime import Runtime

__all__ = ["over_planes"]


def over_planes(runtime: Runtime, planes: int) -> Iterator[Runtime]:
    """Yield a runtime per plane, whose tiles count on through all planes."""
    report = runtime.progress
    for number in range(planes):
        if report is None:
            yield runtime
        else:
            yield replace(runtime, progress=_shifted(report, number, planes))


def _shifted(
    report: Callable[[int, int], None], number: int, planes: int
) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        report(number * total + done, planes * total)

    return progress
