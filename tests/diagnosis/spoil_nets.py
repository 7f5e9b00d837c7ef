"""Ways in which a teacher's net computes otherwise than it was trained to: changed in place, as a bad port would."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from spoil import Case, changed, with_teacher
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import Problem

Part = TypeVar("Part", bound=nn.Module)


def ported(problem: Problem, how: Callable[[nn.Module], None]) -> Case:
    """The first teacher's net, changed in place."""
    return changed(how)(problem, None)


def parts(net: nn.Module, kind: type[Part]) -> Iterator[Part]:
    """Its modules of a kind."""
    return (part for part in net.modules() if isinstance(part, kind))


def replaced(net: nn.Module, kind: type[nn.Module], by: Callable[[], nn.Module]) -> None:
    """Another module in the place of each of a kind."""
    for part in list(net.modules()):
        for name, inner in part.named_children():
            if isinstance(inner, kind):
                setattr(part, name, by())


@torch.no_grad()
def three_levels(net: nn.Module) -> None:
    """Weights rounded to −1, 0 or 1 times their mean size."""
    for part in (*parts(net, nn.Conv2d), *parts(net, nn.Linear)):
        size = part.weight.abs().mean()
        part.weight.copy_((part.weight / size).round().clamp(-1, 1) * size)


@torch.no_grad()
def few_bits(net: nn.Module) -> None:
    """Weights rounded to seven levels."""
    for part in (*parts(net, nn.Conv2d), *parts(net, nn.Linear)):
        size = part.weight.abs().max() / 3
        part.weight.copy_((part.weight / size).round().clamp(-3, 3) * size)


def large_eps(net: nn.Module) -> None:
    """Batch norms add 1 to variances in place of 1e-5."""
    for norm in parts(net, nn.BatchNorm2d):
        norm.eps = 1.0


@torch.no_grad()
def swapped(net: nn.Module) -> None:
    """Scales and shifts of batch norms in each other's place."""
    for norm in parts(net, nn.BatchNorm2d):
        scale = norm.weight.clone()
        norm.weight.copy_(norm.bias)
        norm.bias.copy_(scale)


def means_lost(net: nn.Module) -> None:
    """Batch norms kept variances, and means of 0."""
    for norm in parts(net, nn.BatchNorm2d):
        assert norm.running_mean is not None
        norm.running_mean.zero_()


@torch.no_grad()
def transposed(net: nn.Module) -> None:
    """Kernels with rows for columns."""
    for part in parts(net, nn.Conv2d):
        part.weight.copy_(part.weight.transpose(2, 3).clone())


def padded_after(net: nn.Module) -> None:
    """Padding at the right and below only."""
    for part in parts(net, nn.Conv2d):
        width = part.kernel_size[0] // 2

        def forward(images: Tensor, part: nn.Conv2d = part, width: int = width) -> Tensor:
            padded = functional.pad(images, (0, 2 * width, 0, 2 * width))
            return functional.conv2d(padded, part.weight, part.bias, part.stride, 0, part.dilation, part.groups)

        if width:
            part.forward = forward  # type: ignore[method-assign]


@torch.no_grad()
def pruned(net: nn.Module) -> None:
    """The smaller seven tenths of every convolution's weights are zero."""
    for part in parts(net, nn.Conv2d):
        part.weight.mul_(part.weight.abs() > part.weight.abs().flatten().quantile(0.7))


@torch.no_grad()
def corrupted(net: nn.Module) -> None:
    """Noise on all convolutions, of four fifths of their deviation."""
    random = torch.Generator().manual_seed(3)
    for part in parts(net, nn.Conv2d):
        part.weight.add_(0.8 * part.weight.std() * torch.randn(part.weight.shape, generator=random))


@torch.no_grad()
def decayed(net: nn.Module) -> None:
    """All convolutions at three tenths of their size."""
    for part in parts(net, nn.Conv2d):
        part.weight.mul_(0.3)


def dilated(net: nn.Module) -> None:
    """One convolution in the middle looks twice as far."""
    wide = [part for part in parts(net, nn.Conv2d) if part.kernel_size[0] == 3]
    wide[len(wide) // 2].dilation = wide[len(wide) // 2].padding = (2, 2)


def saturated(net: nn.Module) -> None:
    """Activations are cut off at one half."""
    replaced(net, nn.ReLU, lambda: nn.Hardtanh(0, 0.5))


def smoother(net: nn.Module) -> None:
    """GELU in place of ReLU."""
    replaced(net, nn.ReLU, nn.GELU)


@torch.no_grad()
def folded_twice(net: nn.Module) -> None:
    """Batch norms were folded into the convolutions, and stayed."""
    for part in net.modules():
        for first, second in zip(list(part.children()), list(part.children())[1:], strict=False):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                assert second.running_var is not None
                factor = second.weight / (second.running_var + second.eps).sqrt()
                first.weight.mul_(factor.view(-1, 1, 1, 1))


@torch.no_grad()
def head_shuffled(net: nn.Module) -> None:
    """The head takes its channels in any order."""
    *_, head = parts(net, nn.Linear)
    head.weight.copy_(head.weight[:, torch.randperm(head.in_features, generator=torch.Generator().manual_seed(1))])


class Read:
    """A teacher's own way to read logits, and what is done to them."""

    def __init__(self, own: Callable[[Any], Tensor], change: Callable[[Tensor], Tensor]):
        self.own, self.change = own, change

    def __call__(self, output: Any) -> Tensor:
        return self.change(self.own(output))


def read_with(change: Callable[[Tensor], Tensor]) -> Callable[[Problem, Any], Case]:
    """The first teacher's logits, changed."""

    def make(problem: Problem, _strength: Any) -> Case:
        return Case(with_teacher(problem, 0, read=Read(problem.teachers[0].read, change)), steps=60)

    return make


def first_lost(logits: Tensor) -> Tensor:
    """The first class is never answered."""
    return logits.index_fill(1, torch.tensor([0]), -20.0)


def off_by_one(problem: Problem, _strength: Any) -> Case:
    """The first teacher counts a class before the others, as a background would be: every label is the one before."""
    labels = problem.teachers[0].labels
    return Case(with_teacher(problem, 0, labels=[*labels[-1:], *labels[:-1]]), steps=60)
