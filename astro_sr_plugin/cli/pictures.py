"""The ``enhance-pictures`` command: colours, twice the pixels and a filter, over a folder."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import Commands, add_command
from astro_sr_plugin.data.output import check_place, make_folder, writing
from astro_sr_plugin.exceptions import ImageReadError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astro_sr_plugin.cli.console import Console

__all__ = ["add_commands"]

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of the pictures of a folder."""
_HDF5 = (".h5", ".hdf5")
"""Endings of a file of Galaxy10 DECaLS."""
_TABLE = "ssim.csv"
"""Name of the table of similarities in the folder of results."""


def add_commands(commands: Commands) -> None:
    """Add ``enhance-pictures``."""
    parser = add_command(
        commands,
        "enhance-pictures",
        _enhance,
        usage="enhance-pictures FOLDER|FILE.h5 -o FOLDER",
        summary="Give gray display pictures colours and twice the pixels, over a folder.",
        details="For finished pictures, not for linear images. With --compare, the pictures are\n"
        "the truth: each is made gray and half as large first, and its SSIM is printed beside\n"
        "that of bicubic interpolation (which knows the colours) and of the gray picture (at full\n"
        "size); the means also against the truth after the bilateral filter.",
        examples="  astro-sr enhance-pictures gray -o large --colours colorize.safetensors\n"
        "  astro-sr enhance-pictures Galaxy10_DECals.h5 -o test --count 100 --size 128 --compare\n"
        "      --bilateral --colours colorize.safetensors",
    )
    parser.add_argument(
        "input", metavar="FOLDER|FILE.h5", type=Path, help="pictures, or Galaxy10 DECaLS"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="made if missing"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument(
        "--compare", action="store_true", help="the pictures are the truth: measure the result"
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="take N of the pictures, evenly spaced"
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="take the largest square of each picture, reduced to this side",
    )
    parser.add_argument(
        "--colours", metavar="NAME|FILE", help="network for colours; gray without one"
    )
    parser.add_argument(
        "--saturation", type=float, default=1.0, help="factor of the colours (default: 1)"
    )
    parser.add_argument(
        "--bilateral",
        action="store_true",
        help="smooth the result; takes noise away, and faint stars",
    )
    group = parser.add_argument_group("model and machine")
    group.add_argument(
        "--model",
        default="srcnn-x2",
        metavar="NAME|FILE",
        help="network of scale 2 for display images (default: srcnn-x2)",
    )
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to run")
    group.add_argument(
        "--tile-size", type=int, metavar="PX", help="edge of a tile (default: by memory)"
    )


def _enhance(args: argparse.Namespace, console: Console) -> None:
    for name, least in (("count", 1), ("size", 32)):
        value = getattr(args, name)
        if value is not None and value < least:
            msg = f"--{name} {value} must be at least {least}"
            raise InputError(msg)
    found = _find(args)
    make_folder(args.output)
    targets = [args.output / f"{name}.png" for name, _ in found]
    if args.compare:
        targets.append(args.output / _TABLE)
    for target in targets:
        check_place(target, overwrite=args.overwrite)
    settings = {
        "model": asr.load_model(args.model, "super-resolve", 2),
        "colours": None if args.colours is None else asr.load_model(args.colours, "colorize"),
        "saturation": args.saturation,
        "bilateral": args.bilateral,
        "runtime": asr.Runtime(device=args.device, tile_size=args.tile_size),
    }
    progress = console.progress("pictures")
    rows: list[dict[str, float]] = []
    for done, (pixels, target) in enumerate(zip(_read(found, args), targets, strict=False), 1):
        if args.compare:
            compared = asr.compare_picture(pixels, **settings)
            rows.append(compared.scores)
            result = compared.pixels
        else:
            result = asr.enhance_picture(pixels, **settings)
        _write(result, target, overwrite=args.overwrite)
        if progress is not None:
            progress(done, len(found))
    _tell(args, console, [name for name, _ in found], rows)


def _tell(
    args: argparse.Namespace, console: Console, names: list[str], rows: list[dict[str, float]]
) -> None:
    """Print, and write, what was measured."""
    record = {"output": args.output, "pictures": len(names)}
    if not rows:
        console.record(**record)
        console.say(f"{args.output}: {len(names)} pictures of twice the pixels")
        return
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    table = [
        {"picture": name, **{key: f"{value:.4f}" for key, value in row.items()}}
        for name, row in zip([*names, "mean"], [*rows, mean], strict=True)
    ]
    with (
        writing(args.output / _TABLE, overwrite=args.overwrite) as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    console.record(**record, **mean, best=max(row["ssim"] for row in rows))
    for row in table:
        figures = ", ".join(f"{key} {row[key]}" for key in ("ssim", "bicubic", "gray"))
        console.say(f"{row['picture']}: {figures}")
    figures = ", ".join(f"{key} {value:.4f}" for key, value in mean.items() if "smooth" in key)
    console.say(f"to the smoothed truth, mean: {figures.replace('smooth_', '')}")


def _find(args: argparse.Namespace) -> list[tuple[str, Path | int]]:
    """Return names, and paths or numbers, of the pictures to work on.

    Raises
    ------
    InputError
        If there is none.
    """
    import numpy as np

    places: list[tuple[str, Path | int]]
    if args.input.is_dir():
        paths = sorted(p for p in args.input.iterdir() if p.suffix.lower() in _PICTURES)
        places = [(path.stem, path) for path in paths]
    elif args.input.suffix.lower() in _HDF5:
        with asr.Galaxy10(args.input) as galaxies:
            places = [(f"galaxy_{number:05d}", number) for number in range(len(galaxies))]
    else:
        msg = f"input {str(args.input)!r} is no folder and no HDF5 file"
        raise ImageReadError(msg)
    if not places:
        msg = f"folder {str(args.input)!r} holds no picture ({', '.join(_PICTURES)})"
        raise InputError(msg)
    count = min(args.count or len(places), len(places))
    return [places[int(k)] for k in np.linspace(0, len(places) - 1, count).round()]


def _read(
    found: list[tuple[str, Path | int]], args: argparse.Namespace
) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures one after the other."""
    import numpy as np
    from PIL import Image

    from astro_sr_plugin.training.pictures.picture_file import middle_square, read_colours

    def cut(picture: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(picture if args.size is None else middle_square(picture, args.size))

    if not args.input.is_dir():
        with asr.Galaxy10(args.input) as galaxies:
            for _, number in found:
                assert isinstance(number, int)
                yield cut(Image.fromarray(galaxies[number].pixels))
        return
    for _, path in found:
        assert isinstance(path, Path)
        yield cut(read_colours(path)[0])


def _write(pixels: NDArray[np.uint8], target: Path, *, overwrite: bool) -> None:
    from PIL import Image

    with writing(target, overwrite=overwrite) as part:
        Image.fromarray(pixels).save(part, format="PNG")
