"""The hard cases: what is on the sky, through which optics, and what spoils the image.

Each case is a plan for `observe_plan`, and a function that does to the finished scene what no plan
can: hot pixels, glow, quantisation. The truth is that of a perfect method: the sky and all that
crosses it, at the target profile, without the faults of the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.truth import hard_faults as faults
from benchmarks.truth import hard_skies as skies
from benchmarks.truth.observation import Plan, observe_plan
from benchmarks.truth.rendering import moffat, spider
from benchmarks.truth.scene import Scene

__all__ = ["CASES", "Case", "make_case"]

Rng = np.random.Generator


def _unspoilt(scene: Scene, rng: Rng) -> Scene:
    return scene


@dataclass(frozen=True)
class Case:
    """A hard case.

    Attributes
    ----------
    fwhm : float
        FWHM of the optics (pixels), to which the truth's target profile belongs.
    plan : callable
        (size, rng) -> Plan.
    spoil : callable
        (scene, rng) -> Scene, what happens to the finished scene.
    options : mapping
        Options of the verbs that sharpen.
    marks : tuple
        Places of interest (x, y) in parts of the frame's side: bright stars or cores.
    in_range : bool
        Whether the case is one that the verbs are made for. Others must be refused, or warned of;
        the profile of the result is then the verb's own choice.
    """

    fwhm: float
    plan: Callable[[int, Rng], Plan]
    spoil: Callable[[Scene, Rng], Scene] = _unspoilt
    options: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[tuple[float, float], ...] = ()
    in_range: bool = True


def make_case(name: str, *, size: int = 256, seed: int = 1) -> Scene:
    """Simulate a hard case.

    Parameters
    ----------
    name : str
        A key of `CASES`.
    size : int
        Side of the frame (pixels).
    seed : int
        The same name, size and seed give the same scene.

    Returns
    -------
    Scene
        The observation and its truths.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in CASES:
        msg = f"case {name!r} is not one of {', '.join(CASES)}"
        raise ValueError(msg)
    case = CASES[name]
    rng = np.random.default_rng([crc32(name.encode()), seed])
    scene = observe_plan(case.plan(size, rng), case.fwhm, name, seed, size, rng)
    return case.spoil(scene, rng)


_SATURATED = (2e4, 6e3, 4e4, 1e4)
CASES: dict[str, Case] = {
    "saturated": Case(
        3.0,
        skies.bright_star_field(3.0, lambda: moffat(3.0, 3.0), _SATURATED),
        marks=skies.BRIGHT_PLACES,
    ),
    "blooming": Case(
        3.0,
        skies.bright_star_field(3.0, lambda: moffat(3.0, 3.0), _SATURATED),
        faults.blooming,
        marks=skies.BRIGHT_PLACES,
    ),
    "halos": Case(
        3.0, skies.bright_star_field(3.0, skies.halo_psf, _SATURATED), marks=skies.BRIGHT_PLACES
    ),
    "spikes": Case(
        3.0,
        skies.bright_star_field(3.0, lambda: spider(3.0, 0.35), _SATURATED),
        marks=skies.BRIGHT_PLACES,
    ),
    "fwhm-1.2": Case(1.2, skies.star_field(1.2, lambda: moffat(1.2, 3.5)), in_range=False),
    "fwhm-1.7": Case(1.7, skies.star_field(1.7, lambda: moffat(1.7, 3.5))),
    "fwhm-8": Case(8.0, skies.star_field(8.0, lambda: moffat(8.0, 3.5), count=40, snr=(10, 3000))),
    "fwhm-10": Case(
        10.0,
        skies.star_field(10.0, lambda: moffat(10.0, 3.5), count=30, snr=(10, 3000)),
        in_range=False,
    ),
    "fwhm-10-auto-scale": Case(
        10.0,
        skies.star_field(10.0, lambda: moffat(10.0, 3.5), count=30, snr=(10, 3000)),
        options={"auto_scale": True},
        in_range=False,
    ),
    "ellipticity-0.3": Case(3.2, skies.star_field(3.2, lambda: moffat(3.2, 3.2, 0.3, 0.6))),
    "defocus": Case(
        4.9, skies.star_field(4.9, lambda: skies.ring_psf(3.0, 1.1, 1.8), snr=(10, 2000))
    ),
    "defocus-rings": Case(
        11.0,
        skies.star_field(11.0, lambda: skies.ring_psf(6.0, 2.6, 2.0), count=25, snr=(20, 3000)),
        in_range=False,
    ),
    "gradient": Case(3.0, skies.gradient, faults.horizon_glow),
    "dust-lane": Case(3.2, skies.textured(skies.edge_on_galaxy)),
    "galaxy-cores": Case(3.0, skies.galaxy_cores, marks=skies.BRIGHT_PLACES),
    "planetary-nebula": Case(3.2, skies.textured(skies.planetary_nebula), marks=((0.5, 0.5),)),
    "comet": Case(3.2, skies.textured(skies.comet), marks=((0.5 - 70 / 256, 0.5 - 50 / 256),)),
    "outside": Case(3.0, skies.stars_outside),
    "trails": Case(3.0, skies.satellite_trails),
    "hot-pixels": Case(
        3.0, skies.star_field(3.0, lambda: moffat(3.0, 3.2), count=60), faults.hot_pixels
    ),
    "walking-noise": Case(
        3.0, skies.star_field(3.0, lambda: moffat(3.0, 3.2)), faults.walking_noise
    ),
    "amp-glow": Case(3.0, skies.star_field(3.0, lambda: moffat(3.0, 3.2)), faults.amplifier_glow),
    "drizzled": Case(4.0, skies.star_field(4.0, skies.drizzled_psf), faults.drizzle_noise),
    "8-bit": Case(3.0, skies.eight_bit, marks=skies.BRIGHT_PLACES),
    "8-bit-stretched": Case(
        3.0, skies.star_field(3.0, lambda: moffat(3.0, 3.2)), faults.eight_bit_stretch
    ),
    "high-snr": Case(3.0, skies.deep_stack((20.0, 20_000.0), 100)),
    "low-snr": Case(
        3.0, skies.star_field(3.0, lambda: moffat(3.0, 3.2), snr=(2.0, 12.0)), in_range=False
    ),
    "low-snr-given-psf": Case(
        3.0,
        skies.star_field(3.0, lambda: moffat(3.0, 3.2), snr=(2.0, 12.0)),
        options={"psf": (3.0, 3.2)},
    ),
    "low-snr-nebula": Case(3.2, skies.textured(skies.nebula, snr=(3.0, 60.0)), in_range=False),
    "low-snr-nebula-given-psf": Case(
        3.2, skies.textured(skies.nebula, snr=(3.0, 60.0)), options={"psf": (3.2, 3.2)}
    ),
    "nearly-empty": Case(
        3.0, skies.few_stars(((0.3, 0.4), (0.7, 0.6)), (40.0, 80.0)), in_range=False
    ),
    "empty": Case(3.0, skies.few_stars(((5.0, 5.0),), 1.0), in_range=False),
}
"""All cases by name."""
