"""The conditions of a plane, PSF and noise, in the form in which a model takes them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import DEFAULT_BETA
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile
from astro_sr_plugin.models.filters import FILTER_RADIUS, gaussian_kernel, make_moffat_psf
from astro_sr_plugin.models.spec import Conditions, PSFNodes
from astro_sr_plugin.restoration.plane import NormalisedPlane

__all__ = ["make_conditions", "target_image"]

_LEAST_BETA = 1.6
"""Below it a Moffat profile has most of its light in its wings."""
_MOST_BETA = 20.0
"""Beta that a network gets for profiles without wings, such as Gaussians. It was trained up to 10
and goes on from there as it should; the image of the PSF has any beta."""
_LEAST_ERROR, _UNKNOWN_ERROR = 0.01, 0.12
"""Relative errors of a FWHM: at best (stars differ from a Moffat profile), and if not measured."""
_NODES = 7
"""Nodes along each axis of the frame at which a PSF that changes is rendered."""


def make_conditions(source: NormalisedPlane, target_fwhm: float | None, scale: int) -> Conditions:
    """Gather the conditions of one plane; ``target_fwhm`` None keeps the PSF."""
    moffat, image, error = source.psf.moffat, source.psf.image, source.psf.relative_error
    beta = moffat.beta if math.isfinite(moffat.beta) else DEFAULT_BETA
    beta = max(beta, _LEAST_BETA)
    ellipticity = moffat.ellipticity if math.isfinite(moffat.ellipticity) else 0.0
    theta = moffat.theta if math.isfinite(moffat.theta) else 0.0
    if image is None:
        numbers = torch.tensor([moffat.fwhm, beta, ellipticity, theta], dtype=torch.float32)
        image = make_moffat_psf(*numbers[:, None])[0].numpy()
        image *= _enclosed(moffat.fwhm, beta)
    return Conditions(
        psf=image,
        fwhm=moffat.fwhm,
        beta=min(beta, _MOST_BETA),
        ellipticity=ellipticity,
        target_fwhm=moffat.fwhm * scale if target_fwhm is None else target_fwhm,
        noise_correlation=source.noise_correlation,
        fwhm_error=max(error, _LEAST_ERROR) if math.isfinite(error) else _UNKNOWN_ERROR,
        nodes=_nodes(source),
    )


def target_image(target_fwhm: float, scale: int) -> NDArray[np.float32]:
    """Image of the Gaussian target on input pixels."""
    return gaussian_kernel(target_fwhm / scale, FILTER_RADIUS).numpy()


def _enclosed(fwhm: float, beta: float) -> float:
    """Fraction of the flux of a Moffat profile within the radius of the filters."""
    return MoffatProfile(fwhm, beta, 0.0, 0.0).enclosed(FILTER_RADIUS)


def _nodes(source: NormalisedPlane) -> PSFNodes | None:
    """Render the PSF at nodes over the frame, if it changes."""
    psf = source.psf
    if psf.varying is None:
        return None if psf.field is None else _profile_nodes(psf.field, psf.image)
    rows, columns = (np.linspace(0, n - 1, _NODES) for n in source.shape)
    images = [[psf.varying.image(x, y, radius=FILTER_RADIUS) for x in columns] for y in rows]
    shape = (_NODES, _NODES)
    fwhm, ellipticity = np.full(shape, psf.moffat.fwhm), np.full(shape, psf.moffat.ellipticity)
    if psf.field is not None:
        fwhm, ellipticity, _ = psf.field.at(*np.meshgrid(columns, rows))
    return PSFNodes(np.array(images, dtype=np.float32), rows, columns, fwhm, ellipticity)


def _profile_nodes(field: PSFField, image: NDArray[np.float32] | None) -> PSFNodes:
    """Render the PSF at nodes over the frame; what ``image`` has beside its Moffat is the same."""
    rows, columns = (np.linspace(0, n - 1, _NODES) for n in field.shape)
    x, y = (place.ravel() for place in np.meshgrid(columns, rows))
    mean = field.mean()
    shapes = zip((mean.fwhm, mean.ellipticity, mean.theta), field.at(x, y), strict=True)
    fwhm, ellipticity, theta = (
        torch.tensor([first, *others], dtype=torch.float32) for first, others in shapes
    )
    moffats = make_moffat_psf(fwhm, torch.full_like(fwhm, field.beta), ellipticity, theta).numpy()
    images, part = moffats[1:], _enclosed(mean.fwhm, field.beta)
    if image is not None:
        part = float(image.sum())
        images = np.maximum(images + (image / part - moffats[0]), 0.0)
        images /= images.sum(axis=(1, 2), keepdims=True)
    images *= np.float32(part)
    grid = (_NODES, _NODES)
    return PSFNodes(
        images=images.reshape(*grid, *images.shape[1:]),
        rows=rows,
        columns=columns,
        fwhm=fwhm[1:].double().numpy().reshape(grid),
        ellipticity=ellipticity[1:].double().numpy().reshape(grid),
    )
