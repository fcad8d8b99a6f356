"""AstroSR Deconvolve.

Sharpens stars and extended structure of a linear image to a smaller, round star profile.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Deconvolve.py -stars 0.8 -extended 1
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, PSF, Number, Slider, Switch, Verb, run  # noqa: E402

VERSION = "0.1.0"

DECONVOLVE = Verb(
    name="deconvolve",
    title="Deconvolve",
    version=VERSION,
    about="Sharpens a linear image. The width of its stars is measured, and brought to half of it.",
    options=(
        Slider("stars", "Stars", 1.0, "strength for stars, 0 to 1"),
        Slider("extended", "Everything else", 1.0, "strength for everything else, 0 to 1"),
        Number(
            "target-fwhm",
            "Star width afterwards",
            None,
            "FWHM of the stars in the result, in pixels; by default half the measured one",
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
    run(DECONVOLVE, requires="1.4.0")
