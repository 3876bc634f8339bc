"""A way round one slow kernel."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Float32Convolution(nn.Conv2d):
    """A convolution that is computed in float32 on the CPU, whatever precision surrounds it.

    oneDNN's gradient of a depthwise convolution with a stride takes six times as long in bfloat16 as in float32: a
    quarter of a whole training step of MobileNetV2.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's own name
        """As `nn.Conv2d`, in the dtype of the input."""
        if input.device.type != "cpu" or input.dtype == torch.float32:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            result = functional.conv2d(
                input.float(), self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
            )
        return result.to(input.dtype)


def keep_strided_depthwise_float32(network: nn.Module) -> None:
    """Make every depthwise convolution with a stride a `Float32Convolution`, in place; weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1 and module.stride != (1, 1):
            module.__class__ = Float32Convolution
