"""Sharpen, denoise and upscale astronomical images, linear in and linear out.

The stub ``__init__.pyi`` lists the public names. Each is loaded on first use, so that importing the
package loads neither torch nor matplotlib.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
