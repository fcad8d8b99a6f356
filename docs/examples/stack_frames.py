"""Stack simulated frames, and continue with astropy and ccdproc."""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from ccdproc import trim_image

import astro_sr_plugin as asr

# Frames of 1 minute of the same 40 stars, dithered, with a satellite in one of them.
rng = np.random.default_rng(1)
y, x = np.mgrid[:200, :240]
stars = np.column_stack([rng.uniform(20, 220, 40), rng.uniform(20, 180, 40)])
flux = np.exp(rng.uniform(7, 10, 40))
frames = []
for shift in rng.uniform(-5, 5, (6, 2)):
    image = rng.normal(100, 5, y.shape)
    for (x0, y0), light in zip(stars + shift, flux, strict=True):
        image += light / 10.2 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 3.25)
    frames.append(CCDData(image, unit="adu", meta={"EXPTIME": 60.0, "FILTER": "L"}))
frames[2].data[np.abs(y - x / 2 - 40) < 1] += 200

result = asr.stack(frames)
result.table["frame", "weight", "fwhm", "shift_x", "shift_y"].pprint()
print(f"{result.image.meta['LIVETIME']:g} s, {int(result.rejected_high.sum())} values rejected")

result.write("stack.fits", overwrite=True)
middle = trim_image(asr.read_image("stack.fits")[20:180, 20:220])
print(f"noise {np.std(middle.data[middle.data < 115]) * u.adu:.2f} of a pixel")
