"""Make a few small frames for the other examples: overlapping pieces of the sample image."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from astropy.nddata import CCDData

import astro_sr_plugin as asr

SIZE, STEP = 180, 140


def make_frames(folder: str | Path = "frames") -> Path:
    """Write four frames of 180 x 180 pixels, each with its own world coordinates."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    sample = asr.read_image(str(files("astro_sr_plugin") / "data/samples/abell671_crop.fits"))
    for number in range(4):
        y, x = 180 + STEP * (number // 2), 180 + STEP * (number % 2)
        piece = CCDData(
            sample.data[y : y + SIZE, x : x + SIZE],
            unit=sample.unit,
            wcs=sample.wcs[y : y + SIZE, x : x + SIZE],
            meta={"OBJECT": "Abell 671", "FILTER": "r", "BUNIT": "adu"},
        )
        asr.write_image(piece, folder / f"frame_{number + 1}.fits", overwrite=True)
    return folder


if __name__ == "__main__":
    print(make_frames())
