"""How a layer's output is laid out: maps, tokens and vectors become maps (batch, channel, height, width) in one place.

A shape alone often does not tell: 25 tokens are five rows of five, or sixteen patches behind nine other tokens;
(8, 8, 16) is a map with its channels last, or none at all. What a forward shows on the way tells more, and is gathered
in `Clues`. Where that still leaves two readings, the choice is the user's, by a layout.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from threading import get_ident
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, brief
from ka_explore.problem.arrays import is_plain

LAYOUTS = ("auto", "NCHW", "NHWC", "NLC", "NCL", "LNC")
TO_TOKENS = {"NCL": (0, 2, 1), "LNC": (1, 0, 2)}  # the axes that make them (batch, token, channel)
MOST_AHEAD = 32  # tokens before the patches that are worth a thought
EXTRA_TOKENS = (
    "cls_token", "cls_tokens", "class_token", "class_embedding", "dist_token", "distillation_token", "reg_token",
    "reg_tokens", "register_tokens", "storage_tokens",
)  # fmt: skip
CHANNELS_FIRST = {nn.Conv2d: "out_channels", nn.BatchNorm2d: "num_features", nn.GroupNorm: "num_channels"}
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)  # these exactly: the "LayerNorm2d" of libraries has its channels first

Grid = tuple[int, int]


class Clues:
    """What a forward has shown so far: how many images of which size, and what its convolutions and norms put out.

    Attributes:
        rows: images in the batch; None where the net was given something else than a batch of images.
        size: their height and width.
        grids: height and width of what the convolutions put out, the latest first.
        widths: how many channels these put out.
        width: channels of the last module of which they are known; None before there is one.
        last: whether that module has them on the last axis.
    """

    def __init__(self, module: nn.Module | None = None):
        self.module = module
        self.begin()

    def begin(self, inputs: Any = None) -> None:
        """A new forward, with what the net is given."""
        images = inputs.shape if isinstance(inputs, Tensor) and inputs.ndim == 4 else None
        self.rows = None if images is None else images[0]  # no plain number while a net is exported
        self.size: Grid = (1, 1) if images is None else (int(images[2]), int(images[3]))
        self.grids: list[Grid] = []
        self.widths: set[int] = set()
        self.width: int | None = None
        self.last = False

    def note(self, part: nn.Module, output: Tensor) -> None:
        """Take up what a convolution, a norm or a linear map put out."""
        if isinstance(part, nn.Conv2d):
            self.grids.insert(0, (output.shape[-2], output.shape[-1]))
            self.widths.add(part.out_channels)
        name = next((name for kind, name in CHANNELS_FIRST.items() if isinstance(part, kind)), None)
        if name is not None:
            self.width, self.last = getattr(part, name), False
        elif output.ndim > 2:
            self.width, self.last = output.shape[-1], True

    @cached_property
    def ahead(self) -> int | None:
        """How many tokens the net says it puts before its patches: timm's attribute, or the tokens it has learned."""
        if self.module is None:
            return None
        told = [getattr(part, "num_prefix_tokens", None) for part in self.module.modules()]
        learned = [p for name, p in self.module.named_parameters() if name.rpartition(".")[2] in EXTRA_TOKENS]
        count = sum(p.shape[-2] if p.ndim > 1 else 1 for p in learned) if learned else None
        return next((n for n in told if isinstance(n, int)), count)

    @cached_property
    def says_last(self) -> bool:
        """Whether the net says that its maps have their channels last: timm's ``output_fmt``."""
        parts = self.module.modules() if self.module is not None else ()
        return any(getattr(part, "output_fmt", None) == "NHWC" for part in parts)

    def is_map(self, height: int, width: int) -> bool:
        """Whether a convolution put out such a map, or it is in the proportion of the images."""
        return (height, width) in [(1, 1), *self.grids] or height * self.size[1] == width * self.size[0]

    def tiles(self, grid: Grid) -> bool:
        """Whether patches of whole pixels make such a grid."""
        return self.size[0] % grid[0] == 0 == self.size[1] % grid[1]

    def grid_of(self, count: int, *, seen: bool = False) -> Grid | None:
        """The grid of so many patches: of a convolution (with ``seen`` no other), in the images' proportion, square."""
        known = [grid for grid in self.grids if grid[0] * grid[1] == count]
        if known or seen or count < 1:
            return next(iter(known), None)
        height, side = math.isqrt(count * self.size[0] // self.size[1]), math.isqrt(count)
        shaped = [(height, count // height)] if height and self.is_map(height, count // height) else []
        return next((grid for grid in [*shaped, (side, side)] if grid[0] * grid[1] == count), None)


@contextmanager
def watched(module: nn.Module) -> Iterator[Clues]:
    """Within the ``with``: the clues of each forward of the module in this thread."""
    clues, thread = Clues(module), get_ident()

    def start(_module: nn.Module, given: tuple[Any, ...]) -> None:
        if get_ident() == thread:
            clues.begin(*given[:1])

    def hook(part: nn.Module, _inputs: Any, output: Any) -> None:
        if get_ident() == thread and isinstance(output, Tensor):
            clues.note(part, output)

    with ExitStack() as hooks:
        hooks.enter_context(module.register_forward_pre_hook(start))
        for part in module.modules():
            if isinstance(part, tuple(CHANNELS_FIRST)) or type(part) in CHANNELS_LAST:
                hooks.enter_context(part.register_forward_hook(hook))
        yield clues


def layout_of(layers: Sequence[str] | Mapping[str, str], ahead: int | None = None) -> dict[str, str]:
    """``{layer: layout}`` of a list of names or of such a mapping; ``ahead`` is put before layouts without a number."""
    named = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, "auto")
    for layer, layout in named.items():
        number, plus, kind = layout.rpartition("+")
        if kind not in LAYOUTS or (plus and not (number.isascii() and number.isdecimal())):
            raise InputError(
                f"unknown layout {brief(layout)} of layer {brief(layer)}: expected {', '.join(LAYOUTS)}, with the "
                "number of tokens before the patches in front where there are some: '5+NLC'."
            )
    return {layer: layout if ahead is None or "+" in layout else f"{ahead}+{layout}" for layer, layout in named.items()}


def to_map(
    feature: Any, layout: str = "auto", clues: Clues | None = None, layer: nn.Module | None = None
) -> Float[Tensor, "batch channel height width"]:
    """A layer's output as a map (batch, channel, height, width).

    Args:
        feature: a map, tokens (batch, token, channel) or vectors (batch, channel); the first tensor is
            taken out of a tuple or a model output.
        layout: ``auto`` reads 4-D as a map and 3-D as tokens; ``NCHW``, or ``NHWC`` for maps with channels last;
            ``NLC``, ``NCL`` or ``LNC`` for tokens by the order of their axes. ``5+auto``, ``5+NLC``: the first five
            tokens are no patches.
        clues: what the forward has shown of it; without, maps are NCHW.
        layer: the module that put it out.

    Tokens become the map of their patches, and the others (class token, registers) are left out: as many as the layout
    or the net says; else one, where one less is a grid. Where they make no grid, ``NLC`` makes one column of them, as
    do tokens of which there are no clues.

    Raises InputError, with the choices, for a shape that can be read in two ways or in none; for a tensor of another
    number of axes, of another batch, or a type that is not floating point.
    """
    clues = clues or Clues()
    if isinstance(feature, (tuple, list)) and feature:
        feature = feature[0]
    elif not isinstance(feature, Tensor):
        feature = getattr(feature, "last_hidden_state", feature)
    if not is_plain(feature):
        kind = f"{feature.dtype} {feature.layout}" if isinstance(feature, Tensor) else type(feature).__name__
        raise InputError(f"cannot make a feature map of {kind}: expected a floating-point tensor; name another layer.")
    number, _, kind = layout.rpartition("+")
    if feature.ndim == 3:
        feature = feature.permute(TO_TOKENS.get(kind, (0, 1, 2)))
    if clues.rows is not None and feature.ndim and feature.shape[0] != clues.rows:
        raise InputError(
            f"the first axis of {tuple(feature.shape)} must be the {clues.rows} images: name another layer, or give "
            "the layout 'LNC' where tokens come before images."
        )
    if feature.ndim == 4:
        last = kind == "NHWC" or (kind == "auto" and has_channels_last(feature, clues, layer))
        return feature.permute(0, 3, 1, 2) if last else feature
    if feature.ndim == 3:
        ahead, grid = patches(feature, int(number) if number else None, kind, clues)
        return feature[:, ahead:].transpose(1, 2).unflatten(2, grid)
    if feature.ndim == 2:
        return feature[:, :, None, None]
    raise InputError(
        f"cannot make a feature map of shape {tuple(feature.shape)}: expected 2 axes (vector), 3 (tokens) or 4 (map)."
    )


def has_channels_last(feature: Tensor, clues: Clues, layer: nn.Module | None) -> bool:
    """Whether a 4-D output is NHWC: only as (height, width) are the first two axes in the images' proportion.

    Where the last two are so as well, NCHW is what it is, unless what ran last has its channels on the last axis and
    as many. Raises InputError where that is a tie.
    """
    first, second, third = (int(n) for n in feature.shape[1:])
    if clues.rows is None or not clues.is_map(first, second):
        return False
    either = clues.is_map(second, third)
    if clues.width in (first, third) and first != third and (clues.last or not either):
        return clues.width == third
    if not either or not clues.last or third == 1:
        return not either
    if clues.says_last:
        return True
    if first == third and not any(isinstance(part, nn.Conv2d) for part in (layer.modules() if layer else ())):
        raise InputError(
            f"{tuple(feature.shape)} may be a map with its channels first or last: say which, with layers="
            "{name: 'NCHW'} or {name: 'NHWC'}."
        )
    return False


def patches(tokens: Tensor, number: int | None, kind: str, clues: Clues) -> tuple[int, Grid]:
    """How many tokens stand before the patches, and the grid of these. Raises InputError where that cannot be told."""
    count, channels = int(tokens.shape[1]), int(tokens.shape[2])
    said = clues.ahead if number is None else number
    likely = (said, 0) if said is not None else (0, 1) if count > 2 else (0,)
    readings = {ahead: clues.grid_of(count - ahead) for ahead in {*likely, *range(min(MOST_AHEAD + 1, count))}}
    grids = {ahead: grid for ahead, grid in readings.items() if grid}
    seen = [ahead for ahead in grids if clues.grid_of(count - ahead, seen=True)]
    found = next((ahead for known in (seen, grids) for ahead in likely if ahead in known), None)
    if found is None and (kind != "auto" or clues.rows is None) and count > (number or 0):
        return number or 0, (count - (number or 0), 1)
    if kind == "auto" and number is None and count in clues.widths and clues.grid_of(channels, seen=True):
        found = found if count == channels else None  # a map of a convolution, its rows put one behind the other
    if found is not None and found not in seen and found != said:  # no more than a number that is a square
        whole = clues.tiles(grids[found])
        others = [ahead for ahead, grid in grids.items() if ahead > 1 and grid != (1, 1)]
        rivals = [ahead for ahead in others if ahead in seen or (clues.tiles(grids[ahead]) and not whole)]
        turned = kind == "auto" and count == clues.width and clues.grid_of(channels, seen=True)
        found = None if rivals or turned else found
    if found is not None:
        return found, grids[found]
    best = sorted(grids, key=lambda ahead: (ahead not in seen, not clues.tiles(grids[ahead]), ahead))[:4]
    choices = ", ".join(f"{ahead} leaves {grids[ahead][0]}×{grids[ahead][1]}" for ahead in best)
    raise InputError(
        f"{count} tokens of {channels} channels{f', {said} of them said to be no patches' if said else ''}: how many "
        f"stand before the patches? Say it with Teacher(…, prefix_tokens=…){f' ({choices})' if choices else ''}, or of "
        "one layer with layers={name: '5+NLC'}; 'NLC' alone makes one column of what is no grid, 'NCL' is for channels "
        "before tokens. Or let the layer put out a map (batch, channel, height, width)."
    )
