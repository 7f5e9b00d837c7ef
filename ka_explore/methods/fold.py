"""Folding a linear module into the convolution before it, so that a deployed student has no extra parameters."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.errors import InputError


def linear_end(name: str, segment: nn.Module) -> tuple[nn.Conv2d | nn.Linear, nn.BatchNorm1d | nn.BatchNorm2d | None]:
    """The convolution or linear layer a segment ends with, and a batch norm after it. Raises InputError for others."""
    parts = [module for module in segment.modules() if not list(module.children())]
    norm = None
    if parts and isinstance(parts[-1], (nn.BatchNorm1d, nn.BatchNorm2d)):
        norm = parts[-1]
        parts.pop()
    if norm is not None and (norm.running_mean is None or not norm.affine):
        raise InputError(f"the batch norm of segment {name!r} needs running averages and an affine map to fold into.")
    linear = parts[-1] if parts else None
    if not isinstance(linear, (nn.Conv2d, nn.Linear)) or (isinstance(linear, nn.Conv2d) and linear.groups > 1):
        raise InputError(
            f"segment {name!r} of the student ends with {type(linear).__name__}: a feature adaption module is folded "
            "into a convolution (of one group) or linear layer, with at most a batch norm after it. Let the segment "
            "begin with what follows the layer before (activation, pooling), or use adaption=False."
        )
    if norm is None and linear.bias is None:
        raise InputError(f"the last layer of segment {name!r} has neither bias nor batch norm: give it bias=True.")
    return linear, norm


@torch.no_grad()
def fold(
    linear: nn.Conv2d | nn.Linear,
    norm: nn.BatchNorm1d | nn.BatchNorm2d | None,
    adaption: nn.Conv2d,
    inputs: Callable[[], Iterable[Tensor]],
) -> None:
    """Make linear (and norm) compute what they and the 1×1 convolution after them computed, exact to rounding.

    W'_i = Σ_j A_ij W_j, b'_i = a_i + Σ_j A_ij b_j (Shen, AAAI 2019, parameters merged). With a batch norm in
    between, the map A diag(γ/σ) goes into the weights; the norm keeps its place with the mean and variance of the
    *new* convolution's output as running averages and the scale and shift that undo them, so that nothing changes in
    eval mode, and next to nothing when training goes on with batch statistics.

    The first two are changed in place. ``inputs`` is what ``linear`` is given, batch by batch; asked for only where
    there is a norm.
    """
    mix = adaption.weight.flatten(1).double()
    shift = torch.zeros(len(mix), dtype=torch.float64) if adaption.bias is None else adaption.bias.double()
    if norm is None:
        assert linear.bias is not None
        assign(linear.weight, torch.tensordot(mix, linear.weight.double(), dims=1))
        assign(linear.bias, shift + mix @ linear.bias.double())
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    before = norm.bias.double() - scale * norm.running_mean.double()  # norm(u) = scale · u + before
    if linear.bias is not None:
        before = before + scale * linear.bias.double()
        linear.bias.zero_()
    wanted = shift + mix @ before
    assign(linear.weight, torch.tensordot(mix * scale, linear.weight.double(), dims=1))
    mean, variance = output_moments(linear, inputs())
    deviation = (variance + norm.eps).sqrt()
    assign(norm.running_mean, mean)
    assign(norm.running_var, variance)
    assign(norm.weight, deviation)  # norm'(u) = deviation · (u − mean) / deviation + (wanted + mean)
    assign(norm.bias, wanted + mean)


def output_moments(linear: nn.Conv2d | nn.Linear, inputs: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of a linear layer's output by channel, over all inputs and places."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for given in inputs:
        if isinstance(linear, nn.Conv2d):
            output = linear._conv_forward(given, linear.weight, None).transpose(0, 1).flatten(1)
        else:
            output = functional.linear(given, linear.weight).flatten(0, -2).T
        count += output.shape[1]
        total = total + output.double().sum(dim=1)
        squares = squares + output.double().square().sum(dim=1)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0)


def assign(tensor: Tensor, values: Tensor) -> None:
    """Overwrite a parameter or buffer in place, whatever the precision of the values."""
    tensor.copy_(values.to(tensor))
