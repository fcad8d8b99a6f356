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
# pixels of a small one, holds its light, and fits best where it is.
small = frames[0].data
back, footprint = reproject_interp((after, wcs), frames[0].wcs, shape_out=small.shape)
inside = footprint > 0
light = back[inside].sum() / small[inside].sum()
inner = (slice(20, -20), slice(20, -20))
fits = {
    (y, x): np.corrcoef(np.roll(back, (y, x), (0, 1))[inner].flat, small[inner].flat)[0, 1]
    for y in (-1, 0, 1)
    for x in (-1, 0, 1)
}
print(f"light x {light:.4f}; correlation {fits[0, 0]:.3f}")
assert abs(light - 1) < 0.01
assert max(fits, key=fits.__getitem__) == (0, 0)
assert abs(after.shape[0] - 2 * before.shape[0]) <= 2

mosaic = large[0].__class__(after.astype(np.float32), wcs=wcs, unit=frames[0].unit)
mosaic.mask = cover == 0
asr.write_image(mosaic, "mosaic.fits", overwrite=True)
