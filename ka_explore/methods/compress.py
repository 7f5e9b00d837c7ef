"""The teachers' features of one layer in one code: linear auto-encoders, trained or in closed form.

`Coded` is what the methods share whose student learns from such codes, layer by layer or all layers at once.
"""

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError
from ka_explore.methods.base import AmalgamationConfig, Batches, Method, Stage
from ka_explore.methods.config import TrainingConfig, option
from ka_explore.methods.losses import averaged_to
from ka_explore.problem.layers import Outputs
from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import Teacher

Map = Float[Tensor, "batch _ _ _"]


@dataclass(frozen=True)
class CodedConfig(AmalgamationConfig):
    """Options of the methods whose student learns from codes of the teachers' features."""

    layers: tuple[str, ...] = option((), "the student's layers that regress a code; none named: all its blocks")
    amalgamation: Literal["autoencoder", "pca"] = option(
        "pca", "how features are compressed: a linear auto-encoder is trained, or its optimum in closed form"
    )
    order: Literal["direct", "incremental"] = option(
        "direct", "teachers compressed all at once, or one after the other"
    )
    adaption: bool = option(True, "1×1 feature adaption modules between the student's features and the codes")


class Coded(Method, ABC):
    """A student that learns from codes of the teachers' features, a code a layer."""

    config: CodedConfig
    needs_features = True

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        self.check_blocks("layer-wise amalgamation")
        self.layers = self.blocks_named(self.config.layers)
        self.shapes = {name: f.shape[1:] for name, f in self.student(problem.pool.images[:2]).features.items()}
        self.compressors = nn.ModuleDict({layer: self.make_compressor(layer) for layer in self.layers})
        self.adaptions = nn.ModuleDict(
            {layer: identity(self.shapes[layer][0]) for layer in self.layers} if self.config.adaption else {}
        )

    def teacher_layers(self) -> Mapping[str, Sequence[str]]:
        """The blocks of every teacher that teaches which are matched to the student's layers."""
        return {name: [self.block_of(name, layer) for layer in self.layers] for name in self.teaching}

    def feature_module(self, stage: Stage) -> nn.Module:  # noqa: ARG002
        """The student's last layer that regresses a code."""
        return self.student.module_of(self.layers[-1])

    def take_components(self, batches: Batches, *, layer: str, level: int) -> None:
        """Encoder and decoder become the principal components of the stacked channels over the whole pool."""
        compressor = self.compressor(layer)
        features = (self.features(batch.teachers, layer) for batch in batches())
        compressor.solve(level, (compressor.stacked(of_batch, level) for of_batch in features))

    def make_compressor(self, layer: str) -> "Compressor":
        """The auto-encoder of a layer. Raises InputError when a teacher's map is smaller than the student's."""
        channels = []
        for name in self.teaching:
            feature, size = self.problem.examples[name].features[self.block_of(name, layer)], self.shapes[layer][1:]
            if feature.shape[2] < size[0] or feature.shape[3] < size[1]:
                raise InputError(
                    f"layer {layer!r}: teacher {name!r} has maps of {feature.shape[2]}×{feature.shape[3]}, the student "
                    f"of {size[0]}×{size[1]}. Larger maps are averaged to the student's size; a smaller one holds less "
                    f"than the student must regress: {self.way_out(name, layer)}"
                )
            channels.append(feature.shape[1])
        return Compressor(channels, self.shapes[layer][0], order=self.config.order)

    def way_out(self, name: str, layer: str) -> str:
        """What to choose where a teacher's map is smaller than the student's: its layers that are not, other layers."""
        teacher, size = self.problem.teacher(name), self.shapes[layer][1:]
        shapes = {
            one.name: one.shape[2:]
            for one in Teacher.layers_of(teacher.module, teacher.inputs(self.problem.pool.images[:2]))
            if one.shape is not None and len(one.shape) == 4
        }
        large = [one for one, (height, width) in shapes.items() if height >= size[0] and width >= size[1]]
        large = sorted(large, key=lambda one: one.count("."))[:6]  # whole blocks before their parts
        others = [other for other in self.layers if other != layer]
        ways = [f"match one of its layers {', '.join(large)} with Teacher(blocks=[…])"] if large else []
        ways += [f"leave this one out with layers={others!r}"] if others else []
        return ", or ".join([*ways, "make the student's map smaller by a larger stride."])

    def compressor(self, layer: str) -> "Compressor":
        """The auto-encoder of a layer."""
        found = self.compressors[layer]
        assert isinstance(found, Compressor)
        return found

    def block_of(self, teacher: str, layer: str) -> str:
        """Which block of a teacher stands against a layer of the student."""
        return self.problem.teacher(teacher).blocks[self.student.blocks.index(layer)]

    def features(self, teachers: Mapping[str, Outputs], layer: str) -> list[Map]:
        """F_i^l of every teacher that teaches, averaged to the student's size."""
        _, height, width = self.shapes[layer]
        raw = [teachers[name].features[self.block_of(name, layer)] for name in self.teaching]
        return [averaged_to(feature, (height, width)) for feature in raw]


