"""AstroSR Star Mask.

Saves a mask of the stars beside the image: 1 in stars, 0 elsewhere.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_StarMask.py -overwrite
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, Verb, run  # noqa: E402

VERSION = "0.1.0"

STAR_MASK = Verb(
    name="star-mask",
    title="Star mask",
    version=VERSION,
    about="Saves a mask of the stars beside the image, as ..._starmask.fit: 1 in stars, 0 "
    "elsewhere. The image stays as it is.",
    options=(FORCE,),
    result="file",
    beside="starmask",
    network=False,
)

if __name__ == "__main__":
    run(STAR_MASK, requires="1.4.0")
