"""Where results go: everything that can be refused is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

from astro_sr_plugin.exceptions import InputError, OutputError

__all__ = ["plan_outputs"]


def plan_outputs(
    inputs: list[Path], output: Path, *, ending: str, overwrite: bool, suffix: str | None = None
) -> list[Path]:
    """Decide the output file of each input, and check that it can be written.

    Parameters
    ----------
    inputs : list of Path
        The input files.
    output : Path
        A file, or an existing folder (needed with several inputs).
    ending : str
        In a folder, ``stack.fits`` becomes ``stack_<ending>.fits``.
    overwrite : bool
        Whether an existing output may be replaced.
    suffix : str, optional
        The suffix in a folder; that of the input by default.

    Returns
    -------
    list of Path
        One output per input.

    Raises
    ------
    InputError
        Several inputs and one output file, or two inputs with the same output.
    OutputError
        An output exists, is an input, has an unknown ending, or its folder is missing or cannot be
        written.
    """
    from astro_sr_plugin.data.formats import registry as formats

    if not output.is_dir():
        if len(inputs) > 1:
            msg = f"output {str(output)!r} must be an existing folder when there are several inputs"
            raise InputError(msg)
        outputs = [output]
    else:
        outputs = [output / formats.name_result(path, ending, suffix) for path in inputs]
        doubled = {path for path in outputs if outputs.count(path) > 1}
        if doubled:
            msg = f"two inputs would both be written to {str(min(doubled))!r}"
            raise InputError(msg)
    for path in outputs:
        for source in inputs:
            if path.exists() and path.samefile(source):
                msg = f"output {str(path)!r} is an input; inputs are never changed"
                raise OutputError(msg)
        formats.check_output(path, overwrite=overwrite)
    return outputs
