"""The published networks once more, as plain formulas over their weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def conv(state, name, image):
    weight = state[f"{name}.weight"]
    return F.conv2d(image, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def lrelu(image):
    return torch.where(image > 0, image, 0.2 * image)


def dense(state, name, image):
    seen = [image]
    for number in range(1, 5):
        seen.append(lrelu(conv(state, f"{name}.conv{number}", torch.cat(seen, 1))))
    return conv(state, f"{name}.conv5", torch.cat(seen, 1)) * 0.2 + image


def rrdb(state, image, *, blocks, mode="nearest", doublings=2, added=None):
    """RRDB; `added` gives what is put into every dense block of a block."""
    first = body = conv(state, "conv_first", image)
    for block in range(blocks):
        result, features = body, 0.0 if added is None else added(block, body)
        for number in (1, 2, 3):
            result = dense(state, f"body.{block}.rdb{number}", result + features)
        body = result * 0.2 + body
    result = first + conv(state, "conv_body", body)
    for number in range(1, doublings + 1):
        finer = F.interpolate(result, scale_factor=2, mode=mode)
        result = lrelu(conv(state, f"conv_up{number}", finer))
    return conv(state, "conv_last", lrelu(conv(state, "conv_hr", result)))


def tower(state, image, convolutions):
    for number in range(0, 2 * convolutions, 2):
        image = conv(state, f"body.{number}", image)
        slope = state[f"body.{number + 1}.weight"].view(1, -1, 1, 1)
        image = torch.where(image > 0, image, slope * image)
    return image


def next_features(state, block, image, code, strength):
    """What AstroSleuth NEXT adds in one block under a condition."""
    name = f"body.{block}.block"
    shift = F.linear(code, state[f"body.{block}.l1.weight"], state[f"body.{block}.l1.bias"])
    weight = state[f"{name}.dwconv.weight"]
    x = F.conv2d(image + shift.view(1, -1, 1, 1), weight, state[f"{name}.dwconv.bias"], padding=3,
                 groups=len(weight))  # fmt: skip
    x = x.permute(0, 2, 3, 1)
    x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-6)
    x = x * state[f"{name}.norm.weight"] + state[f"{name}.norm.bias"]
    x = F.gelu(F.linear(x, state[f"{name}.pwconv1.weight"], state[f"{name}.pwconv1.bias"]))
    energy = x.pow(2).sum((1, 2), keepdim=True).sqrt()
    share = energy / (energy.mean(-1, keepdim=True) + 1e-6)
    x = state[f"{name}.grn.gamma"] * (x * share) + state[f"{name}.grn.beta"] + x
    x = F.linear(x, state[f"{name}.pwconv2.weight"], state[f"{name}.pwconv2.bias"])
    return 0.1 * strength * x.permute(0, 3, 1, 2)
