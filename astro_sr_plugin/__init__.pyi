"""The public face for type checkers and editors; `__init__.py` loads the names on first use."""

from astro_sr_plugin.batch.recipe import Recipe as Recipe
from astro_sr_plugin.batch.run import run_batch as run_batch
from astro_sr_plugin.data.debayer import debayer as debayer
from astro_sr_plugin.data.every_image import list_images as list_images
from astro_sr_plugin.data.every_image import map_images as map_images
from astro_sr_plugin.data.formats.registry import read_image as read_image
from astro_sr_plugin.data.formats.registry import write_image as write_image
from astro_sr_plugin.enhancement.deconvolve import deconvolve as deconvolve
from astro_sr_plugin.enhancement.denoise import denoise as denoise
from astro_sr_plugin.enhancement.remove_stars import remove_stars as remove_stars
from astro_sr_plugin.enhancement.super_resolve import super_resolve as super_resolve
from astro_sr_plugin.exceptions import AstroSRError as AstroSRError
from astro_sr_plugin.exceptions import AstroSRWarning as AstroSRWarning
from astro_sr_plugin.exceptions import ImageReadError as ImageReadError
from astro_sr_plugin.exceptions import InputError as InputError
from astro_sr_plugin.exceptions import ModelError as ModelError
from astro_sr_plugin.exceptions import OutOfMemoryError as OutOfMemoryError
from astro_sr_plugin.exceptions import OutputError as OutputError
from astro_sr_plugin.inference.runtime import Runtime as Runtime
from astro_sr_plugin.measurement.quality import measure as measure
from astro_sr_plugin.models.registry import list_models as list_models
from astro_sr_plugin.models.registry import load_model as load_model
from astro_sr_plugin.progress import ProgressBar as ProgressBar
from astro_sr_plugin.stars.mask import star_mask as star_mask
from astro_sr_plugin.stretch import AsinhStretch as AsinhStretch
from astro_sr_plugin.stretch import GammaStretch as GammaStretch
from astro_sr_plugin.stretch import GHSStretch as GHSStretch
from astro_sr_plugin.stretch import LogStretch as LogStretch
from astro_sr_plugin.stretch import MTFStretch as MTFStretch
from astro_sr_plugin.stretch import apply_stretch as apply_stretch
from astro_sr_plugin.stretch import undo_stretch as undo_stretch
from astro_sr_plugin.validation.auditing import audit as audit

__version__: str
__all__: list[str]
