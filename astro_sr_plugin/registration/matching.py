"""Which stars of two lists are the same, by triangles, and whether that can be chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.special import gammainc

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.registration.fitting import Pairs, fit_transform
from astro_sr_plugin.registration.star_table import Stars, read_stars
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.registration.triangles import compare_triangles

__all__ = ["Match", "match_stars"]

_BRIGHTEST = (30, 80)
"""Stars of each list that triangles are made of, and of how many where these leave a doubt."""
_CHECKED = 400
"""Stars of each list on which a hypothesis is checked."""
_HYPOTHESES = 300
"""Hypotheses that are checked, those that most others agree with first."""
_REACH = 4.0
"""Distance in pixels within which a hypothesis of three stars may miss the others."""
_NEAR = 1.0
"""Distance in pixels within which stars are the same, at the least."""
_NEAR_FWHM = 0.25
"""That distance in FWHM: centroids of faint stars are as uncertain."""
_RING = (3.0, 6.0)
"""Radii, in units of that distance, of the ring that shows how many stars lie near by chance."""
_CHANCE = 1e-3
"""Largest probability, over all hypotheses, that the pairs agree by chance."""
_SURE = 1e-12
"""Probability from which no further hypothesis is looked at."""
_FEWEST = 5
"""Fewest pairs: with four, no test is safe without knowing where the telescope pointed."""
_FEWEST_PRIOR = 3
"""Fewest pairs where the world coordinates say so already."""
_SHARE = 0.15
"""Fewest pairs as a fraction of the stars of the shorter list where the frames overlap: wrong
solutions have less than 0.07, true ones more than 0.4 (0.2 where half of the stars are none)."""
_FEWEST_AFFINE = 12
"""Pairs from which an affine transform is fitted while pairs are looked for."""
_ROUNDS = 3
"""Rounds in which pairs are collected anew; they stand still after two."""
_MORE = 1.02
"""Ratio by which a distortion must raise the number of pairs."""
_NOWHERE = -1e9
"""Coordinate of a star that has no place in the reference."""
_ANISOTROPY = 1.1
"""Largest ratio of the scales along two axes: that of a field near the horizon is 1.02."""
_SEARCH = 100.0
"""Distance in pixels by which world coordinates may be wrong."""
_FIXED_FEWEST = 6
"""Pairs beside those fixed on the detector that show that it moved."""
_MOST_SHARP = 0.5
"""Part of the pairs fixed on the detector, sharper than stars, beyond which the other ones have to
agree without them."""


@dataclass(frozen=True, eq=False)
class Match:
    """Stars of an image and of a reference that are the same.

    Attributes
    ----------
    image, reference : ndarray of int, shape (n,)
        Rows of the two tables.
    probability : float
        Probability that so many agree by chance, over all hypotheses; 1 if none was found.
    reason : str
        Why the lists could not be matched; empty if they were.
    pairs : Pairs
        The places of the stars.
    mirrored : bool
        Whether the image is the mirror image of the reference.
    shape, reference_shape : (int, int)
        Shapes (ny, nx) of the two images.

    Examples
    --------
    >>> from astropy.table import Table
    >>> import astro_sr_plugin as asr
    >>> two = Table({"x": [3.0, 50.0], "y": [9.0, 20.0]})
    >>> asr.match_stars(two, two).reason
    'the image shows 2 stars; 5 are needed'
    """

    image: NDArray[np.int64]
    reference: NDArray[np.int64]
    probability: float
    reason: str
    pairs: Pairs = field(repr=False)
    mirrored: bool
    shape: tuple[int, int]
    reference_shape: tuple[int, int]

    def __len__(self) -> int:
        return self.image.size

    def fit(self, model: str = "auto") -> Transform:
        """Fit a transform to the pairs.

        Parameters
        ----------
        model : str
            As in `find_transform`.

        Raises
        ------
        InputError
            If the lists were not matched, or the pairs are too few for the model.
        """
        if self.reason:
            raise InputError(self.reason)
        return fit_transform(
            self.pairs,
            self.shape,
            self.reference_shape,
            model=model,
            mirrored=self.mirrored,
            probability=self.probability,
        )


def match_stars(
    stars: Table,
    reference: Table,
    *,
    scale: tuple[float, float] = (0.4, 2.5),
    mirror: bool = True,
    prior: Transform | None = None,
) -> Match:
    """Find the stars that two lists have in common.

    Parameters
    ----------
    stars, reference : astropy.table.Table
        Stars of an image and of the reference: of `detect_stars`, of a star finder of photutils,
        or any table with columns ``x y`` (or ``xcentroid ycentroid``) in 0-based pixels. ``flux``
        says which are the brightest; ``snr`` and ``fwhm`` how good their places are.
    scale : (float, float)
        Least and largest number of pixels of the reference per pixel of the image.
    mirror : bool
        Whether the image may be a mirror image.
    prior : Transform, optional
        Where the stars lie to within 100 pixels, for example by world coordinates; three pairs
        can do then.

    Returns
    -------
    Match
        The pairs. Lists that have fewer than five stars in common (three with `prior`), or agree
        no better than chance, have none, and a ``reason``.

    Raises
    ------
    InputError
        If a table lacks columns, or the range of scales is empty.

    Notes
    -----
    Triangles of bright stars with their neighbours, described by the ratios of their sides (Groth
    1986, AJ 91, 1244; Valdes et al. 1995, PASP 107, 1119), propose similarities. A solution is
    accepted if more stars lie within a pixel (or a quarter of the FWHM) of their counterparts than
    those in a ring of 3 to 6 pixels explain: unrelated star clusters agree by chance more often
    than unrelated fields of uniform density. Where the stars that agree have not moved on the
    detector, they may be hot pixels: a solution of the other stars goes first, and if most of them
    are sharper than stars can be (flag 4 of `detect_stars`), the others have to agree too.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> import astro_sr_plugin as asr
    >>> x, y = np.random.default_rng(1).uniform(0, 500, (2, 40))
    >>> found = asr.match_stars(Table({"x": 500 - y, "y": x}), Table({"x": x, "y": y}))
    >>> len(found), f"{found.fit().rotation:.1f} degrees"
    (40, '-90.0 degrees')
    """
    low, high = scale
    if not 0 < low <= high:
        msg = f"scale={scale!r} is not allowed; it has to be (least, largest), both above 0"
        raise InputError(msg)
    ours, theirs = read_stars(stars, "stars"), read_stars(reference, "reference")
    fewest = _FEWEST if prior is None else _FEWEST_PRIOR
    for name, listed in (("the image", ours), ("the reference", theirs)):
        if len(listed) < fewest:
            count = f"{len(listed)} star{'' if len(listed) == 1 else 's'}"
            return _no_match(ours, theirs, f"{name} shows {count}; {fewest} are needed")
    search = _Search(ours, theirs)
    if prior is not None:
        found = search.near(prior)
    else:
        found = search.anywhere(scale, mirror)
        if found.pairs is not None and found.is_identity():
            found = _without_fixed(search, found, scale, mirror)
    if found.pairs is not None and found.is_identity() and search.is_sharp(*found.pairs):
        found = _without_sharp(search, found, scale, mirror)
    if found.pairs is None:
        return _no_match(ours, theirs, found.reason)
    image, counterpart = found.pairs
    return Match(
        ours.row[image],
        theirs.row[counterpart],
        found.probability,
        "",
        search.joined(image, counterpart),
        found.mirrored,
        ours.shape,
        theirs.shape,
    )


def _no_match(ours: Stars, theirs: Stars, reason: str) -> Match:
    rows, none = np.empty(0, dtype=np.int64), np.empty(0)
    pairs = Pairs(none, none, none, none, none)
    return Match(rows, rows, 1.0, reason, pairs, False, ours.shape, theirs.shape)


@dataclass(frozen=True, eq=False)
class _Found:
    """A solution: pairs of stars, or why there is none."""

    pairs: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    probability: float = 1.0
    reason: str = ""
    mirrored: bool = False
    transform: Transform | None = None

    def is_identity(self) -> bool:
        return self.transform is not None and self.transform.is_identity


def _without_fixed(
    search: _Search, found: _Found, scale: tuple[float, float], mirror: bool
) -> _Found:
    """Solve again without the stars that stand still on the detector, as hot pixels do."""
    assert found.pairs is not None
    kept = np.ones(len(search.ours), bool), np.ones(len(search.theirs), bool)
    for mask, indices in zip(kept, found.pairs, strict=True):
        mask[indices] = False
    if min(mask.sum() for mask in kept) < _FIXED_FEWEST:
        return found
    ours, theirs = np.flatnonzero(kept[0]), np.flatnonzero(kept[1])
    other = _Search(search.ours.take(ours), search.theirs.take(theirs)).anywhere(scale, mirror)
    if other.pairs is None or other.is_identity() or other.pairs[0].size < _FIXED_FEWEST:
        return found
    pairs = ours[other.pairs[0]], theirs[other.pairs[1]]
    return _Found(pairs, other.probability, "", other.mirrored, other.transform)


def _without_sharp(
    search: _Search, found: _Found, scale: tuple[float, float], mirror: bool
) -> _Found:
    """Keep a solution that stars fixed on the detector agree with, not only hot pixels."""
    stars = _Search(search.ours.take(~search.ours.sharp), search.theirs.take(~search.theirs.sharp))
    if min(len(stars.ours), len(stars.theirs)) >= _FEWEST:
        confirmed = stars.anywhere(scale, mirror)
        if confirmed.pairs is not None and confirmed.is_identity():
            return found
    return _Found(None, reason=_HOT)


class _Search:
    """Two lists of stars, brightest first, and solutions for them."""

    def __init__(self, ours: Stars, theirs: Stars) -> None:
        self.ours, self.theirs = ours, theirs
        self.tree = KDTree(theirs.places)
        fwhm = np.nanmedian(np.concatenate([theirs.fwhm, [0.0]])) if len(theirs) else 0.0
        self.near_radius = max(_NEAR, _NEAR_FWHM * float(fwhm))
        self.density = len(theirs) / theirs.extent

    def is_sharp(self, image: NDArray[Any], counterpart: NDArray[Any]) -> bool:
        """Whether most pairs are sharper than stars in both images."""
        both = self.ours.sharp[image] & self.theirs.sharp[counterpart]
        return bool(both.mean() > _MOST_SHARP)

    def joined(self, image: NDArray[Any], counterpart: NDArray[Any]) -> Pairs:
        """Pairs of stars by their indices."""
        ours, theirs = self.ours.take(image), self.theirs.take(counterpart)
        error = np.hypot(ours.error, theirs.error * _scale_of(ours.places, theirs.places))
        (x, y), (u, v) = ours.places.T, theirs.places.T
        return Pairs(x, y, u, v, error)

    def anywhere(self, scale: tuple[float, float], mirror: bool) -> _Found:
        """Find a solution by triangles."""
        best = _Found(None, reason=_DISAGREE)
        for count in _BRIGHTEST:
            found = self._by_triangles(count, scale, mirror)
            if found.probability < best.probability:
                best = found
            if best.probability < _SURE or max(len(self.ours), len(self.theirs)) <= count:
                break
        return best

    def _by_triangles(self, count: int, scale: tuple[float, float], mirror: bool) -> _Found:
        """Find a solution by the triangles of so many stars."""
        hypotheses = compare_triangles(
            self.ours.places[:count],
            self.theirs.places[:count],
            scale=scale,
            mirror=mirror,
            most=_HYPOTHESES,
        )
        z = self.ours.places[:_CHECKED] @ [1, 1j]
        tree = KDTree(self.theirs.places[:_CHECKED])
        best = _Found(None, reason=_DISAGREE)
        for a, b, mirrored in zip(*hypotheses[:3], strict=True):
            moved = a * (z.conj() if mirrored else z) + b
            places = np.column_stack([moved.real, moved.imag])
            image, counterpart = _mutual(tree, places, _REACH)
            # Most wrong hypotheses are seen at once: their three stars fit, and few others.
            if image.size < _FEWEST or self._chance(places, image.size, _REACH) > _CHANCE:
                continue
            found = self._refine((image, counterpart), bool(mirrored), hypotheses.tried, _FEWEST)
            if found.probability < best.probability:
                best = found
            if best.probability < _SURE:
                break
        return best

    def near(self, prior: Transform) -> _Found:
        """Find a solution near a given one, by the displacement that most stars have."""
        x, y = prior.to_reference(*self.ours.places.T)
        places = np.column_stack([x, y])
        usable = np.flatnonzero(np.isfinite(places).all(axis=1))
        near = self.tree.query_ball_point(places[usable], _SEARCH)
        image = np.repeat(usable, [len(others) for others in near])
        counterpart = np.array([star for others in near for star in others], dtype=np.int64)
        nothing = _Found(None, reason=_DISAGREE_PRIOR)
        if image.size < _FEWEST_PRIOR:
            return nothing
        moves = self.theirs.places[counterpart] - places[image]
        votes = KDTree(moves).query_ball_point(moves, 2 * self.near_radius, return_length=True)
        best = moves[np.argmax(votes)]
        radius = 2 * self.near_radius
        pairs = _mutual(self.tree, places + best, radius)
        # As many displacements as this one or smaller ones were as good.
        tried = (np.hypot(*best) / radius + 1) ** 2
        probability = self._chance(places + best, pairs[0].size, radius, fixed=1) * tried
        if pairs[0].size < _FEWEST_PRIOR or probability > _CHANCE:
            return nothing
        found = self._refine(pairs, prior.mirrored, 1, _FEWEST_PRIOR, probability)
        return found if found.pairs is not None else nothing

    def _inside(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        ny, nx = self.theirs.shape
        x, y = places.T
        return (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)

    def _refine(
        self,
        pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
        mirrored: bool,
        tried: int,
        fewest: int,
        probability: float | None = None,
    ) -> _Found:
        """Fit, collect the pairs of all stars anew, and say whether they can be chance.

        A probability that is known already is taken.
        """
        radius, near = 3 * self.near_radius, self.near_radius
        transform = self._fit(pairs, mirrored)
        for _ in range(_ROUNDS):
            pairs = _mutual(self.tree, self._moved(transform), radius)
            if pairs[0].size < fewest or not _is_even(transform):
                return _Found(None, reason=_DISAGREE)
            transform = self._fit(pairs, mirrored)
            radius = max(radius / 2, near)
        places = self._moved(transform)
        pairs = _mutual(self.tree, places, near)
        if probability is None:
            probability = self._chance(places, pairs[0].size, near) * max(tried, 1)
        if pairs[0].size < fewest or probability > _CHANCE:
            return _Found(None, reason=_DISAGREE)
        pairs, transform = self._extend(pairs, transform, mirrored)
        overlap = min(self._inside(self._moved(transform)).sum(), self._seen(transform))
        if pairs[0].size < _SHARE * overlap:
            return _Found(None, reason=_DISAGREE)
        return _Found(pairs, min(probability, 1.0), "", mirrored, transform)

    def _extend(
        self,
        pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
        transform: Transform,
        mirrored: bool,
    ) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], Transform]:
        """Collect pairs that a distorted field brings farther apart, from the solved part out."""
        for _ in range(_ROUNDS):
            wider = _mutual(self.tree, self._moved(transform), 3 * self.near_radius)
            if wider[0].size <= _MORE * pairs[0].size:
                break
            shapes = self.ours.shape, self.theirs.shape
            trial = fit_transform(self.joined(*wider), *shapes, mirrored=mirrored)
            found = _mutual(self.tree, self._moved(trial), self.near_radius)
            if found[0].size <= _MORE * pairs[0].size:
                break
            pairs, transform = found, trial
        return pairs, transform

    def _moved(self, transform: Transform) -> NDArray[np.float64]:
        """Places of our stars in the reference; far away where they have none."""
        places = np.column_stack(transform.to_reference(*self.ours.places.T))
        return np.where(np.isfinite(places), places, _NOWHERE)

    def _fit(self, pairs: tuple[NDArray[np.int64], NDArray[np.int64]], mirrored: bool) -> Transform:
        """Fit a transform good enough to find pairs by."""
        return fit_transform(
            self.joined(*pairs),
            self.ours.shape,
            self.theirs.shape,
            model="affine" if pairs[0].size >= _FEWEST_AFFINE else "similarity",
            mirrored=mirrored,
        )

    def _seen(self, transform: Transform) -> int:
        """Count the stars of the reference that lie in the image."""
        ny, nx = self.ours.shape
        x, y = transform.to_image(*self.theirs.places.T)
        return int(((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)).sum())

    def _chance(
        self, places: NDArray[np.float64], count: int, radius: float, fixed: int = 2
    ) -> float:
        """Probability that so many stars lie near their counterparts by chance: the ring test.

        Some lie there by the choice of the transform: two fix a similarity, one a shift.
        """
        inside = places[self._inside(places)]
        inner, outer = (
            self.tree.query_ball_point(inside, r * radius, return_length=True).sum() for r in _RING
        )
        uniform = len(inside) * self.density * np.pi * radius**2
        expected = max((outer - inner) / (_RING[1] ** 2 - _RING[0] ** 2), uniform)
        by_chance = count - fixed
        # Survival function of the Poisson distribution.
        return float(gammainc(by_chance, expected)) if by_chance > 0 else 1.0


_DISAGREE = "its stars do not agree with those of the reference better than chance"
_HOT = (
    "what its sources have in common with those of the reference are hot pixels: they stand still "
    "on the detector, and are sharper than stars"
)
_DISAGREE_PRIOR = (
    "its stars do not lie where its world coordinates put those of the reference, to within "
    f"{_SEARCH:.0f} pixels"
)


def _mutual(
    tree: KDTree, places: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of stars each of which is the nearest of the other, within a radius."""
    distance, counterpart = tree.query(places, distance_upper_bound=radius)
    image = np.flatnonzero(np.isfinite(distance))
    counterpart = counterpart[image]
    order = np.lexsort((image, distance[image], counterpart))
    first = np.ones(order.size, dtype=bool)
    first[1:] = counterpart[order][1:] != counterpart[order][:-1]
    chosen = np.sort(order[first])
    return image[chosen], counterpart[chosen]


def _is_even(transform: Transform) -> bool:
    """Whether a transform stretches all directions alike."""
    sizes = np.linalg.svd(transform.matrix[:2, :2], compute_uv=False)
    return bool(sizes[0] <= _ANISOTROPY * sizes[1])


def _scale_of(places: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Pixels of the image per pixel of the reference, by the spread of pairs."""
    spread = float(np.sqrt(reference.var(axis=0).sum()))
    return float(np.sqrt(places.var(axis=0).sum())) / spread if spread > 0 else 1.0
