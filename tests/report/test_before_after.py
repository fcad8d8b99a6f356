"""The picture and the page of before and after, on fields whose content is known."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from PIL import Image
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.exceptions import InputError, OutputError
from astro_sr_plugin.measurement.measuring import measure
from astro_sr_plugin.report.charts import Curve, line_chart
from astro_sr_plugin.report.crops import Crop, choose_crops
from astro_sr_plugin.report.display import Display, block_mean, make_display
from astro_sr_plugin.report.figures import spectra
from astro_sr_plugin.report.page import write_before_after_html
from astro_sr_plugin.report.picture import crop_panels, frame_panels, write_before_after_png
from astro_sr_plugin.report.psf import make_psf_panels, write_psf_png
from astro_sr_plugin.stretch import AsinhStretch
from astro_sr_plugin.validation.comparing import Comparison, compare
from astro_sr_plugin.validation.pair import pair_images

SHAPE = (240, 320)
STARS = [(40.3, 50.1), (100.2, 60.7), (160.5, 40.4), (60.1, 150.3), (130.8, 120.2), (30, 200),
         (100, 195)]  # fmt: skip
FLUXES = [3000, 2800, 2600, 2400, 2200, 2000, 1800]


def draw(scale=1, fwhm=3.0):
    y, x = (np.mgrid[: SHAPE[0] * scale, : SHAPE[1] * scale] + 0.5) / scale - 0.5
    s = fwhm / 2.35482
    image = np.zeros(y.shape)
    for (px, py), flux in zip(STARS, FLUXES, strict=True):
        shape = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * s * s))
        image += flux / (2 * np.pi * s * s) * shape
    return image


@pytest.fixture(scope="module")
def field():
    """Stars at the left, filaments at the right, 5 units of noise on a sky of 1000."""
    rng = np.random.default_rng(11)
    image = 1000.0 + draw() + 5.0 * rng.standard_normal(SHAPE)
    texture = gaussian_filter(rng.standard_normal(SHAPE), 3.0)
    image[140:220, 200:300] += 400.0 * np.abs(texture[140:220, 200:300])
    return image.astype(np.float32)


def show(before, after, stretch="mtf") -> Display:
    return make_display(pair_images(before, after), stretch)


@pytest.fixture(scope="module")
def same(field) -> Comparison:
    """The field compared with itself."""
    return compare(field, field)


def test_picture(field, tmp_path):
    image = field.copy()
    image.flags.writeable = False
    path = write_before_after_png(compare(image, gaussian_filter(image, 1.0)), tmp_path / "a.png")
    assert path == tmp_path / "a.png"
    shown = np.asarray(Image.open(path))
    assert shown.ndim == 3
    # Two frames of 640 x 480 beside each other, and the row of crops under them.
    assert shown.shape[1] >= 2 * 640
    assert shown.shape[0] >= 480 + 256
    assert not list(tmp_path.glob(".*"))
    np.testing.assert_array_equal(image, field)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_equal_skies_look_equal_at_any_scale(field, scale):
    large = np.repeat(np.repeat(field, scale, axis=0), scale, axis=1)
    pair = show(field, large)
    assert pair.scale == scale
    for width in (700, 100, 250):
        first, second, zoom = frame_panels(pair, width)
        assert first.shape == second.shape
        assert first.shape[1] == pytest.approx(SHAPE[1] * zoom, abs=1)
        assert np.abs(first.astype(int) - second).max() <= 1
    before, after = crop_panels(pair, Crop("", 20, 30, 40), 256)
    np.testing.assert_array_equal(before, after)
    assert before.shape[0] % 40 == 0


def test_stretch_is_fitted_to_before_alone(field):
    pair = show(field, 0.5 * field)
    first, second, _ = frame_panels(pair, 320)
    assert np.median(first) == pytest.approx(0.25 * 255, abs=3)
    assert np.median(second) == 0
    fixed = AsinhStretch(black=900.0, white=2000.0, softening=50.0)
    assert show(field, field, fixed).stretch is fixed


def test_row_zero_is_at_the_bottom_and_colours_stay_in_order():
    colour = np.full((3, 60, 80), 10.0) + np.random.default_rng(0).normal(0, 1, (3, 60, 80))
    colour[0, :10] += 500.0
    colour[2, :, :10] += 500.0
    pair = show(colour, colour)
    shown, _, zoom = frame_panels(pair, 80)
    assert shown.shape == (60, 80, 3)
    assert zoom == 1
    assert shown[-5, 40, 0] > 230
    assert shown[-5, 40, 1:].max() < 150
    assert shown[5, 5, 2] > 230
    assert shown[5, 40].max() < 150


def test_colour_and_cubes_and_nan(field, tmp_path):
    colour = np.stack([field, 1.5 * field, 0.7 * field])
    colour[:, 100:110, 100:110] = np.nan
    before = CCDData(colour.astype(">f4"), unit="adu", mask=~np.isfinite(colour))
    found = compare(before, colour)
    write_before_after_png(found, tmp_path / "c.png", stretch="ghs")
    write_before_after_html(found, tmp_path / "c.html")
    cube = np.stack([field, field])
    assert show(cube, cube).before.ndim == 2
    pair = show(before, colour)
    assert (frame_panels(pair, 320)[0][130:140, 100:110] == 0).all()


def test_files_can_be_compared(field, tmp_path):
    fits.writeto(tmp_path / "b.fits", field)
    found = compare(tmp_path / "b.fits", str(tmp_path / "b.fits"), hdu=0)
    path = write_before_after_png(found, tmp_path / "f.png")
    assert path.stat().st_size > 10000


def test_large_frames_are_averaged_ignoring_nan():
    image = np.arange(70.0).reshape(7, 10)
    image[0, 0] = np.nan
    image[2:4, 2:4] = np.nan
    small = block_mean(image, 2)
    assert small.shape == (3, 5)
    assert small[0, 0] == pytest.approx(np.mean([1, 10, 11]))
    assert np.isnan(small[1, 1])
    assert small[2, 4] == pytest.approx(np.mean([48, 49, 58, 59]))
    counts = np.arange(70).reshape(7, 10).astype(">i2")
    np.testing.assert_array_equal(block_mean(counts, 1), counts)


def test_chosen_places(field, same):
    assert same.n_stars >= 5
    assert same.fwhm_before == pytest.approx(3.0, rel=0.15)
    for star in same.stars[:5]:
        assert min(np.hypot(star.x - px, star.y - py) for px, py in STARS) < 0.3
    crops = choose_crops(make_display(same.pair), same.stars, 40)
    assert [crop.name for crop in crops] == ["bright star", "structure", "faint"]
    star, structure, faint = crops
    assert any(abs(star.x0 + 19.5 - x) < 3 and abs(star.y0 + 19.5 - y) < 3 for x, y in STARS[:3])
    assert structure.x0 >= 180
    assert structure.y0 >= 120
    piece = field[faint.y0 : faint.y0 + 40, faint.x0 : faint.x0 + 40]
    assert piece.max() < 1060


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_nothing_to_see(value, tmp_path):
    flat = compare(np.full((50, 60), value), np.full((50, 60), value))
    assert write_before_after_png(flat, tmp_path / "flat.png").exists()
    text = write_before_after_html(flat, tmp_path / "flat.html").read_text(encoding="utf-8")
    assert "No isolated" in text
    tiny = compare(np.arange(12.0).reshape(3, 4), np.arange(12.0).reshape(3, 4))
    assert write_before_after_png(tiny, tmp_path / "tiny.png").exists()
    assert write_before_after_html(tiny, tmp_path / "tiny.html").exists()


def test_bad_arguments(field, same, tmp_path):
    target = tmp_path / "x.png"
    with pytest.raises(InputError, match="same whole factor"):
        compare(field, field[:100])
    with pytest.raises(InputError, match="same whole factor"):
        compare(field, np.stack([field] * 3))
    with pytest.raises(InputError, match="one of"):
        write_before_after_png(same, target, stretch="sqrt")
    with pytest.raises(InputError, match="crop_size"):
        write_before_after_png(same, target, crop_size=2)
    with pytest.raises(InputError, match="at most 6"):
        write_before_after_png(same, target, crops=[(9, 9)] * 7)
    with pytest.raises(InputError, match="must lie in the image"):
        write_before_after_png(same, target, crops=[(9, 900)])
    with pytest.raises(OutputError, match="does not exist"):
        write_before_after_png(same, tmp_path / "no" / "x.png")
    target.write_bytes(b"kept")
    with pytest.raises(OutputError, match="exists already"):
        write_before_after_png(same, target, overwrite=False)
    assert target.read_bytes() == b"kept"
    write_before_after_png(same, target, crops=[(0, 0), (319, 239)])
    assert target.stat().st_size > 1000


# --- The page -----------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values[key] for key in ("href", "data", "action") if key in values]
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_alone(field, tmp_path):
    header = fits.Header([("ASRTASK", "super_resolve"), ("ASRSCALE", 2)])
    large = CCDData(np.repeat(np.repeat(field, 2, axis=0), 2, axis=1), unit="adu", meta=header)
    path = write_before_after_html(
        compare(field, large), tmp_path / "p.html", labels=("stack", "x2 <b>"), title="A & B"
    )
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.links == []
    assert not re.search(r"https?://|@import|url\(", text)
    # The frames, three crops, and the PSF with two pictures of residuals.
    assert len(page.sources) == 2 + 2 * 3 + 3
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size[0] > 100
    assert "A &amp; B" in text
    assert "x2 &lt;b&gt;" in text
    assert "<b>" not in text
    assert "super_resolve" in text
    assert text.count("<svg") == 2
    assert "$" not in re.sub(r"<script>.*</script>", "", text, flags=re.S)


def test_psf_and_residuals_are_drawn(tmp_path):
    rng = np.random.default_rng(3)
    image = draw(fwhm=3.4) + rng.standard_normal(SHAPE)
    # Each star has a fainter companion to its right.
    image += 0.3 * np.roll(draw(fwhm=3.4), 3, axis=1)
    planes = measure(np.stack([image, image + rng.standard_normal(SHAPE)])).planes
    first = make_psf_panels(planes[0])
    assert [panel.title.split(":")[0] for panel in first] == [
        "PSF",
        "7 stars - PSF",
        "7 stars - Moffat",
    ]
    psf, left, left_by_profile = (panel.pixels.astype(int) for panel in first)
    middle = psf.shape[0] // 2
    assert psf[middle, middle].min() >= 250
    # Red over blue: light that the Moffat profile does not have, at the companion's side.
    excess = left_by_profile[..., 0] - left_by_profile[..., 2]
    assert excess[:, middle:].max() > 100
    assert np.abs(left[..., 0] - left[..., 2]).max() < excess.max()
    path = write_psf_png(planes, tmp_path / "psf.png")
    with Image.open(path) as picture:
        assert picture.size[1] > 2 * psf.shape[0]
    with pytest.raises(OutputError, match="exists already"):
        write_psf_png(planes, path)


def test_a_field_without_stars_has_no_psf_to_draw(tmp_path):
    planes = measure(np.random.default_rng(4).standard_normal((64, 64))).planes
    with pytest.raises(InputError, match="shows no star"):
        write_psf_png(planes, tmp_path / "psf.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1, 2])
def test_photometry_of_a_sharper_and_fainter_image(scale):
    rng = np.random.default_rng(12)
    before = 50.0 + draw(fwhm=3.4) + rng.standard_normal(SHAPE)
    after = 0.9 * draw(scale, fwhm=2.4)
    found = compare(before, after, target_fwhm=2.4 * scale)
    assert found.n_stars >= 4
    assert found.psf_matched
    assert found.magnitude_difference == pytest.approx(-2.5 * np.log10(0.9), abs=0.02)
    assert found.fwhm_before == pytest.approx(3.4, rel=0.1)
    assert found.fwhm_after == pytest.approx(2.4, rel=0.12)


def test_total_flux_and_spectra_do_not_depend_on_the_sampling(field):
    large = np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)
    pair = pair_images(field, 1.01 * large)
    assert pair.flux_ratio() == pytest.approx(1.01, rel=1e-6)
    first, second = spectra(make_display(pair), ("a", "b"))
    low = first.x < 0.05
    there = np.interp(first.x[low], second.x, second.y)
    np.testing.assert_allclose(there, first.y[low], rtol=0.2)


def test_chart_leaves_out_what_cannot_be_drawn():
    x = np.array([0.0, 1.0, 2.0, np.nan, 4.0])
    y = np.array([1.0, 0.0, 100.0, 5.0, np.inf])
    text = line_chart([Curve("a<b", "#fff", x, y)], x_label="x", y_label="y", log_y=True)
    points = re.search(r'points="([^"]*)"', text).group(1).split()
    assert len(points) == 2
    assert "a&lt;b" in text
    assert "nan" not in text
    none = line_chart([Curve("a", "#fff", x, y * np.nan)], x_label="x", y_label="y")
    assert "nothing to draw" in none
