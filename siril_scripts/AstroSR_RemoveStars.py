"""AstroSR Remove Stars.

Takes the stars out of a linear image and saves them beside it.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_RemoveStars.py -overwrite
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, Verb, run  # noqa: E402

VERSION = "0.1.0"

REMOVE_STARS = Verb(
    name="remove-stars",
    title="Remove stars",
    version=VERSION,
    about="Takes the stars out of a linear image. They are saved beside it, as ..._stars.fit; "
    "both added up are the image again.",
    options=(FORCE,),
    beside="stars",
    beside_flag="--stars-output",
)

if __name__ == "__main__":
    run(REMOVE_STARS, requires="1.4.0")
