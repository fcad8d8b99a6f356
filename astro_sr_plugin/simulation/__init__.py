"""Simulated skies with a known truth: scene, optics, detector, and the observation that joins them.

Everything is rendered with torch on a torus (periodic boundaries), in batches, on any device.
Units: surface brightness in the noise of one detector pixel (sky sigma = 1), lengths in detector
pixels. Scenes live on a grid ``OVERSAMPLE`` times finer than the detector: fine pixel ``u`` sits
at detector coordinate ``(u + 0.5) / OVERSAMPLE - 0.5``, which is also the grid of the x2 truth.
"""

from __future__ import annotations

from astro_sr_plugin.simulation.bank import (
    PSFBank,
    join_banks,
    make_bank,
    make_bank_of_images,
)
from astro_sr_plugin.simulation.colours import make_planes
from astro_sr_plugin.simulation.observe import Observation, ObservationConfig, observe
from astro_sr_plugin.simulation.pupils import OpticsConfig
from astro_sr_plugin.simulation.scene import OVERSAMPLE, SceneConfig, make_scene

__all__ = [
    "OVERSAMPLE",
    "Observation",
    "ObservationConfig",
    "OpticsConfig",
    "PSFBank",
    "SceneConfig",
    "join_banks",
    "make_bank",
    "make_bank_of_images",
    "make_planes",
    "make_scene",
    "observe",
]
