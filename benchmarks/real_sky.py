"""The verbs on the real sky: results from poorer data held against better data of the same field.

``python -m benchmarks.real_sky --data FOLDER --out results`` writes real_sky.md, real_sky.json and
PNG cut-outs. Which files it looks for is said in docs/science_validation.rst; pairs whose files
are not there are skipped, and that is told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from astro_sr_plugin.exceptions import AstroSRError, AstroSRWarning
from benchmarks.classical import bm3d_denoise
from benchmarks.crops import save_row
from benchmarks.sky_figures import Comparison
from benchmarks.sky_matching import Array, gaussian_psf
from benchmarks.sky_pairs import Pair, find_pairs
from benchmarks.tables import Row, markdown_table, plain

__all__ = ["METHODS", "compare", "main", "run_real_sky"]

METHODS = {
    "denoise": ("input", "ours", "wiener", "bm3d", "bm3d at 1.6 sigma"),
    "deconvolve": ("input", "ours", "wiener", "richardson-lucy"),
    "super-resolve": ("input", "bicubic", "ours", "wiener"),
}
"""What is run for each task; all but BM3D are models of one verb, and measure alike."""

_COLUMNS = {
    "correlation": ("r", ".4f"),
    "correlation_asinh": ("r, asinh", ".3f"),
    "k50": ("k at C = 0.5", ".3f"),
    "residual": ("residual", ".2f"),
    "gain_sky": ("sky error (dB)", ".1f"),
    "gain_source": ("source error (dB)", ".1f"),
    "db": ("dB", ".2f"),
    "stars": ("stars", ".0f"),
    "bias": ("bias (mag)", "+.3f"),
    "scatter": ("scatter (mag)", ".3f"),
    "complete_5_10": ("found, SNR 5-10", ".0%"),
    "complete_10": ("found, SNR > 10", ".0%"),
    "detections": ("shown", ".0f"),
    "invented": ("invented", ".0f"),
    "unsupported": ("unsupported", ".0f"),
    "excess": ("too bright", ".0f"),
}
_KNOWN = 0.03
_WINDOW = 150  # input pixels of a cut-out


class SkippedError(Exception):
    """A method cannot be run here; the message says why."""


def compare(pair: Pair, method: str) -> tuple[Comparison, str]:
    """Run a method on the poorer data of a pair.

    Parameters
    ----------
    pair : Pair
        The observations.
    method : str
        One of `METHODS` of the pair's task.

    Returns
    -------
    comparison : Comparison
        The result with the better data.
    note : str
        What the package warned of.

    Raises
    ------
    SkippedError
        If the method cannot be run.
    """
    if method == "input":
        repeated = pair.poorer.repeat(pair.scale, axis=0).repeat(pair.scale, axis=1)
        return _as_it_is(pair, repeated), ""
    if method.startswith("bm3d"):
        level = 1.6 if "1.6" in method else 1.0
        return Comparison(pair, _bm3d(pair, level), pair.poorer_psf), ""
    model = None if method == "ours" else method
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, target = _enhanced(pair, model)
    told = [str(w.message) for w in caught if issubclass(w.category, AstroSRWarning)]
    note = "; ".join(dict.fromkeys(told))
    if method == "bicubic":
        return _as_it_is(pair, result), note
    psf = pair.poorer_psf if target is None else gaussian_psf(target)
    return Comparison(pair, result, psf), note


def _as_it_is(pair: Pair, image: Array) -> Comparison:
    """Compare an image that was not sharpened with what a sharpened one is compared with."""
    if pair.task == "denoise":
        return Comparison(pair, image, pair.poorer_psf)
    _, target = _enhanced(pair, "wiener")
    return Comparison(pair, image, None, claimed=gaussian_psf(target or 2.0))


def _enhanced(pair: Pair, model: str | None) -> tuple[Array, float | None]:
    """Return the compared plane of a verb's result, and its FWHM if it was sharpened."""
    from astropy.nddata import CCDData

    import astro_sr_plugin as asr

    verbs: dict[str, Callable[..., Any]] = {
        "denoise": asr.denoise,
        "deconvolve": asr.deconvolve,
        "super-resolve": asr.super_resolve,
    }
    options: dict[str, Any] = {"model": model}
    if pair.given_psf is not None:
        options["psf"] = pair.given_psf
    try:
        result = verbs[pair.task](CCDData(pair.image, unit="adu"), **options)
    except AstroSRError as error:
        raise SkippedError(str(error)) from error
    data = np.asarray(result.data, np.float64)
    data = data if pair.plane is None else data[pair.plane]
    # Pixels that were not finite come back so.
    data = np.where(np.isfinite(data), data, np.median(pair.poorer))
    return data, None if pair.task == "denoise" else float(result.meta["ASRFWHMO"])


