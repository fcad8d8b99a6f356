"""AstroSR Denoise.

Takes the noise out of a linear image by a network; stars and structure keep shape and flux.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Denoise.py -strength 0.8
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, Slider, Verb, run  # noqa: E402

VERSION = "0.1.0"

DENOISE = Verb(
    name="denoise",
    title="Denoise",
    version=VERSION,
    about="Takes the noise out of a linear image. Stars and structure keep their shape and flux.",
    options=(
        Slider("strength", "Strength", 1.0, "0 leaves the image as it is, 1 is the full effect"),
        FORCE,
    ),
)

if __name__ == "__main__":
    run(DENOISE, requires="1.4.0")
