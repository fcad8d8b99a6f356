"""AstroSR Super-resolve.

Gives a linear image two or four times the pixels and sharpens it; the plate solution follows.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_SuperResolve.py -conserve-flux
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, PSF, Choice, Number, Switch, Verb, run  # noqa: E402

VERSION = "0.1.0"

SUPER_RESOLVE = Verb(
    name="super-resolve",
    title="Super-resolve",
    version=VERSION,
    about="Gives a linear image twice or four times as many pixels along each side, and sharpens "
    "it. The plate solution follows. Of a selection, that part alone becomes the image.",
    options=(
        Choice("scale", "Scale", "2", "4 shows no finer detail than 2", ("2", "4")),
        Switch("conserve-flux", "Keep the sum of the pixels", help="instead of their brightness"),
        Number(
            "target-fwhm",
            "Star width afterwards",
            None,
            "FWHM of the stars in the result, in its pixels; by default that of the image",
            low=1,
        ),
        PSF,
        Switch(
            "luminance-only",
            "Luminance only",
            help="colour images: sharpen the luminance, and take the colours as they are",
        ),
        FORCE,
    ),
)

if __name__ == "__main__":
    run(SUPER_RESOLVE, requires="1.4.0")
