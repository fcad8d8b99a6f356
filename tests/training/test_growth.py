from __future__ import annotations

import pytest
import torch

from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.training.growth import grown


def trained(seed, **options):
    """A network whose parameters are all different from 0, as after training."""
    torch.manual_seed(seed)
    net = WienerUNet(**options)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


def inputs(net):
    torch.manual_seed(9)
    size = (2, 1, 32, 32)
    estimates = torch.randn(2, net.estimates, net.scale**2, 32, 32)
    return torch.randn(size), torch.zeros(size), estimates, torch.randn(2, 5)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_larger_network_begins_as_the_smaller_one(scale):
    small = trained(1, scale=scale, widths=(4, 6, 8), blocks=(1, 1, 2))
    large = trained(2, scale=scale, widths=(6, 8, 12), blocks=(2, 2, 3))
    seen = inputs(small)
    with torch.no_grad():
        expected = small(*seen)
        assert (large(*seen) - expected).abs().max() > 0.1
        large.load_state_dict(grown(large, small.state_dict()))
        torch.testing.assert_close(large(*seen), expected, rtol=1e-4, atol=1e-4)


def test_what_is_new_learns():
    small = trained(1, widths=(4, 6, 8))
    large = trained(2, widths=(6, 8, 12), blocks=(2, 2, 3))
    large.load_state_dict(grown(large, small.state_dict()))
    large(*inputs(large)).square().mean().backward()
    assert large.tail.weight.grad[:, 4:].abs().max() > 0
    assert large.encoder[0].blocks[1].second.weight.grad.abs().max() > 0


@pytest.mark.parametrize("options", [{"scale": 2}, {"widths": (4, 4, 8)}, {"blocks": (1, 1, 1)}])
def test_another_network_is_no_part_of_it(options):
    other = WienerUNet(**({"widths": (4, 6, 8), "blocks": (1, 1, 2)} | options))
    small = WienerUNet(widths=(4, 6, 8), blocks=(1, 1, 2))
    assert grown(other, small.state_dict()) is None
