"""AstroSR Measure.

Measures star widths, background, noise and sampling; the figures stand in the log.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Measure.py
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, Verb, run  # noqa: E402

VERSION = "0.1.0"

MEASURE = Verb(
    name="measure",
    title="Measure",
    version=VERSION,
    about="Measures star widths, background, noise, number of stars and sampling of the image or "
    "of the selection. The image stays as it is.",
    options=(FORCE,),
    result="report",
    network=False,
)

if __name__ == "__main__":
    run(MEASURE, requires="1.4.0")
