"""Lists of stars are matched where they show the same sky, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from astro_sr_plugin import InputError, match_stars
from tests.registration.conftest import as_table

SHAPE = (1500, 2000)
NOISE = 0.05
"""Error of the places in pixels."""


def two_lists(
    seed: int,
    *,
    stars: int = 300,
    angle: float = 7.0,
    scale: float = 1.0,
    mirror: bool = False,
    overlap: float = 1.0,
    spurious: int = 0,
    kept: float = 1.0,
    scatter: float = 0.0,
):
    """Return two lists of one sky and the function that takes places of the first to the second.

    The second frame is turned about its middle and moved along x. `spurious` sources are added to
    both, `kept` of the stars are seen in each, with magnitudes that differ by `scatter`.
    """
    rng = np.random.default_rng(seed)
    side = np.array([SHAPE[1], SHAPE[0]])
    few = stars < 10
    sky = rng.uniform(0.2 if few else -1, 0.8 if few else 2, (stars * (1 if few else 9), 2)) * side
    flux = 10 ** rng.uniform(2, 5, len(sky))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn, middle = scale * np.array([[c, -s], [s, c]]), side / 2
    flip = np.array([1, -1 if mirror else 1])
    move = np.array([(1 - overlap) * SHAPE[1], 0])

    def see(places):
        seen = ((places > 0) & (places < side)).all(axis=1) & (rng.random(len(places)) < kept)
        light = flux[seen] * 10 ** (0.4 * rng.normal(0, scatter, seen.sum()))
        extra = rng.uniform(0, 1, (spurious, 2)) * side
        listed = np.concatenate([places[seen] + rng.normal(0, NOISE, (seen.sum(), 2)), extra])
        return as_table(listed, np.append(light, 10 ** rng.uniform(2, 5, spurious)), SHAPE)

    def to_second(places):
        return ((places - middle) * flip) @ turn.T + middle + move

    return see(to_second(sky)), see(sky), to_second


CASES = {
    "turned a little": {},
    "turned over": {"angle": 181.0},
    "mirrored": {"mirror": True, "angle": 133.0},
    "half the scale": {"scale": 0.5},
    "twice the scale": {"scale": 2.0, "angle": -71.0},
    "30 % overlap": {"stars": 600, "overlap": 0.3},
    "50 stars and 50 spurious": {"stars": 50, "spurious": 50, "kept": 0.8},
    "other magnitudes": {"scatter": 0.5, "kept": 0.8},
    "8 stars": {"stars": 8, "angle": 63.0},
    "5 stars": {"stars": 5, "angle": -20.0},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_transform_is_found(case, seed):
    image, reference, to_second = two_lists(seed, **case)
    found = match_stars(image, reference)
    assert not found.reason
    transform = found.fit()
    assert transform.mirrored == case.get("mirror", False)
    places = np.column_stack([reference["x"], reference["y"]])[found.reference]
    x, y = transform.to_image(*places.T)
    # Four stars fix a similarity to about the error of one of them, on each star.
    assert np.hypot(*(np.column_stack([x, y]) - to_second(places)).T).max() < 5 * NOISE
    assert found.probability < 1e-3


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("clustered", [False, True])
def test_unrelated_fields_are_refused(seed, clustered):
    rng = np.random.default_rng(100 + seed)
    stars = int(rng.integers(10, 300))

    def field():
        places = rng.uniform(0, 1, (stars, 2)) * [SHAPE[1], SHAPE[0]]
        if clustered:
            # Most of the stars in some clusters, as wide as those that an image resolves.
            middles = places[rng.integers(0, 4, stars)]
            places = middles + rng.normal(0, rng.uniform(15, 90), (stars, 2))
        return as_table(places, 10 ** rng.uniform(2, 5, stars), SHAPE)

    found = match_stars(field(), field())
    assert "better than chance" in found.reason
    assert len(found) == 0
    with pytest.raises(InputError, match="better than chance"):
        found.fit()


def test_hot_pixels_do_not_hold_the_frame():
    image, reference, _ = two_lists(3, stars=60, angle=0.0)
    image["x"] += 9.3
    image["y"] -= 4.1
    spots = np.random.default_rng(5).uniform(10, 1490, (80, 2))
    hot = as_table(spots, np.full(80, 1e5), SHAPE)
    lists = [
        Table({name: np.concatenate([t[name], hot[name]]) for name in t.colnames}, meta=t.meta)
        for t in (image, reference)
    ]
    dx, dy = match_stars(*lists).fit().shift
    assert (dx, dy) == pytest.approx((-9.3, 4.1), abs=NOISE)


def test_four_stars_are_too_few_unless_world_coordinates_say_where():
    image, reference, _ = two_lists(1, stars=4, angle=0.0)
    assert "4 stars; 5 are needed" in match_stars(image, reference).reason
    prior = match_stars(*two_lists(2, stars=50, angle=0.0)[:2]).fit()
    image["x"] += 20
    found = match_stars(image, reference, prior=prior)
    assert len(found) == 4
    assert found.fit().shift == pytest.approx((-20, 0), abs=0.2)


def test_tables_of_photutils_serve():
    image, reference, _ = two_lists(1, stars=40)
    for table in (image, reference):
        table.rename_columns(["x", "y"], ["x_centroid", "y_centroid"])
    assert len(match_stars(image, reference)) > 20


def test_the_order_of_a_list_does_not_matter():
    image, reference, _ = two_lists(4, stars=100)
    first = match_stars(image, reference).fit()
    second = match_stars(image[::-1], reference[::-1]).fit()
    assert first.matrix.tobytes() == second.matrix.tobytes()


def test_what_cannot_be_matched_is_said():
    table = Table({"x": [1.0], "y": [2.0]})
    with pytest.raises(InputError, match="needed are x and y"):
        match_stars(Table({"ra": [1.0]}), table)
    with pytest.raises(InputError, match=r"scale=\(2, 1\)"):
        match_stars(table, table, scale=(2, 1))
    assert "the image shows 1 star;" in match_stars(table, table).reason
