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


def swin_attention(state, name, features, *, heads, window, shift):
    """Attention among all pixels of an image, but only where two stand in one window."""
    height, width, channels = features.shape
    y, x = (c.flatten() for c in torch.meshgrid(torch.arange(height), torch.arange(width),
                                                indexing="ij"))  # fmt: skip
    cell = torch.div(y - shift, window, rounding_mode="floor") * 1000
    cell = cell + torch.div(x - shift, window, rounding_mode="floor")
    pixels = features.reshape(-1, channels)
    bias = torch.cat([state[f"{name}.q_bias"], torch.zeros(channels), state[f"{name}.v_bias"]])
    qkv = F.linear(pixels, state[f"{name}.qkv.weight"], bias).view(-1, 3, heads, channels // heads)
    query, key, value = (part.transpose(0, 1) for part in qkv.unbind(1))
    cosine = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(1, 2)
    scale = state[f"{name}.logit_scale"].clamp(max=torch.tensor(100.0).log()).exp()
    offset = torch.stack([y[:, None] - y, x[:, None] - x], -1) * 8.0 / (window - 1)
    offset = offset.sign() * torch.log2(offset.abs() + 1) / 3
    hidden = F.linear(offset, state[f"{name}.cpb_mlp.0.weight"], state[f"{name}.cpb_mlp.0.bias"])
    place = F.linear(hidden.relu(), state[f"{name}.cpb_mlp.2.weight"]).permute(2, 0, 1)
    scores = cosine * scale + 16 * torch.sigmoid(place)
    scores = scores.masked_fill(cell[:, None] != cell, -torch.inf)
    found = (scores.softmax(-1) @ value).transpose(0, 1).reshape(-1, channels)
    result = F.linear(found, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])
    return result.view(features.shape)


def swin_features(state, image, *, depths, heads, window):
    """The features of Swin2SR of one image of shape (C, H, W), and its first convolution."""

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    first = conv(state, "conv_first", image)
    body = norm("patch_embed.norm", conv(state, "patch_embed.proj", first).permute(1, 2, 0))
    for stage, depth in enumerate(depths):
        start = body
        for block in range(depth):
            name = f"layers.{stage}.residual_group.blocks.{block}"
            shift = window // 2 if block % 2 else 0
            found = swin_attention(
                state, f"{name}.attn", body, heads=heads, window=window, shift=shift
            )
            body = body + norm(f"{name}.norm1", found)
            inner = linear(f"{name}.mlp.fc2", F.gelu(linear(f"{name}.mlp.fc1", body)))
            body = body + norm(f"{name}.norm2", inner)
        planes = conv(state, f"layers.{stage}.conv", body.permute(2, 0, 1))
        body = conv(state, f"layers.{stage}.patch_embed.proj", planes).permute(1, 2, 0) + start
    body = norm("norm", body).permute(2, 0, 1)
    return conv(state, "conv_after_body", body) + first, first
