"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_sr_plugin.exceptions import ImageReadError

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astro_sr_plugin.cli.console import Console
    from astro_sr_plugin.inference.runtime import Runtime
    from astro_sr_plugin.models.spec import Model

__all__ = [
    "DTYPES",
    "Commands",
    "add_command",
    "add_hdu_options",
    "add_image_options",
    "add_model_options",
    "add_pixel_options",
    "add_reporting_options",
    "check_inputs",
    "hdu_argument",
    "make_runtime",
    "open_image",
    "psf_argument",
]

DTYPES = ("float32", "float64", "uint8", "int16", "uint16", "int32", "original")

Commands = Any
"""What `argparse.ArgumentParser.add_subparsers` returns (argparse keeps the class private)."""


def add_command(
    commands: Commands,
    name: str,
    run: Any,
    *,
    usage: str,
    summary: str,
    examples: str = "",
    details: str = "",
) -> argparse.ArgumentParser:
    """Add one command.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    name : str
        The verb.
    run : callable
        Called with the parsed arguments and a `~astro_sr_plugin.cli.console.Console`.
    usage : str
        What follows the verb at the top of its help.
    summary : str
        One sentence for the list of commands and the top of its help.
    examples, details : str
        Shown under the options, and between summary and options.

    Returns
    -------
    argparse.ArgumentParser
        The parser of the command.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"astro-sr {usage} [options]",
        help=summary,
        description=f"{summary}\n\n{details}".rstrip(),
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_reporting_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress --json --quiet``, which every command has."""
    group = parser.add_argument_group("reporting")
    group.add_argument(
        "--progress",
        choices=("auto", "bar", "line", "none"),
        default="auto",
        help="progress on stderr, as a bar or as lines (default: a bar on a terminal, else lines)",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_image_options(
    parser: argparse.ArgumentParser,
    *,
    many: bool = True,
    required: bool = True,
    output: str | None = "the image to write; its suffix decides the format. "
    "With several inputs, an existing folder",
) -> None:
    """Add INPUT and ``--hdu``, and where a file is written ``-o --overwrite --dtype``."""
    if many:
        parser.add_argument(
            "inputs", metavar="INPUT", nargs="+", type=_input_argument, help="image file or -"
        )
    else:
        parser.add_argument("input", metavar="INPUT", type=_input_argument, help="image file")
    group = parser.add_argument_group("files")
    group.add_argument(
        "--hdu",
        type=hdu_argument,
        metavar="N|NAME|all",
        help="FITS extension to read, such as 3, SCI or SCI,2; 'all' does every image of the file "
        "and copies the rest (default: the first that holds an image)",
    )
    if output is None:
        return
    group.add_argument(
        "-o", "--output", type=Path, required=required, metavar="OUTPUT", help=output
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace the output if it exists already"
    )


def add_pixel_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--mask --debayer --cfa-pattern --force``, for commands that need linear light."""
    group = parser.add_argument_group("kind of pixels")
    group.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="mask in a file of its own, for instruments whose bits are known read by their "
        "meanings; otherwise pixels that are not 0 are excluded",
    )
    group.add_argument(
        "--debayer",
        choices=("superpixel", "bilinear"),
        help="make a colour image of a raw mosaic first: at half the size without interpolation, "
        "or at full size with the mean of neighbours",
    )
    group.add_argument(
        "--cfa-pattern",
        metavar="RGGB",
        help="filters of the mosaic from the first pixel, instead of those of the header",
    )
    group.add_argument(
        "--force",
        action="store_true",
        help="use an image as it is that the command is not for: a mosaic, magnitudes, a "
        "stretched image, one that was denoised or sharpened before",
    )


def add_hdu_options(group: argparse._ActionsContainer) -> None:
    """Add ``--hdu --after-hdu``, for commands that compare two files."""
    group.add_argument(
        "--hdu",
        type=hdu_argument,
        metavar="N|NAME",
        help="FITS extension of BEFORE (default: the first that holds an image)",
    )
    group.add_argument(
        "--after-hdu",
        type=hdu_argument,
        metavar="N|NAME",
        help="FITS extension of AFTER, such as of a result of --hdu all (default: the first that "
        "holds an image)",
    )


def open_image(path: Path, args: argparse.Namespace, *, hdu: int | str | None = None) -> CCDData:
    """Read an image as ``--hdu`` (or `hdu`), ``--mask``, ``--debayer``, ``--cfa-pattern`` say."""
    import astro_sr_plugin as asr

    hdu = args.hdu if hdu is None else hdu
    image = asr.read_image(path, hdu=hdu)
    mask = getattr(args, "mask", None)
    if mask is not None:
        from astro_sr_plugin.data.formats.masks import read_mask
        from astro_sr_plugin.data.nddata import unpack

        excluded = read_mask(mask, meta=image.meta, hdu=hdu)
        image.mask = unpack(image, mask=excluded).mask
    if getattr(args, "debayer", None) is None:
        return image
    return asr.debayer(image, args.debayer, pattern=args.cfa_pattern)


def add_model_options(parser: argparse.ArgumentParser, *, classical: str = "") -> None:
    """Add the options of the commands that run a model of the user's choice."""
    group = parser.add_argument_group("model and machine")
    group.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="a model of 'astro-sr models list', or a file of weights of this or another project"
        + (f", or {classical}" if classical else ""),
    )
    group.add_argument(
        "--condition",
        type=Path,
        metavar="FILE",
        help="vectors that steer a network of the model AstroSleuth NEXT",
    )
    add_machine_options(group)


