from __future__ import annotations

import numpy as np
import pytest
import torch

from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.filters import FILTER_RADIUS, gaussian_kernel, make_moffat_psf
from astro_sr_plugin.models.registry import load_model
from astro_sr_plugin.models.spec import Conditions, ModelSpec, PSFNodes
from astro_sr_plugin.models.varying import prepare_filters, prepare_kernels
from astro_sr_plugin.models.wiener_unet.error_net import ErrorNet
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.training.evaluate import halo_of

SHAPE = (230, 260)
TARGET = 2.0


def moffat(fwhm, ellipticity, theta):
    numbers = torch.tensor([fwhm, 3.2, ellipticity, theta], dtype=torch.float32)
    return make_moffat_psf(*numbers[:, None])[0].numpy()


def shape_at(row, column):
    v, u = 2 * row / (SHAPE[0] - 1) - 1, 2 * column / (SHAPE[1] - 1) - 1
    square = (u**2 + v**2) / 2
    return 2.8 + square, 0.25 * square, np.arctan2(v, u)


def make_nodes(shape_of=shape_at, count=7):
    rows, columns = (np.linspace(0, n - 1, count) for n in SHAPE)
    shapes = [[shape_of(row, column) for column in columns] for row in rows]
    images = np.array([[moffat(*shape) for shape in line] for line in shapes])
    fwhm, ellipticity, _ = np.moveaxis(np.array(shapes), -1, 0)
    return PSFNodes(images, rows, columns, fwhm, ellipticity)


def conditions(nodes):
    return Conditions(moffat(3.1, 0.0, 0.0), 3.1, 3.2, 0.0, TARGET, nodes=nodes)


NODES = make_nodes()


def filters(given, scale=1):
    kernels = prepare_kernels(given, TARGET, scale, "cpu")
    return prepare_filters([*kernels.unbind(1)], given.nodes)


def star(row, column, psf):
    image = np.zeros(SHAPE, np.float32)
    r = psf.shape[0] // 2
    image[row - r : row + r + 1, column - r : column + r + 1] = psf
    return torch.from_numpy(image)[None, None]


@pytest.mark.parametrize("scale", [1, 2])
def test_equal_psfs_are_one_psf(scale):
    nodes = make_nodes(lambda row, column: (3.1, 0.0, 0.0))
    image = torch.randn(1, 1, 200, 190, generator=torch.manual_seed(1))
    constant = filters(conditions(None), scale)(image)
    r = FILTER_RADIUS
    varying = filters(conditions(nodes), scale)(image, (20, -30))
    inner = np.s_[..., r:-r, r:-r]
    torch.testing.assert_close(varying[inner], constant[inner], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", [(66, 66), (66, 190), (115, 130), (160, 70), (150, 188)])
def test_a_star_is_filtered_for_its_own_psf(place):
    own = moffat(*shape_at(*place))
    image = star(*place, own)
    area = np.s_[:, place[0] - 12 : place[0] + 13, place[1] - 12 : place[1] + 13]
    right = filters(Conditions(own, 3.1, 3.2, 0.0, TARGET))(image)[0].numpy()[area]
    size = np.linalg.norm(gaussian_kernel(TARGET, 12).numpy())
    errors = []
    for nodes in (NODES, None):
        found = filters(conditions(nodes))(image, (0, 0))[0].numpy()
        # A filter keeps the light.
        np.testing.assert_allclose(found.sum(axis=(1, 2)), 1.0, atol=2e-3)
        errors.append(np.linalg.norm((found[area] - right)[0]) / size)
    assert errors[0] < 0.04
    assert errors[0] < 0.25 * errors[1]


def test_filters_do_not_depend_on_the_cut():
    image = torch.randn(1, 1, *SHAPE, generator=torch.manual_seed(2))
    apply, r = filters(conditions(NODES)), FILTER_RADIUS
    whole = apply(image, (0, 0))
    part = apply(image[..., 31:201, 50:240], (31, 50))
    torch.testing.assert_close(
        part[..., r:-r, r:-r], whole[..., 31 + r : 201 - r, 50 + r : 240 - r], atol=2e-4, rtol=1e-4
    )


def random_network(scale, outputs=1, errors=False):
    torch.manual_seed(scale)
    net = WienerUNet(scale, outputs, widths=(8, 12, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    for name, parameter in net.named_parameters():
        if "steer" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    task = "super-resolve" if scale == 2 else "remove-stars" if outputs == 2 else "deconvolve"
    spec = ModelSpec("random", task, "", "WienerUNet", scale=scale, halo=halo_of(net))
    given = ErrorNet(scale).eval().requires_grad_(False) if errors else None
    return NetworkModel(spec, net, errors=given)


MODELS = {
    "network": random_network(1),
    "network x2": random_network(2),
    "network with errors": random_network(1, errors=True),
    "network for stars": random_network(1, outputs=2),
    "wiener": load_model("wiener", "deconvolve"),
    "wiener x2": load_model("wiener", "super-resolve"),
}


def predict(model, given, image, **knobs):
    def read(y0, y1, x0, x1):
        rows, columns = reflect_indices(y0, y1, SHAPE[0]), reflect_indices(x0, x1, SHAPE[1])
        values = image[np.ix_(rows, columns)][None]
        return values, np.zeros_like(values)

    predictor = Predictor(model, given, Runtime(device="cpu", **knobs))
    return np.concatenate([strip for _, strip in predictor.strips(read, SHAPE)], axis=-2)


@pytest.mark.parametrize("name", MODELS)
def test_tiles_equal_the_whole(name):
    model, given = MODELS[name], conditions(NODES)
    image = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32) * 3
    image[100:103, 120:123] = 3000
    whole = predict(model, given, image, tile_size=4096)
    atol = 2e-5 * np.abs(whole).max() + 2e-5
    if name == "network for stars":
        # What it takes out sets the rounding, not what it leaves.
        atol = 1e-3
    for knobs in ({"tile_size": 96}, {"tile_size": 136, "overlap": 180}):
        np.testing.assert_allclose(predict(model, given, image, **knobs), whole, atol=atol)


def test_a_network_is_steered_by_the_place():
    model = MODELS["network"]
    image = np.random.default_rng(4).normal(size=SHAPE).astype(np.float32) * 3
    given = conditions(make_nodes(lambda row, column: (3.1, 0.0, 0.0)))
    one = predict(model, conditions(None), image)
    scale = np.abs(one).max()
    np.testing.assert_allclose(predict(model, given, image), one, atol=1e-4 * scale)
    assert np.abs(predict(model, conditions(NODES), image) - one).max() > 1e-2 * scale
