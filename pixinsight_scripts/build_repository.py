"""Build the update repository for PixInsight: ``updates.xri`` and the package that it names.

Run from the root of the source::

    python pixinsight_scripts/build_repository.py --output pixinsight_repository

The same sources, version and date give the same bytes. Signatures (``.xsgn``) that lie beside the
scripts are packed too.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import astro_sr_plugin

__all__ = ["build", "main", "package_files"]

HERE = Path(__file__).resolve().parent
PIXINSIGHT_VERSIONS = "1.9.4:1.9.10"
LIBRARY = "AstroSR-lib.js"
ICON = "AstroSR.svg"


def package_files(folder: Path = HERE) -> dict[str, Path]:
    """List what is installed.

    Parameters
    ----------
    folder : Path
        Where the scripts are.

    Returns
    -------
    dict of str to Path
        Paths below PixInsight's own folder, and the files that go there.

    Raises
    ------
    ValueError
        Some scripts are signed and others are not.
    """
    scripts = sorted(folder.glob("AstroSR*.js"))
    signatures = [path.with_suffix(".xsgn") for path in scripts]
    signed = [path for path in signatures if path.exists()]
    if signed and len(signed) < len(signatures):
        missing = ", ".join(path.name for path in signatures if not path.exists())
        msg = f"sign all scripts or none: {missing} missing in {folder}"
        raise ValueError(msg)
    files = {f"src/scripts/AstroSR/{path.name}": path for path in [*scripts, *signed]}
    # PixInsight looks for the icon of a script in a folder with the name of the script.
    for path in scripts:
        if path.name != LIBRARY:
            files[f"rsc/icons/script/{path.stem}/{path.stem}.svg"] = folder / ICON
    return files


def build(output: Path, date: datetime.date, folder: Path = HERE) -> Path:
    """Write the package and ``updates.xri``.

    Parameters
    ----------
    output : Path
        Folder for both; made if need be.
    date : datetime.date
        The date of the release.
    folder : Path
        Where the scripts are.

    Returns
    -------
    Path
        The package.
    """
    files = package_files(folder)
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"AstroSR-{astro_sr_plugin.__version__}-{date:%Y%m%d}.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for name, path in sorted(files.items()):
            # A fixed time and fixed rights, so that the checksum depends on the content alone.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    (output / "updates.xri").write_bytes(_describe(package, date, folder))
    return package


def _describe(package: Path, date: datetime.date, folder: Path) -> bytes:
    root = ElementTree.Element("xri", version="1.0")
    about = ElementTree.SubElement(root, "description")
    ElementTree.SubElement(about, "p").text = (
        "AstroSR: noise, sharpness and resolution of linear images by astro_sr_plugin, "
        "which is installed separately."
    )
    platform = ElementTree.SubElement(
        root, "platform", os="all", arch="noarch", version=PIXINSIGHT_VERSIONS
    )
    entry = ElementTree.SubElement(
        platform,
        "package",
        fileName=package.name,
        sha1=hashlib.sha1(package.read_bytes(), usedforsecurity=False).hexdigest(),
        type="script",
        releaseDate=f"{date:%Y%m%d}",
    )
    ElementTree.SubElement(entry, "title").text = f"AstroSR {astro_sr_plugin.__version__}"
    scripts = ElementTree.SubElement(ElementTree.SubElement(entry, "description"), "ul")
    for menu, info in _menu_entries(folder):
        ElementTree.SubElement(scripts, "li").text = f"{menu}: {info}"
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _menu_entries(folder: Path) -> list[tuple[str, str]]:
    entries = []
    for path in sorted(folder.glob("AstroSR*.js")):
        text = path.read_text(encoding="utf-8")
        menu = re.search(r"^#feature-id +\S+ : AstroSR > (.+)$", text, re.MULTILINE)
        info = re.search(r"^#feature-info +(.+)$", text, re.MULTILINE)
        if menu and info:
            entries.append((menu[1], info[1]))
    return entries


def _release_date(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError as error:
        msg = f"{text!r} is not a date; give it as YYYYMMDD"
        raise argparse.ArgumentTypeError(msg) from error


def _today() -> datetime.date:
    # The convention of reproducible builds: seconds since 1970.
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.UTC)
    return (
        datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date()
        if seconds
        else now.date()
    )


def main(argv: list[str] | None = None) -> int:
    """Build the repository from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Build the update repository for PixInsight.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--date",
        type=_release_date,
        metavar="YYYYMMDD",
        help="date of the release (default: today)",
    )
    args = parser.parse_args(argv)
    try:
        package = build(args.output, args.date or _today())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{args.output / 'updates.xri'}\n{package}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