def add_machine_options(group: argparse._ActionsContainer) -> None:
    """Add ``--device --tile-size --overlap --dtype``."""
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to run")
    group.add_argument(
        "--tile-size", type=int, metavar="PX", help="edge of a tile (default: by memory)"
    )
    group.add_argument(
        "--overlap",
        type=int,
        metavar="PX",
        help="overlap of tiles; the result does not depend on it (default: what the model needs)",
    )
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        help="number format of the output, 'original' that of the input file (default: float32)",
    )


def chosen_model(args: argparse.Namespace) -> str | Model | None:
    """Return what ``--model --condition`` ask for."""
    if getattr(args, "condition", None) is None:
        name: str | None = args.model
        return name
    from astro_sr_plugin.exceptions import InputError
    from astro_sr_plugin.models.registry import load_model

    if args.model is None:
        msg = "--condition is for a network of --model; give that too"
        raise InputError(msg)
    return load_model(args.model, condition=args.condition)


def make_runtime(args: argparse.Namespace, console: Console) -> Runtime:
    """Turn ``--device --tile-size --overlap --progress`` into a `~astro_sr_plugin.Runtime`."""
    from astro_sr_plugin.inference.runtime import Runtime

    return Runtime(
        device=args.device,
        tile_size=args.tile_size,
        overlap=args.overlap,
        progress=console.progress(),
        reuse_memory=True,
    )


def _input_argument(text: str) -> Path:
    """Return the path of an input; ``-`` is the standard input."""
    return Path("/dev/stdin" if text == "-" else text)


def hdu_argument(text: str) -> int | str:
    """Return an extension as a number if it is one, otherwise as a name."""
    return int(text) if text.lstrip("-").isdigit() else text


def psf_argument(text: str) -> tuple[float, ...] | Path:
    """Return ``fwhm[,beta[,ellipticity,theta]]`` as numbers, anything else as a path.

    Raises
    ------
    argparse.ArgumentTypeError
        The numbers are not one, two or four.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return Path(text)
    if len(numbers) not in (1, 2, 4):
        msg = (
            f"{text!r} holds {len(numbers)} numbers; allowed are FWHM, FWHM,BETA "
            "and FWHM,BETA,ELLIPTICITY,THETA, or a FITS file"
        )
        raise argparse.ArgumentTypeError(msg)
    return numbers


def check_inputs(paths: list[Path]) -> None:
    """Refuse inputs that do not exist, before any work is done on the others.

    Raises
    ------
    ImageReadError
        A path does not exist or is a folder.
    """
    for path in paths:
        if not path.exists():
            msg = f"input {str(path)!r} does not exist"
            raise ImageReadError(msg)
        if path.is_dir():
            msg = f"input {str(path)!r} is a folder, not an image file"
            raise ImageReadError(msg)
