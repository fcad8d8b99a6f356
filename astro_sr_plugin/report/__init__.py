"""Before and after: a picture and a self-contained page."""

from __future__ import annotations

from astro_sr_plugin.report.figures import comparison_figures
from astro_sr_plugin.report.page import write_before_after_html
from astro_sr_plugin.report.picture import write_before_after_png
from astro_sr_plugin.validation.audit import audit
from astro_sr_plugin.validation.promises import Audit

__all__ = [
    "Audit",
    "audit",
    "comparison_figures",
    "write_before_after_html",
    "write_before_after_png",
]
