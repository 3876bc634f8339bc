import copy

import torch
from torch import nn

from bloodcell_batch.model.network import create_network
from bloodcell_batch.training.fit.depthwise import Float32Convolution, keep_strided_depthwise_float32


def test_only_strided_depthwise_convolutions_leave_bfloat16() -> None:
    network = create_network("mobilenetv2_100", 8)
    names = set(network.state_dict())
    keep_strided_depthwise_float32(network)
    kept = [module for module in network.modules() if isinstance(module, Float32Convolution)]
    assert len(kept) == 4
    assert all(module.stride == (2, 2) and module.groups == module.in_channels for module in kept)
    assert set(network.state_dict()) == names


def test_results_are_those_of_the_plain_convolution() -> None:
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8))
    kept = copy.deepcopy(plain)
    keep_strided_depthwise_float32(kept)
    pixels = torch.randn(2, 8, 16, 16)
    assert torch.equal(kept(pixels), plain(pixels))
    with torch.autocast("cpu", torch.bfloat16):
        result, expected = kept(pixels.bfloat16()), plain(pixels.bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result, expected, atol=0.05, rtol=0.05)
    result.float().sum().backward()
    assert all(weight.grad is not None for weight in kept.parameters())
    # A copy, as the moving average makes one, computes with its own weights.
    twin = copy.deepcopy(kept)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
        assert float(twin(pixels).abs().max()) == 0 < float(kept(pixels).abs().max())
