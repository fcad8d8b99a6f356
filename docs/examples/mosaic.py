"""Double the pixels of four overlapping frames, and join them with reproject."""

from __future__ import annotations

import numpy as np
from frames import make_frames
from reproject import reproject_interp
from reproject.mosaicking import find_optimal_celestial_wcs, reproject_and_coadd

import astro_sr_plugin as asr

paths = sorted(make_frames().glob("*.fits"))
frames = [asr.read_image(path) for path in paths]
large = [asr.super_resolve(frame) for frame in frames]


def join(images: list) -> tuple:
    """Return the mosaic, how many images cover each pixel, and its world coordinates."""
    inputs = [(image.data, image.wcs) for image in images]
    wcs, shape = find_optimal_celestial_wcs(inputs)
    mosaic, cover = reproject_and_coadd(
        inputs, wcs, shape_out=shape, reproject_function=reproject_interp
    )
    return mosaic, cover, wcs


before, _, _ = join(frames)
after, cover, wcs = join(large)
print(f"{before.shape} -> {after.shape}")

# World coordinates and surface brightness are right: the mosaic of the large frames, put on the
# pixels of a small one, has its values.
back, footprint = reproject_interp((after, wcs), frames[0].wcs, shape_out=frames[0].shape)
inside = footprint > 0
noise = asr.measure(frames[0]).sigma[0]
difference = np.median((back - frames[0].data)[inside]) / noise
print(f"median difference: {difference:+.3f} noise sigma")
assert abs(difference) < 0.2
assert abs(after.shape[0] - 2 * before.shape[0]) <= 2

mosaic = large[0].__class__(after.astype(np.float32), wcs=wcs, unit=frames[0].unit)
mosaic.mask = cover == 0
asr.write_image(mosaic, "mosaic.fits", overwrite=True)
