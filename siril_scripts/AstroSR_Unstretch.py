"""AstroSR Unstretch.

Undoes AstroSR Stretch: the image is linear again.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Unstretch.py
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import Verb, run  # noqa: E402

VERSION = "0.1.0"

UNSTRETCH = Verb(
    name="unstretch",
    title="Unstretch",
    version=VERSION,
    about="Undoes AstroSR Stretch by the numbers in the header: the image is linear again.",
    network=False,
    whole=True,
)

if __name__ == "__main__":
    run(UNSTRETCH, requires="1.4.0")
