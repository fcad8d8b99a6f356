"""The log of a training run: a table of comma-separated values, and a picture of the loss."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["LOG", "PLOT", "RunLog", "draw_losses", "read_log"]

LOG = "log.csv"
"""Name of the table in the folder of a run."""
PLOT = "loss.svg"
"""Name of the picture of the loss."""
_COLUMNS = ("step", "loss", "learning_rate", "patches_per_second", "seconds_left")
_WIDTH, _HEIGHT, _MARGIN = 640, 360, 56
"""Size of the picture and of the space for its labels, in pixels."""


class RunLog:
    """Gathers the losses of a run, and writes their means.

    Parameters
    ----------
    folder : Path
        An existing folder; the table of an earlier part of the run is continued.
    steps : int
        Steps that the whole run has, from which the time left follows.
    listener : callable, optional
        Receives each line as a dict.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        listener: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self._path, self._plot = folder / LOG, folder / PLOT
        self._steps, self._listener = steps, listener
        self._losses: list[float] = []
        self._patches, self._since = 0, time.monotonic()

    def add(self, loss: float, patches: int) -> None:
        """Take the loss of one step, which saw so many patches."""
        self._losses.append(loss)
        self._patches += patches

    def write(self, step: int, learning_rate: float) -> None:
        """Write one line on all steps since the last one, and draw the losses again."""
        now = time.monotonic()
        passed = max(now - self._since, 1e-9)
        per_step = passed / len(self._losses)
        entry = {
            "step": step,
            "loss": sum(self._losses) / len(self._losses),
            "learning_rate": learning_rate,
            "patches_per_second": self._patches / passed,
            "seconds_left": per_step * (self._steps - step),
        }
        begun = not self._path.exists()
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
            if begun:
                table.writeheader()
            table.writerow({key: f"{value:.9g}" for key, value in entry.items()})
        points = [(line["step"], line["loss"]) for line in read_log(self._path)]
        self._plot.write_text(draw_losses(points), encoding="utf-8")
        if self._listener is not None:
            self._listener(entry)
        self._losses, self._patches, self._since = [], 0, now


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the lines of a table that `RunLog` wrote."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def draw_losses(points: Sequence[tuple[float, float]]) -> str:
    """Draw losses over steps as SVG, with a logarithmic axis where all are above 0."""
    logarithmic = min(loss for _, loss in points) > 0
    values = [math.log10(loss) if logarithmic else loss for _, loss in points]
    low, high, last = min(values), max(values), points[-1][0]
    span = high - low or 1.0
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    line = " ".join(
        f"{_MARGIN + width * step / last:.1f},{_MARGIN + height * (high - value) / span:.1f}"
        for (step, _), value in zip(points, values, strict=True)
    )
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    labels = [
        (_MARGIN - 6, _MARGIN + 4, "end", f"{10**high if logarithmic else high:.3g}"),
        (_MARGIN - 6, bottom + 4, "end", f"{10**low if logarithmic else low:.3g}"),
        (_MARGIN, bottom + 18, "middle", "0"),
        (right, bottom + 18, "middle", f"{last:g}"),
        ((_MARGIN + right) / 2, bottom + 36, "middle", "step"),
        (_MARGIN, _MARGIN - 16, "start", "loss" + (" (logarithmic)" if logarithmic else "")),
    ]
    texts = "\n".join(
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'
        for x, y, anchor, text in labels
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        f'<path d="M{_MARGIN},{_MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>\n'
        f'<polyline points="{line}" fill="none" stroke="steelblue" stroke-width="1.5"/>\n'
        f"{texts}\n</svg>\n"
    )