class Compressor(nn.Module):
    """The linear auto-encoders of one layer: one for all teachers, or (incremental) one teacher after the other."""

    def __init__(self, channels: Sequence[int], width: int, *, order: str):
        super().__init__()
        everyone = list(range(len(channels)))
        self.channels = tuple(channels)
        self.groups = [everyone[:2], *([i] for i in everyone[2:])] if order == "incremental" else [everyone]
        sizes = [sum(channels[i] for i in group) + (width if level else 0) for level, group in enumerate(self.groups)]
        self.encoders = nn.ModuleList(pointwise(size, width) for size in sizes)
        self.decoders = nn.ModuleList(pointwise(width, size) for size in sizes)

    @property
    def levels(self) -> int:
        """How many auto-encoders stand one after the other."""
        return len(self.groups)

    def stacked(self, features: Sequence[Map], level: int) -> Map:
        """What the auto-encoder of a level is given: the code so far and its teachers' features."""
        parts = [features[i] for i in self.groups[level]]
        if level:
            parts.insert(0, self.encoders[level - 1](self.stacked(features, level - 1)))
        return torch.cat(parts, dim=1)

    def code(self, features: Sequence[Map]) -> Map:
        """All teachers' features in one code."""
        return self.encoders[-1](self.stacked(features, self.levels - 1))

    def rebuilt(self, code: Map) -> list[Map]:
        """Every teacher's feature, decoded from the code level by level."""
        parts: list[Tensor] = []
        for level in reversed(range(self.levels)):
            sizes = [self.channels[i] for i in self.groups[level]]
            stacked = self.decoders[level](code)
            if level:
                code, stacked = stacked[:, : -sum(sizes)], stacked[:, -sum(sizes) :]
            parts = [*stacked.split(sizes, dim=1), *parts]
        return parts

    def solve(self, level: int, batches: Iterable[Tensor]) -> None:
        """The optimum of a level: its principal components, each one's largest entry positive; further code is zero."""
        encoder, decoder = (dict(side[level].named_parameters()) for side in (self.encoders, self.decoders))
        mean, covariance = moments(batches)
        _, vectors = torch.linalg.eigh(covariance)
        components = vectors.flip(1)[:, : len(encoder["weight"])]
        largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
        components = (components * largest.sign()).to(encoder["weight"])
        rank = components.shape[1]
        for values in (encoder["weight"], encoder["bias"], decoder["weight"]):
            values.zero_()
        encoder["weight"][:rank, :, 0, 0] = components.T
        encoder["bias"][:rank] = -(components.T @ mean.to(components))
        decoder["weight"][:, :rank, 0, 0] = components
        decoder["bias"].copy_(mean)


def moments(batches: Iterable[Tensor]) -> tuple[Float[Tensor, "channel"], Float[Tensor, "channel channel"]]:
    """Mean and covariance of the channels over all places of all images, in double precision."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        rows = batch.permute(0, 2, 3, 1).flatten(0, 2).double()
        count += len(rows)
        total = total + rows.sum(dim=0)
        products = products + rows.T @ rows
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def pointwise(channels: int, width: int) -> nn.Conv2d:
    """A linear map of the channels at each place; uniform ±√(3 / channels), bias 0 (the lab's code)."""
    layer = nn.Conv2d(channels, width, 1)
    nn.init.uniform_(layer.weight, -((3 / channels) ** 0.5), (3 / channels) ** 0.5)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def identity(width: int) -> nn.Conv2d:
    """A feature adaption module that does nothing yet."""
    layer = nn.Conv2d(width, width, 1)
    nn.init.dirac_(layer.weight)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer
