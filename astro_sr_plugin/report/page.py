"""A page of before and after that is one file: slider, blink, crops, charts and star table."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.report.charts import line_chart
from astro_sr_plugin.report.figures import histograms, spectra
from astro_sr_plugin.report.picture import CROP_COLOURS, crop_panels, frame_panels
from astro_sr_plugin.report.template import PAGE
from astro_sr_plugin.validation.comparison import Comparison, compare_images
from astro_sr_plugin.validation.photometry import (
    StarRow,
    photometry,
    summarise_stars,
    total_flux,
)
from astro_sr_plugin.validation.regions import Crop, find_stars, pick_crops

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from astro_sr_plugin.stretch import Stretch

__all__ = ["write_before_after_html"]


def write_before_after_html(
    before: Any,
    after: Any,
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
    stretched values, radial power spectra, and a table of aperture photometry of isolated stars.
    Pictures are embedded; nothing is loaded from elsewhere.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Mono (ny, nx) or colour (3, ny, nx), in linear units; `after` may be larger by a whole
        factor. Not changed.
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
    pair = compare_images(before, after, stretch=stretch)
    stars = find_stars(pair)
    chosen = pick_crops(pair, stars, crops, crop_size)
    rows = photometry(pair, stars)
    first, second, _ = frame_panels(pair, 1400)
    curves = spectra(pair, labels)
    text = Template(PAGE).substitute(
        title=escape(title),
        before=escape(labels[0]),
        after=escape(labels[1]),
        before_src=_embedded(first),
        after_src=_embedded(second),
        width=first.shape[1],
        facts=_facts(pair, labels),
        crops="\n".join(_crop(pair, c, k) for c, k in zip(chosen, CROP_COLOURS, strict=False)),
        histogram=line_chart(
            histograms(pair, labels),
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
        stars=_star_table(rows, stars.fwhm),
    )
    with writing(path, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def _embedded(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _crop(pair: Comparison, crop: Crop, colour: str) -> str:
    before, after = (_embedded(panel) for panel in crop_panels(pair, crop, 256))
    place = f"x {crop.x0}–{crop.x0 + crop.size - 1}, y {crop.y0}–{crop.y0 + crop.size - 1}"
    return (
        f'<figure><figcaption style="color:{colour}">{escape(crop.name)} <small>{place}</small>'
        f'</figcaption><img src="{before}" alt="before"><img src="{after}" alt="after"></figure>'
    )


def _facts(pair: Comparison, labels: tuple[str, str]) -> str:
    facts = [
        (f"Size of {labels[0]}", " x ".join(str(n) for n in pair.before.shape[::-1])),
        (f"Size of {labels[1]}", " x ".join(str(n) for n in pair.after.shape[::-1])),
        ("Scale", f"x{pair.scale}"),
        ("Total flux, after / before", f"{total_flux(pair):.5f}"),
        ("Display stretch", repr(pair.stretch)),
    ]
    facts += [
        (key, str(pair.meta[key]))
        for key in dict.fromkeys(pair.meta)
        if isinstance(key, str) and key.startswith("ASR")
    ]
    return "\n".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)


def _star_table(rows: list[StarRow], fwhm: float) -> str:
    if not rows:
        return "<p>No isolated, unsaturated star was found.</p>"
    told = summarise_stars(rows)
    head = (
        "x",
        "y",
        "flux before",
        "flux after",
        "Δ mag",
        "FWHM before",
        "FWHM after",
    )
    cells = [
        "<tr>"
        + "".join(
            f"<td>{text}</td>"
            for text in (
                f"{row.x:.1f}",
                f"{row.y:.1f}",
                f"{row.before:.5g}",
                f"{row.after:.5g}",
                f"{row.difference:+.4f}",
                f"{row.fwhm_before:.2f}",
                f"{row.fwhm_after:.2f}",
            )
        )
        + "</tr>"
        for row in rows
    ]
    return (
        f"<p>{len(rows)} isolated stars, circles of radius {2 * fwhm:.1f} pixels of the image "
        f"before with a local annulus: median Δ {told.difference:+.4f} mag, scatter "
        f"{told.scatter:.4f} mag. FWHM is twice the half-flux radius, in pixels of the image "
        f"before: median {told.fwhm_before:.2f} before, {told.fwhm_after:.2f} after."
        "</p><table class='stars'><tr>"
        + "".join(f"<th>{escape(name)}</th>" for name in head)
        + "</tr>"
        + "\n".join(cells)
        + "</table>"
    )
