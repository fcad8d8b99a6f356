from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.inference.tiling import make_tiles, pick, reflect_indices


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (256, 256), (513, 129), (1000, 1001)])
@pytest.mark.parametrize("tile_size", [16, 100, 256, 4096])
def test_every_pixel_belongs_to_one_tile(shape, tile_size):
    count = np.zeros(shape, int)
    for tile in make_tiles(shape, tile_size=tile_size, halo=13, multiple_of=8):
        count[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
        assert tile.y0 % 8 == tile.x0 % 8 == tile.height % 8 == tile.width % 8 == 0
        assert tile.halo == 16
        assert tile.rows == (tile.y0 - 16, tile.y0 + tile.height + 16)
        assert tile.y1 - tile.y0 <= tile.height
        assert tile.x1 - tile.x0 <= tile.width
    assert (count == 1).all()


def test_tiles_of_a_row_follow_each_other():
    tiles = make_tiles((100, 100), tile_size=32, halo=0, multiple_of=8)
    assert [t.x0 for t in tiles if t.y0 == 0] == [0, 32, 64, 96]
    assert tiles == sorted(tiles, key=lambda t: (t.y0, t.x0))


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_reflection_equals_numpy_padding(length):
    axis = np.arange(length)
    padded = np.pad(axis, 20, mode="reflect") if length > 1 else np.zeros(41, int)
    np.testing.assert_array_equal(axis[reflect_indices(-20, length + 20, length)], padded)


@pytest.mark.parametrize("rows", [(2, 7), (-3, 4), (5, 14)])
@pytest.mark.parametrize("columns", [(0, 12), (-5, 20)])
def test_picked_pixels_are_those_of_the_indices(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image = np.arange(120).reshape(10, 12)
    y, x = reflect_indices(*rows, 10), reflect_indices(*columns, 12)
    np.testing.assert_array_equal(pick(image, y, x), image[np.ix_(y, x)])
