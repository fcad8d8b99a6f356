"""Where results go: everything that can be refused is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

from astro_sr_plugin.exceptions import InputError, OutputError

__all__ = ["check_not_input", "name_outputs", "plan_outputs"]


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
    from astro_sr_plugin.data.formats.registry import check_output

    outputs = name_outputs(inputs, output, ending=ending, suffix=suffix)
    for path in outputs:
        check_not_input(path, inputs)
        check_output(path, overwrite=overwrite)
    return outputs


def name_outputs(
    inputs: list[Path], output: Path, *, ending: str, suffix: str | None, option: str = "output"
) -> list[Path]:
    """Name the output file of each input, as `plan_outputs` does; ``option`` is for messages.

    Raises
    ------
    InputError
        Several inputs and one output file, or two inputs with the same output.
    """
    from astro_sr_plugin.data.formats.registry import name_result

    if not output.is_dir():
        if len(inputs) > 1:
            msg = (
                f"{option} {str(output)!r} must be an existing folder when there are several inputs"
            )
            raise InputError(msg)
        return [output]
    outputs = [output / name_result(path, ending, suffix) for path in inputs]
    doubled = {path for path in outputs if outputs.count(path) > 1}
    if doubled:
        msg = f"two inputs would both be written to {str(min(doubled))!r}"
        raise InputError(msg)
    return outputs


def check_not_input(path: Path, inputs: list[Path], option: str = "output") -> None:
    """Refuse an output that is one of the inputs.

    Raises
    ------
    OutputError
        If it is.
    """
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            msg = f"{option} {str(path)!r} is an input; inputs are never changed"
            raise OutputError(msg)
