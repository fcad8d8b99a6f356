"""A page of before and after that is one file: slider, blink, crops, charts and star table."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.report.charts import line_chart
from astro_sr_plugin.report.crops import Crop, pick_crops
from astro_sr_plugin.report.display import Display, make_display
from astro_sr_plugin.report.figures import histograms, spectra
from astro_sr_plugin.report.picture import CROP_COLOURS, crop_panels, frame_panels
from astro_sr_plugin.report.psf import make_psf_panels
from astro_sr_plugin.report.template import PAGE
from astro_sr_plugin.validation.star_list import APERTURE

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from astro_sr_plugin.stretch import Stretch
    from astro_sr_plugin.validation.comparing import Comparison

__all__ = ["write_before_after_html"]

_ROWS = 40
"""Number of stars in the table, the brightest first."""


def write_before_after_html(
    comparison: Comparison,
    path: str | os.PathLike[str],
    *,
    stretch: str | Stretch = "mtf",
    crops: Sequence[tuple[float, float]] | None = None,
    crop_size: int = 64,
    labels: tuple[str, str] = ("before", "after"),
    title: str = "Before and after",
    overwrite: bool = True,
) -> Path:
    """Write a self-contained page that compares two images of one field.

    It holds the whole frames under a slider and a blink button, crops, histograms of the
    stretched values, radial power spectra, a table of aperture photometry of isolated stars, and
    the point-spread function of the image before.
    Pictures are embedded; nothing is loaded from elsewhere.

    Parameters
    ----------
    comparison : Comparison
        What `compare` found on the images: mono (ny, nx) or colour (3, ny, nx), in linear units.
    path : str or Path
        The HTML file.
    stretch : str or Stretch, optional
        Name of a stretch, fitted to `before` and used for both, or one made before.
    crops : sequence of (float, float), optional
        Centres x, y of up to six crops, in pixels of `before`; default chosen.
    crop_size : int, optional
        Side of the crops, in pixels of `before`; at least 8.
    labels : (str, str), optional
        Names of the two images.
    title : str, optional
        Of the page.
    overwrite : bool, optional
        Whether an existing file is replaced.

    Returns
    -------
    Path
        The written file.
    """
    display = make_display(comparison.pair, stretch)
    chosen = pick_crops(display, comparison.stars, crops, crop_size)
    first, second, _ = frame_panels(display, 1400)
    curves = spectra(display, labels)
    text = Template(PAGE).substitute(
        title=escape(title),
        before=escape(labels[0]),
        after=escape(labels[1]),
        before_src=_embedded(first),
        after_src=_embedded(second),
        width=first.shape[1],
        facts=_facts(comparison, display, labels),
        crops="\n".join(_crop(display, c, k) for c, k in zip(chosen, CROP_COLOURS, strict=False)),
        histogram=line_chart(
            histograms(display, labels),
            x_label="stretched value (0 black, 1 white)",
            y_label="share of pixels",
            log_y=True,
        ),
        spectrum=line_chart(
            curves,
            x_label=f"cycles per pixel of {labels[0]}",
            y_label="power",
            log_y=True,
        )
        if curves
        else "<p>The image is too small for a power spectrum.</p>",
        stars=_star_table(comparison),
        psf=_psf(comparison),
    )
    with writing(path, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def _embedded(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _crop(display: Display, crop: Crop, colour: str) -> str:
    before, after = (_embedded(panel) for panel in crop_panels(display, crop, 256))
    place = f"x {crop.x0}–{crop.x0 + crop.size - 1}, y {crop.y0}–{crop.y0 + crop.size - 1}"
    return (
        f'<figure><figcaption style="color:{colour}">{escape(crop.name)} <small>{place}</small>'
        f'</figcaption><img src="{before}" alt="before"><img src="{after}" alt="after"></figure>'
    )


def _psf(comparison: Comparison) -> str:
    """Draw the PSF of the image before, and what it leaves of its stars."""
    figures = [
        f"<figure><figcaption>{escape(panel.title)}</figcaption>"
        f'<img src="{_embedded(panel.pixels)}" alt="{escape(panel.title)}"></figure>'
        for plane in comparison.pair.planes
        for panel in make_psf_panels(plane)
    ]
    return "\n".join(figures) or "<p>No star whose width can be measured was found.</p>"


def _facts(comparison: Comparison, display: Display, labels: tuple[str, str]) -> str:
    facts = [
        (f"Size of {labels[0]}", " x ".join(str(n) for n in display.before.shape[::-1])),
        (f"Size of {labels[1]}", " x ".join(str(n) for n in display.after.shape[::-1])),
        ("Scale", f"x{display.scale}"),
        ("Total flux, after / before", f"{comparison.flux_ratio:.5f}"),
        ("Display stretch", repr(display.stretch)),
    ]
    facts += [
        (key, str(display.meta[key]))
        for key in dict.fromkeys(display.meta)
        if isinstance(key, str) and key.startswith("ASR")
    ]
    return "\n".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)


def _star_table(comparison: Comparison) -> str:
    rows = comparison.stars[:_ROWS]
    if not rows:
        return "<p>No isolated, unsaturated star was found.</p>"
    head = (
        *("plane", "x", "y", "flux before", "flux after", "Δ mag", "FWHM before", "FWHM after"),
    )
    cells = (
        (
            str(row.plane),
            f"{row.x:.1f}",
            f"{row.y:.1f}",
            f"{row.flux_before:.5g}",
            f"{row.flux_after:.5g}",
            f"{row.difference:+.4f}",
            f"{row.fwhm_before:.2f}",
            f"{row.fwhm_after:.2f}",
        )
        for row in rows
    )
    body = ("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in cells)
    noun = "star" if comparison.n_stars == 1 else "stars"
    psf = (
        "the image after was brought to the PSF of the image before"
        if comparison.psf_matched
        else "the images keep their PSF, for that of the image after is not known"
    )
    return (
        f"<p>{comparison.n_stars} isolated {noun}, in circles of {APERTURE:g} FWHM with a local "
        f"annulus; {psf}. Median Δ {comparison.magnitude_difference:+.4f} mag, scatter "
        f"{comparison.magnitude_scatter:.4f} mag. FWHM is twice the half-flux radius, in pixels of "
        f"the image before: median {comparison.fwhm_before:.2f} before, "
        f"{comparison.fwhm_after:.2f} after. The brightest {len(rows)}:</p>"
        "<table class='stars'><tr>"
        + "".join(f"<th>{escape(name)}</th>" for name in head)
        + "</tr>"
        + "\n".join(body)
        + "</table>"
    )
