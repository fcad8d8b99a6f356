"""Sharpen the frames of one filter in a loop of ccdproc's ImageFileCollection."""

from __future__ import annotations

from pathlib import Path

from ccdproc import ImageFileCollection
from frames import make_frames

import astro_sr_plugin as asr

folder = Path("sharp")
folder.mkdir(exist_ok=True)

collection = ImageFileCollection(make_frames(), glob_include="*.fits")
for ccd, name in collection.ccds(filter="r", return_fname=True):
    sharp = asr.deconvolve(ccd)
    asr.write_image(sharp, folder / name, overwrite=True)
    print(name, f"{sharp.meta['ASRFWHMI']:.2f} -> {sharp.meta['ASRFWHMO']:.2f} px", sharp.unit)

# The results are a collection themselves, and the header says what was done.
done = ImageFileCollection(folder, keywords=["object", "filter", "asrtask", "asrmodel", "asrfwhmo"])
print(done.summary)
assert list(done.summary["asrtask"]) == ["deconvolve"] * 4
