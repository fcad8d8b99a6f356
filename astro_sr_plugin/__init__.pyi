"""The public face for type checkers and editors; `__init__.py` loads the names on first use."""

from .batch.recipe import Recipe as Recipe
from .batch.recipe import Step as Step
from .batch.run import run_batch as run_batch
from .batch.summary import BatchSummary as BatchSummary
from .batch.work import FrameResult as FrameResult
from .data.debayer import debayer as debayer
from .data.formats.every_image import list_images as list_images
from .data.formats.every_image import map_images as map_images
from .data.formats.registry import read_image as read_image
from .data.formats.registry import write_image as write_image
from .enhancement.deconvolve import deconvolve as deconvolve
from .enhancement.denoise import denoise as denoise
from .enhancement.remove_stars import remove_stars as remove_stars
from .enhancement.super_resolve import super_resolve as super_resolve
from .exceptions import AstroSRError as AstroSRError
from .exceptions import AstroSRWarning as AstroSRWarning
from .exceptions import ImageReadError as ImageReadError
from .exceptions import InputError as InputError
from .exceptions import ModelError as ModelError
from .exceptions import OutOfMemoryError as OutOfMemoryError
from .exceptions import OutputError as OutputError
from .exceptions import UnchangedWarning as UnchangedWarning
from .inference.runtime import Runtime as Runtime
from .measurement.plane import MeasuredPlane as MeasuredPlane
from .measurement.quality import Quality as Quality
from .measurement.quality import measure as measure
from .models.registry import list_models as list_models
from .models.registry import load_model as load_model
from .models.spec import Model as Model
from .models.spec import ModelSpec as ModelSpec
from .progress import ProgressBar as ProgressBar
from .stars.mask import star_mask as star_mask
from .stretch import AsinhStretch as AsinhStretch
from .stretch import GammaStretch as GammaStretch
from .stretch import GHSStretch as GHSStretch
from .stretch import LogStretch as LogStretch
from .stretch import MTFStretch as MTFStretch
from .stretch import Stretch as Stretch
from .stretch import apply_stretch as apply_stretch
from .stretch import undo_stretch as undo_stretch
from .validation.auditing import audit as audit
from .validation.evidence import Source as Source
from .validation.promises import Audit as Audit

__version__: str