def _bm3d(pair: Pair, level: float) -> Array:
    """Return BM3D of the plane, with the noise and gain that the package measures."""
    if find_spec("bm3d") is None:
        msg = "the bm3d package (non-commercial licence) is not installed"
        raise SkippedError(msg)
    import astro_sr_plugin as asr

    quality = asr.measure(pair.poorer)
    sky, gain = quality.background[0], quality.gain[0]
    image = pair.poorer - sky
    if gain is None:
        from bm3d import bm3d

        return np.asarray(bm3d(image, sigma_psd=level * pair.sigma)).squeeze() + sky
    poisson, sigma = level**2 / gain, level * pair.sigma
    return bm3d_denoise(image, image, poisson, sigma, correlated=False) + sky


def run_real_sky(
    data: str | Path, out: str | Path, *, only: str = "", peers: bool = True
) -> list[Row]:
    """Run every method on every pair that is there, and write the report.

    Parameters
    ----------
    data : path
        Folder with pairs/, stacks/ and psfs/.
    out : path
        Folder for real_sky.md, real_sky.json and crops/.
    only : str
        Part of the name of the pairs to run; all by default.
    peers : bool
        False: the package's own networks and the input alone.

    Returns
    -------
    list of Row
        One per pair and method.
    """
    folder = Path(out)
    missing: list[str] = []

    def say(text: str) -> None:
        _say(text)
        missing.append(text)

    rows: list[Row] = []
    pairs: dict[str, dict[str, str]] = {}
    for pair in find_pairs(data, say, only=only):
        pairs[pair.name] = {"task": pair.task, "what": pair.what, "note": pair.note}
        _say(f"{pair.name}: {pair.note}")
        shown: list[tuple[str, Comparison]] = []
        for method in METHODS[pair.task]:
            if not peers and method not in ("input", "ours"):
                continue
            start = time.perf_counter()
            try:
                comparison, note = compare(pair, method)
            except SkippedError as error:
                say(f"skipped {method} of {pair.name}: {error}")
                rows.append(Row(pair.task, pair.name, 0, method, {}, str(error)))
                continue
            figures = comparison.figures()
            rows.append(Row(pair.task, pair.name, 0, method, figures, note))
            shown.append((method, comparison))
            _say(_line(rows[-1], time.perf_counter() - start))
        _add_gains([row for row in rows if row.kind == pair.name])
        _save_crops(pair, shown, folder / "crops" / f"{pair.name}.png")
        _write(folder, rows, pairs, missing)
    if not rows:
        _write(folder, rows, pairs, missing)
    return rows


def _add_gains(rows: Sequence[Row]) -> None:
    """Add the gain over the input of the error that is freed of the better data's noise."""
    before = next((row.figures for row in rows if row.method == "input"), {})
    for row in rows:
        for where in ("sky", "source"):
            old, new = before.get(f"mse_{where}"), row.figures.get(f"mse_{where}")
            if old is None or new is None:
                continue
            # Less cannot be told: the variance of the better data is known to some percent.
            new = max(new, _KNOWN * row.figures["floor"] ** 2)
            row.figures[f"gain_{where}"] = float(10 * np.log10(old / new)) if old > 0 else np.nan


def _save_crops(pair: Pair, shown: Sequence[tuple[str, Comparison]], path: Path) -> None:
    """Save the window with most structure: the poorer data, the results, the better data."""
    wanted = [s for s in shown if s[0] != "input"]
    if not wanted:
        return
    scale, side = pair.scale, min(_WINDOW, *pair.poorer.shape)
    row, column = _busiest(pair, side)
    cuts = []
    for label, image in [
        ("poorer data", pair.poorer),
        *((method, comparison.result) for method, comparison in wanted),
        ("better data", wanted[0][1].seen[1] + wanted[0][1].level),
    ]:
        factor = scale if image.shape == pair.better.shape else 1
        y, x = row * factor, column * factor
        cut = image[y : y + side * factor, x : x + side * factor]
        cuts.append((label, cut - wanted[0][1].level))
    save_row(cuts, pair.sigma, path)


