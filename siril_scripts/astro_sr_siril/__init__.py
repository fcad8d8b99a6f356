"""What the AstroSR scripts for Siril share: the talk with Siril, the work, and the window.

A script says in a `Verb` what its menu entry does, and calls `run`. Needs sirilpy, numpy and
astropy; the window needs PyQt6, which Siril's Python provides.
"""

from astro_sr_siril.errors import ScriptError
from astro_sr_siril.program import run
from astro_sr_siril.verb import FORCE, PSF, Choice, Number, Slider, Switch, Text, Verb, flags

__all__ = [
    "FORCE",
    "PSF",
    "Choice",
    "Number",
    "ScriptError",
    "Slider",
    "Switch",
    "Text",
    "Verb",
    "flags",
    "run",
]
