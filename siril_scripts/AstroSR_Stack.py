"""AstroSR Stack.

Calibrates, registers and stacks the frames of the open sequence or of a folder; shows the result.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Stack.py -folder lights -dark darks -flat flats
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import Choice, Number, Text, Verb, flags, run  # noqa: E402

VERSION = "0.1.0"

METHODS = (
    *("noise", "sigma", "winsorized", "mad", "linearfit", "gesd", "percentile", "minmax"),
    "none",
)
SHARPER = "pixels per pixel of the frames, 2 or 3, solved for from many dithered frames"
OPTIONS = (
    Text("dark", "Darks", help="folder or file of darks"),
    Text("flat", "Flats", help="folder or file of flats"),
    Text("bias", "Biases", help="folder or file of biases"),
    Text("library", "Library", help="folder with calibration frames of all kinds"),
    Choice("rejection", "Rejection", "noise", "how outliers are rejected", choices=METHODS),
    Number("drizzle", "Drizzle", None, "pixels per pixel of the frames, 1 to 4", 1.0, 4.0),
    Number("super-resolve", "Super-resolve", None, SHARPER, 2.0, 3.0),
)


def steps(values: dict) -> list[list[str]]:
    """Return the command line without the frames and the output."""
    return [["stack", *flags(OPTIONS, values)]]


STACK = Verb(
    name="stack",
    title="Stack",
    version=VERSION,
    about="Calibrates, registers, normalises and stacks the included frames of the open sequence, "
    "or those of a folder, into one file, which is then opened.",
    options=(Text("folder", "Folder", help="instead of the open sequence"), *OPTIONS),
    result="stack",
    beside="stack",
    network=False,
    whole=True,
    steps=steps,
)

if __name__ == "__main__":
    run(STACK, requires="1.4.0")