def _busiest(pair: Pair, side: int) -> tuple[int, int]:
    bright = np.arcsinh((pair.reference - np.median(pair.reference)) / (3 * pair.sigma))
    bright[pair.mask] = 0.0
    mean = ndimage.uniform_filter(bright, side, mode="nearest")
    variance = ndimage.uniform_filter(bright**2, side, mode="nearest") - mean**2
    ny, nx = bright.shape
    half = side // 2
    inner = variance[half : ny - side + half + 1, half : nx - side + half + 1]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row), int(column)


def _line(row: Row, seconds: float) -> str:
    f = row.figures
    text = f"r {f['correlation']:.4f}  k50 {f['k50']:.3f}  residual {f['residual']:.2f}"
    text += f"  {f['db']:.2f} dB  bias {f['bias']:+.3f}  scatter {f['scatter']:.3f}"
    text += f"  found {f['complete_5_10']:.0%} {f['complete_10']:.0%}"
    text += f"  invented {f['invented']:.0f} of {f['detections']:.0f}"
    return f"{row.kind} {row.method:30s} {text}  {seconds:.1f} s {row.note}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(
    folder: Path, rows: Sequence[Row], pairs: dict[str, dict[str, str]], missing: Sequence[str]
) -> None:
    parts = ["# Real data against better data"]
    parts += [f"- {text}" for text in missing]
    for name, about in pairs.items():
        own = [row for row in rows if row.kind == name]
        parts += [f"## {name}", about["what"] + f" ({about['note']}).", _before(own), _table(own)]
        parts += [f"- {r.method}: {r.note}" for r in own if r.note]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "real_sky.md").write_text("\n\n".join(parts) + "\n")
    record = {"pairs": pairs, "missing": missing, "rows": [row._asdict() for row in rows]}
    (folder / "real_sky.json").write_text(json.dumps(plain(record), indent=1, allow_nan=False))


def _before(rows: Sequence[Row]) -> str:
    """Say what the poorer data themselves show, and how good the better data are."""
    figures = next((row.figures for row in rows if row.figures), None)
    if figures is None:
        return "Nothing could be run."
    text = (
        f"The better data have a noise of {figures['floor']:.2f} sigma of the poorer ones', and"
        f" show {figures['sources_5_10']:.0f} + {figures['sources_10']:.0f} sources that have an"
        " SNR of 5 to 10, and of more, in these. A matched filter on the poorer data finds"
        f" {figures['input_detections']:.0f}, {figures['input_invented']:.0f} of them without a"
        " counterpart."
    )
    if figures["input_stars"]:
        text += (
            f" Aperture magnitudes of {figures['input_stars']:.0f} bright isolated sources on the"
            f" poorer data: bias {figures['input_bias']:+.3f}, scatter"
            f" {figures['input_scatter']:.3f}."
        )
    return text


def _table(rows: Sequence[Row]) -> str:
    used = [
        name for name in _COLUMNS if any(np.isfinite(row.figures.get(name, np.nan)) for row in rows)
    ]
    lines = [
        [row.method, *(_text(row.figures.get(name, np.nan), _COLUMNS[name][1]) for name in used)]
        for row in rows
    ]
    return markdown_table(["method", *(_COLUMNS[name][0] for name in used)], lines)


def _text(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "–"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_sky", description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="with pairs/, stacks/")
    parser.add_argument("--only", default="", metavar="WORD", help="part of the names to run")
    parser.add_argument("--no-peers", action="store_true", help="run only our verbs")
    parser.add_argument("--out", default="benchmarks/results/real_sky", metavar="DIR")
    options = parser.parse_args(arguments)
    if not Path(options.data).is_dir():
        parser.error(f"--data {options.data} is not a folder")
    run_real_sky(options.data, options.out, only=options.only, peers=not options.no_peers)
    print((Path(options.out) / "real_sky.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
