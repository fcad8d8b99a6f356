"""AstroSR Stretch.

Stretches an image for display, so that AstroSR Unstretch can undo it.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Stretch.py -name asinh
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import Choice, Switch, Verb, run  # noqa: E402

VERSION = "0.1.0"


def steps(values: dict) -> list[list[str]]:
    """Return the command line."""
    words = ["stretch", "--dtype", "float32", "--name", values["name"]]
    if values["name"] in ("mtf", "ghs"):
        words += ["--set", "white=1"]  # where white is in Siril
    if values["unlinked"]:
        words.append("--unlinked")
    return [words]


STRETCH = Verb(
    name="stretch",
    title="Stretch",
    version=VERSION,
    about="Stretches a linear image for display. The curve stands in the header, and Unstretch "
    "undoes it. With mtf it is Siril's own autostretch, without clipping.",
    options=(
        Choice("name", "Curve", "mtf", "family of curves", ("mtf", "asinh", "ghs", "log", "gamma")),
        Switch("unlinked", "Each colour by itself", help="a curve for each colour channel"),
    ),
    steps=steps,
    network=False,
    whole=True,
)

if __name__ == "__main__":
    run(STRETCH, requires="1.4.0")
