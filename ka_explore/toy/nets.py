"""The toy nets: two kinds of teacher, whose blocks name the feature before their last ReLU, and the plain student."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, brief, check_between, checked
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.student import Student

STUDENT_WIDTHS = (12, 24, 48)
MOST_WIDTH = 64.0  # times these


@checked
def student(labels: LabelSpace, *, channels: int = 1, width: Annotated[float, "see scaled"] = 1.0) -> Student:
    """A chain of three convolutions (12, 24, 48 channels), plainer and smaller than every toy teacher.

    Its segments conv1, conv2, conv3 put out pre-activations, which layer-wise learning regresses; the last
    segment, ``features``, is their ReLU. One linear head a task reads its spatial mean.

    Args:
        labels: one output a column.
        channels: of the images, 1 for grey and 3 for colour.
        width: times the channels of every convolution, rounded.

    Raises:
        InputError: for a width that leaves a convolution without a channel, or with more than 64 times as many.
    """
    check_between("channels", channels, 1, 1024)
    widths = scaled(STUDENT_WIDTHS, width)
    segments: dict[str, nn.Module] = {"conv1": nn.Sequential(*convolution(channels, widths[0]))}
    for number, (before, after) in enumerate(pairwise(widths), start=2):
        segments[f"conv{number}"] = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), *convolution(before, after))
    segments["features"] = nn.ReLU()
    return Student.chain(segments, heads_for(labels, widths[-1]))


def residual_net(channels: int, widths: Sequence[int], classes: int | Mapping[str, int]) -> nn.Sequential:
    """A stem and three residual blocks with BatchNorm; the second and third block halve height and width.

    Of ``classes`` by task it has a head a task, see `Heads`.
    """
    children: dict[str, nn.Module] = {"stem": nn.Sequential(*convolution(channels, widths[0]), nn.ReLU())}
    before = widths[0]
    for number, width in enumerate(widths, start=1):
        added = ResidualSum(before, width, stride=1 if number == 1 else 2)
        children[f"layer{number}"] = nn.Sequential(OrderedDict(sum=added, activation=nn.ReLU()))
        before = width
    return nn.Sequential(OrderedDict(children, head=head(before, classes)))


def plain_net(channels: int, widths: Sequence[int], classes: int | Mapping[str, int]) -> nn.Sequential:
    """One convolution with BatchNorm and ReLU a block in the manner of VGG, max-pooling between blocks.

    Of ``classes`` by task it has a head a task, see `Heads`.

    Without BatchNorm it takes four times the steps, and its wider logits cost the strong ensemble 7 points.
    """
    children: dict[str, nn.Module] = {}
    before = channels
    for number, width in enumerate(widths, start=1):
        block: dict[str, nn.Module] = {"pool": nn.MaxPool2d(2)} if number > 1 else {}
        block["convolution"], block["norm"] = convolution(before, width)
        children[f"block{number}"] = nn.Sequential(OrderedDict(block, activation=nn.ReLU()))
        before = width
    return nn.Sequential(OrderedDict(children, head=head(before, classes)))


def layers_of(net: nn.Module) -> list[str]:
    """The parts of a teacher's net before its head, whose features are rectified: stem, layer1 …, or block1 …"""
    return [name for name, _ in net.named_children() if name != "head"]


def blocks_of(net: nn.Module) -> list[str]:
    """What each block gives its last ReLU (layer1.sum … or block1.norm …), one for one with the student's segments."""
    names = {name for name, _ in net.named_modules()}
    return [f"{layer}.{part}" for layer in layers_of(net) for part in ("sum", "norm") if f"{layer}.{part}" in names]


class ResidualSum(nn.Module):
    """Two 3×3 convolutions with BatchNorm, and the input added; a 1×1 convolution of it where the shape changes."""

    def __init__(self, before: int, width: int, *, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *convolution(before, width, stride=stride), nn.ReLU(), *convolution(width, width)
        )
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, width, 1, stride=stride, bias=False)

    def forward(
        self, feature: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel2 height2 width2"]:
        """The sum, which is not rectified yet."""
        return self.convolutions(feature) + self.shortcut(feature)


def convolution(before: int, width: int, *, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution that keeps the size (or divides it by the stride), and its BatchNorm."""
    return [nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)]


class Heads(nn.ModuleDict):
    """One linear head a task, side by side: logits by task."""

    def forward(self, feature: Float[Tensor, "batch channel"]) -> dict[str, Float[Tensor, "batch _"]]:
        """Every head's logits of the same feature."""
        return {task: linear(feature) for task, linear in self.items()}


@dataclass(frozen=True)
class HeadOf:
    """Reads one task's logits from what a net with `Heads` returns."""

    task: str

    def __call__(self, logits: Mapping[str, Tensor]) -> Tensor:
        """The logits of this task."""
        return logits[self.task]


def head(width: int, classes: int | Mapping[str, int]) -> nn.Sequential:
    """From a feature map to logits: the spatial mean and one linear map, or one a task."""
    last: nn.Module
    if isinstance(classes, int):
        last = nn.Linear(width, classes)
    else:
        last = Heads({task: nn.Linear(width, count) for task, count in classes.items()})
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def heads_for(labels: LabelSpace, width: int) -> dict[str, nn.Module]:
    """A student's heads by task, an output a column."""
    return {task: head(width, sum(column.task == task for column in labels.columns)) for task in labels.tasks}


def scaled(widths: Sequence[int], width: float) -> list[int]:
    """Numbers of channels times the width, rounded; InputError where one becomes 0."""
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if not number or not 0.5 <= width * min(widths) <= MOST_WIDTH * min(widths):
        raise InputError(
            f"width must be a number that leaves each of the student's {', '.join(map(str, widths))} channels at "
            f"least one and at most {MOST_WIDTH:g} times as many, got {brief(width)}: 1 leaves them as they are, 0.5 "
            "halves them."
        )
    return [max(round(width * count), 1) for count in widths]
