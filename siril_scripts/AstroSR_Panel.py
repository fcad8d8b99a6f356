"""AstroSR Panel.

Denoises, sharpens or doubles a linear image, from one window: what fits it, or what is ticked.

(c) The astro_sr_plugin developers 2026
Contact: the authors of the package astro_sr_plugin, through its issue tracker
SPDX-License-Identifier: BSD-3-Clause

In a script file: pyscript AstroSR_Panel.py -deconvolve -stars 0.8
"""

# Version History
# 0.1.0  Initial release

import sirilpy as s

s.ensure_installed("numpy", "astropy")

from astro_sr_siril import FORCE, ScriptError, Slider, Switch, Verb, run  # noqa: E402

VERSION = "0.1.0"


def steps(values: dict) -> list[list[str]]:
    """Return what is done: one thing, for sharpening takes the noise away too.

    If nothing is ticked, astro-sr chooses.
    """
    lines = []
    if values["deconvolve"]:
        strengths = ["--stars", str(values["stars"]), "--extended", str(values["extended"])]
        lines.append(["deconvolve", *strengths])
    if values["denoise"]:
        lines.append(["denoise", "--strength", str(values["strength"])])
    if values["super_resolve"]:
        lines.append(["super-resolve", "--scale", "2"])
    if len(lines) > 1:
        ticked = " and ".join(line[0] for line in lines)
        msg = (
            f"{ticked} are ticked; tick one: deconvolve takes the noise away too, super-resolve "
            "the noise and the blur, and one after the other makes rings around stars"
        )
        raise ScriptError(msg)
    lines = lines or [["auto", "--no-page"]]
    return [[*line, "--force"] for line in lines] if values["force"] else lines


PANEL = Verb(
    name="panel",
    title="Panel",
    version=VERSION,
    about="Denoises, sharpens or doubles a linear image. If nothing is ticked, the image is "
    "measured, the fitting one is done, and the result checked. Or tick one: sharpening takes the "
    "noise away too, and doubling sharpens.",
    options=(
        Switch("deconvolve", "Deconvolve", help="sharpen, and take the noise out"),
        Slider("stars", "Stars", 1.0, "strength of sharpening for stars, 0 to 1"),
        Slider("extended", "Everything else", 1.0, "strength of sharpening for the rest, 0 to 1"),
        Switch("denoise", "Denoise", help="take the noise out"),
        Slider("strength", "Strength", 1.0, "strength of denoising, 0 to 1"),
        Switch(
            "super-resolve",
            "Super-resolve",
            help="double the pixels, sharpen, and take the noise out",
        ),
        FORCE,
    ),
    steps=steps,
)

if __name__ == "__main__":
    run(PANEL, requires="1.4.0")
