"""The student: a chain of named segments with one head a task, or any net with named layers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, KaError, brief, checked
from ka_explore.problem.arrays import is_plain
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs, as_taken, find_layers, forward, logits_of, read_logits
from ka_explore.problem.layouts import Clues, layout_of, to_map


class Student(nn.Module, ABC):
    """The net being trained: images in, logits (one a column of the label space) and named features out.

    Make one with `Student.chain` (layer-wise learning needs its segments) or with `Student.of` (any net).
    """

    chain: ClassVar[type["Chain"]]
    of: ClassVar[type["Wrapped"]]
    preprocess: Callable[[Tensor], Tensor] | None

    def __call__(self, images: Tensor) -> Outputs:
        """What it puts out for images, floats in the pool's range. Raises InputError for what it cannot take."""
        if not is_plain(images) or images.ndim != 4:
            what = "a plain tensor of floats (batch, channel, height, width) in the pool's range"
            raise InputError(f"a student takes {what}, got {brief(images)}; Run.predict makes one of what it is given.")
        taken = images if images.dtype == torch.float32 else as_taken(self, images)
        try:
            outputs: Outputs = super().__call__(taken)
        except (KaError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            what = f"the student cannot take images of shape {tuple(images.shape[1:])} (channel, height, width)"
            raise InputError(f"{what}: {type(error).__name__}: {error}") from error
        return outputs

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Names of the features, from early to late."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """Logits and features of a batch of the pool's images."""

    @abstractmethod
    def module_of(self, layer: str) -> nn.Module:
        """The module whose output is the feature of a layer."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """The layers that methods which go block by block match to the teachers' blocks, one for one."""
        return self.layers

    @property
    def feature_layer(self) -> str:
        """The last named layer: "the feature" of methods that take one a net."""
        return self.layers[-1]


class Chain(Student):
    """A chain of named segments and one head a task.

    Each segment's output is the feature of that name; the last one goes into the heads. Let a segment
    begin with what follows the layer before (activation, pooling) and end with its own convolution, and
    its output is the pre-activation feature that layer-wise learning regresses.

    Args:
        segments: modules in order, by name.
        heads: one module a task, in the order of ``labels.tasks``; their logits side by side are the
            student's logits, one for each of ``labels.columns``.
        preprocess: from the pool's images to the input of the first segment.
    """

    @checked
    def __init__(
        self,
        segments: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        if not segments or not heads:
            raise InputError("a student needs at least one segment and one head.")
        try:
            self.segments = nn.ModuleDict(segments)
            self.heads = nn.ModuleDict(heads)
        except KeyError as error:
            raise InputError(f"a segment or head cannot be called so: {error}. Choose another name.") from error
        self.preprocess = preprocess
        # What follows in place would change a feature that was put out already.
        self.in_place = any(getattr(module, "inplace", False) for module in self.modules())

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the segments."""
        return tuple(self.segments)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The segments that have something to learn."""
        return tuple(name for name, segment in self.segments.items() if any(True for _ in segment.parameters()))

    def module_of(self, layer: str) -> nn.Module:
        """A segment."""
        return self.segments[layer]

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """The images through the chain; every head reads the last segment.

        Raises InputError for a segment's output that can be read in two ways: tokens that make no grid.
        """
        feature = images if self.preprocess is None else self.preprocess(images)
        clues = Clues(self)
        clues.begin(feature)
        features = {}
        for name, segment in self.segments.items():
            feature = segment(feature)
            plain = feature.clone() if self.in_place else feature
            try:
                features[name] = to_map(plain, clues=None if getattr(plain, "ndim", 3) == 4 else clues)
            except InputError as error:
                raise InputError(
                    f"segment {name!r} of the student: let it put out a map (batch, channel, height, width), or make "
                    f"the student with Student.of, which takes layouts. {error}"
                ) from error
        return Outputs(torch.cat([head(feature) for head in self.heads.values()], dim=1), features)


class Wrapped(Student):
    """Any net with named layers as a student; its layers are tapped by hooks that live for one call.

    Raises InputError for unknown layers and, when called, for logits that do not fit ``labels.columns``.
    """

    @checked
    def __init__(
        self,
        module: nn.Module,
        *,
        layers: Sequence[str] | Mapping[str, str] | str,
        labels: LabelSpace,
        read: Callable[[Any], Tensor] = logits_of,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        if isinstance(layers, str) or not layers:
            raise InputError(f"layers of the student must be a list of at least one name, got {layers!r}.")
        self.layouts = layout_of(layers)
        find_layers("the student", module, list(self.layouts))
        self.module = module
        self.columns = len(labels.columns)
        self.read = read
        self.preprocess = preprocess

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the tapped layers, as given."""
        return tuple(self.layouts)

    def module_of(self, layer: str) -> nn.Module:
        """The tapped module."""
        return find_layers("the student", self.module, [layer])[layer]

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """One forward of the net with its layers tapped."""
        inputs = images if self.preprocess is None else self.preprocess(images)
        output, features = forward("the student", self.module, inputs, self.layouts)
        return Outputs(read_logits("the student", self.read, output, images.shape[0], self.columns), features)


Student.chain, Student.of = Chain, Wrapped
