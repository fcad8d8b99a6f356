"""A progress bar for terminals and notebooks."""

from __future__ import annotations

from typing import Any, TextIO

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar that shows ``(done, total)``: a widget in Jupyter, text elsewhere.

    It goes into ``Runtime(progress=ProgressBar())``, and can be used again for the next image.

    Parameters
    ----------
    noun : str
        What is counted.
    stream : text stream, optional
        Where text is drawn; stderr by default.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> runtime = asr.Runtime(progress=asr.ProgressBar())
    """

    def __init__(self, noun: str = "tiles", stream: TextIO | None = None) -> None:
        self._noun = noun
        self._stream = stream
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Draw the bar; a smaller number than before, or another total, starts a new one."""
        from tqdm.auto import tqdm

        if self._bar is not None and (self._bar.total != total or done < self._bar.n):
            self.close()
        if self._bar is None:
            self._bar = tqdm(total=total, unit=f" {self._noun}", file=self._stream, leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the drawn bar and its stream behind: another process draws its own."""
        return {"_noun": self._noun, "_stream": None, "_bar": None}
