"""The teachers' features of one layer in one code: linear auto-encoders, trained or in closed form."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Map = Float[Tensor, "batch _ _ _"]


class Compressor(nn.Module):
    """The linear auto-encoders of one layer: one for all teachers, or a chain of them, one teacher after the other.

    Args:
        channels: of every teacher's feature.
        width: of the code.
        order: ``direct`` or ``incremental``.
    """

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
        code: Tensor = self.encoders[-1](self.stacked(features, self.levels - 1))
        return code

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
        """The optimum of a level in closed form: its principal components over all places of all images.

        A component's sign is free; its largest entry is made positive. Where the code is wider than the data, the
        rest of it is zero.
        """
        encoder, decoder = self.encoders[level], self.decoders[level]
        assert isinstance(encoder, nn.Conv2d)
        assert isinstance(decoder, nn.Conv2d)
        assert encoder.bias is not None
        assert decoder.bias is not None
        mean, covariance = moments(batches)
        _, vectors = torch.linalg.eigh(covariance)
        components = vectors.flip(1)[:, : encoder.out_channels]
        largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
        components = (components * largest.sign()).to(encoder.weight)
        rank = components.shape[1]
        for layer in (encoder, decoder):
            layer.weight.zero_()
        encoder.weight[:rank, :, 0, 0] = components.T
        encoder.bias.zero_()
        encoder.bias[:rank] = -(components.T @ mean.to(components))
        decoder.weight[:, :rank, 0, 0] = components
        decoder.bias.copy_(mean)


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
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
