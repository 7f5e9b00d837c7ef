"""Plain nets read as chains of layers, and the matching of their units: what merging by permutation stands on."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.errors import InputError
from ka_explore.problem.layers import logits_of
from ka_explore.problem.teachers import Preprocess, Teacher

WAY_OUT = "Use common_feature, logit_space or distillation, which take teachers of any architecture."

# What acts on every channel by itself: a unit is the same unit after it.
CHANNELWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
    nn.ZeroPad2d, nn.Flatten,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

Weights = dict[str, Tensor]  # of one module, in float64


# The architecture.


@dataclass(frozen=True)
class Part:
    """A module with weights, and whose units it works on: -1 for the image's channels, else the place of a layer."""

    name: str
    module: nn.Module
    before: int  # whose units it is given
    after: int  # whose units it puts out; for a norm the same

    @property
    def units(self) -> int:
        """How many units a layer has."""
        assert isinstance(self.module, (nn.Conv2d, nn.Linear))
        return len(self.module.weight)


@dataclass(frozen=True)
class Plan:
    """A plain net read as a chain."""

    weighty: tuple[Part, ...]  # its modules with weights in order; the last is the linear layer that gives the logits
    seen: tuple[str, ...]  # by layer, the module whose output the activation is given
    kinds: tuple[str, ...]  # all modules with their arguments, but for the number of logits: the same in nets alike

    @property
    def hidden(self) -> list[Part]:
        """The convolutions and linear layers but the last: those whose units can be renamed."""
        return [part for part in self.weighty if isinstance(part.module, (nn.Conv2d, nn.Linear))][:-1]


def plan_of(teacher: Teacher) -> Plan:
    """The teacher's net as a chain. Raises InputError that says what stands in the way."""

    def refuse(why: str) -> InputError:
        return InputError(
            f"permutation_merging takes plain nets, nn.Sequential of convolutions, linear layers, batch norms, "
            f"activations and pooling that ends with a linear layer; {why} {WAY_OUT}"
        )

    owner = f"teacher {teacher.name!r}"
    if teacher.read is not logits_of:
        raise refuse(f"{owner} has a function of its own that reads the logits (read=…).")
    weighty: list[Part] = []
    seen: list[str] = []
    kinds: list[str] = []
    last, flat, fresh = -1, False, False
    for name, module in chain_of(teacher.module):
        kind, where = type(module), f"{owner} has {type(module).__name__} {name!r}"
        kinds.append(repr(module))
        if any(module is part.module for part in weighty):
            raise refuse(f"{where} twice in its chain.")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and kind in (nn.Conv2d, nn.Linear):
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                raise refuse(f"{where}, a convolution in groups, whose units cannot be renamed freely.")
            if isinstance(module, nn.Linear) and not flat:
                raise refuse(f"{where}, a linear layer on a map that was not flattened.")
            weighty.append(Part(name, module, last, last + 1))
            seen.append(name)
            last, flat, fresh = last + 1, isinstance(module, nn.Linear), True
        elif kind in NORMS:
            weighty.append(Part(name, module, last, last))
            if fresh:
                seen[-1] = name
            fresh = False
        elif kind in CHANNELWISE:
            if isinstance(module, nn.Flatten):
                if (module.start_dim, module.end_dim) != (1, -1):
                    raise refuse(f"{where} that does not flatten all axes but the first.")
                flat = True
            fresh = False
        else:
            raise refuse(f"{where}, which is none of these: a net with shortcuts or attention is no chain.")
    if not weighty or kinds[-1] != repr(weighty[-1].module) or not isinstance(weighty[-1].module, nn.Linear):
        raise refuse(f"{owner} does not end with a linear layer.")
    if len(seen) < 2:
        raise refuse(f"{owner} has no hidden layer: there is nothing to match.")
    linear = weighty[-1].module
    kinds[-1] = f"Linear(in_features={linear.in_features}, bias={linear.bias is not None})"
    return Plan(tuple(weighty), tuple(seen[:-1]), tuple(kinds))


def chain_of(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that a nest of ``nn.Sequential`` runs, one after the other, with their names."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        yield prefix, module
        return
    for name, child in module._modules.items():  # named_children leaves out a module that is there twice
        assert child is not None
        yield from chain_of(child, f"{prefix}.{name}" if prefix else name)


def children_of(module: nn.Module) -> dict[str, nn.Module]:
    """The parts of the outermost nn.Sequential that has more than one."""
    parts = {name: part for name, part in module._modules.items() if part is not None}
    return children_of(*parts.values()) if len(parts) == 1 else parts


def check_alike(teachers: Sequence[Teacher], plans: Sequence[Plan]) -> None:
    """Raises InputError unless there are two teachers or more, of one architecture."""
    if len(teachers) < 2:
        raise InputError(
            f"permutation_merging merges two teachers or more, got {teachers[0].name!r} alone. Use distillation."
        )
    first = plans[0].kinds
    for teacher, plan in zip(teachers[1:], plans[1:], strict=True):
        differ = [f"{one} and {other}" for one, other in zip(first, plan.kinds, strict=False) if one != other]
        if len(plan.kinds) != len(first):
            differ.append(f"{len(first)} and {len(plan.kinds)} modules")
        if differ:
            raise InputError(
                f"permutation_merging takes teachers of one architecture: {teachers[0].name!r} and {teacher.name!r} "
                f"differ, first in {differ[0]}. {WAY_OUT}"
            )


def common_preprocess(teachers: Sequence[Teacher]) -> Any:
    """What the student does to images: what the teachers do, or the average. Raises InputError where there is none."""
    all_of_them = [teacher.preprocess for teacher in teachers]
    if all(preprocess == all_of_them[0] for preprocess in all_of_them):
        return all_of_them[0]
    known = [p for p in all_of_them if isinstance(p, Preprocess)]
    alike = {(dataclasses.replace(p, mean=(), std=()), len(p.mean), len(p.std)) for p in known}
    if len(known) < len(all_of_them) or len(alike) > 1:
        raise InputError(
            "permutation_merging makes one net of the teachers, which can only normalise its images in one way: give "
            "all teachers the same preprocess, or Preprocess(…) that differ in nothing but the numbers of mean and std."
        )
    mean, std = (
        tuple(sum(v) / len(v) for v in zip(*numbers, strict=True))
        for numbers in ([p.mean for p in known], [p.std for p in known])
    )
    return dataclasses.replace(known[0], mean=mean, std=std)


def weighty_parts(*modules: nn.Module) -> list[nn.Module]:
    """Those of their inner modules that have weights, in order."""
    return [part for module in modules for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear, *NORMS))]


def weights_of(module: nn.Module) -> Weights:
    """Weights and running statistics of one module, in float64 on the CPU, without its counters."""
    return {n: t.detach().cpu().double() for n, t in module.state_dict().items() if t.is_floating_point()}


def assign(module: nn.Module, weights: Weights) -> None:
    """Overwrite weights and running statistics of one module."""
    own = module.state_dict()
    with torch.no_grad():
        for name, values in weights.items():
            own[name].copy_(values.to(own[name]))


# The matching.


def matched(
    plan: Plan,
    first: Sequence[Weights],
    net: Sequence[Weights],
    correlation: Sequence[Float[Tensor, "_ _"]],
    share: float,
    sweeps: int,
) -> list[Int64[Tensor, "_"]]:
    """By layer, a net's unit for each unit of the first; below a = 1 sweeps start from the activations' matching."""
    orders = [assignment(c) if share < 1 else torch.arange(len(c)) for c in correlation]
    for _ in range(sweeps if share else 0):
        before = list(orders)
        for layer, alike in enumerate(correlation):
            similarity = (1 - share) * alike + share * weight_similarity(plan, first, net, orders, layer)
            orders[layer] = assignment(similarity)
        if all(torch.equal(new, old) for new, old in zip(orders, before, strict=True)):
            break
    return orders


def weight_similarity(
    plan: Plan, first: Sequence[Weights], net: Sequence[Weights], orders: Sequence[Tensor], layer: int
) -> Float[Tensor, "unit unit"]:
    """cos(Z_l): mean cosine of the units' incoming and outgoing weights, without the last layer's (other classes)."""
    own = list(orders)
    own[layer] = torch.arange(len(orders[layer]))  # the neighbours' order, but its own units as they are numbered
    ordered = permuted(plan, net, own)
    parts = []
    for part, one, other in zip(plan.weighty, first, ordered, strict=True):
        if not isinstance(part.module, (nn.Conv2d, nn.Linear)):
            continue
        if part.after == layer:
            parts.append(cosines(incoming(one), incoming(other)))
        elif part.before == layer and part is not plan.weighty[-1]:
            units = len(orders[layer])
            parts.append(cosines(outgoing(one["weight"], units), outgoing(other["weight"], units)))
    return torch.stack(parts).mean(dim=0)


def incoming(weights: Weights) -> Float[Tensor, "unit weight"]:
    """The weights and the bias that make each unit."""
    rows = weights["weight"].flatten(1)
    return torch.cat([rows, weights["bias"][:, None]], dim=1) if "bias" in weights else rows


def outgoing(weight: Float[Tensor, "..."], units: int) -> Float[Tensor, "unit weight"]:
    """The weights through which each unit is read; after flattening a unit has as many inputs as places."""
    return weight.unflatten(1, (units, -1)).transpose(0, 1).flatten(1)


def cosines(one: Float[Tensor, "unit weight"], other: Float[Tensor, "unit weight"]) -> Float[Tensor, "unit unit"]:
    """The cosine of every row with every row; 0 for a row of zeros."""
    return functional.normalize(one, dim=1) @ functional.normalize(other, dim=1).T


def assignment(similarity: Float[Tensor, "unit unit"]) -> Int64[Tensor, "unit"]:
    """For every row its column in the one-to-one matching of largest total similarity (Hungarian algorithm)."""
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    return torch.from_numpy(columns).long()


def permuted(plan: Plan, net: Sequence[Weights], orders: Sequence[Int64[Tensor, "_"]]) -> list[Weights]:
    """The same net with its units in another order: at place i of a layer stands unit ``order[i]``."""
    moved = []
    for part, weights in zip(plan.weighty, net, strict=True):
        if part.after >= 0 and part.after < len(orders):
            weights = {name: taken(values, orders[part.after], axis=0) for name, values in weights.items()}
        if part.before >= 0 and part.before != part.after:
            weights = weights | {"weight": taken(weights["weight"], orders[part.before], axis=1)}
        moved.append(weights)
    return moved


def taken(values: Tensor, order: Int64[Tensor, "unit"], *, axis: int) -> Tensor:
    """Values along an axis in the order of the units; a flattened unit's places stay together."""
    places = values.shape[axis] // len(order)
    return values.unflatten(axis, (len(order), places)).index_select(axis, order).flatten(axis, axis + 1)


def rows(feature: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "channel sample"]:
    """A map as one row a unit, every place of every image a sample."""
    return feature.transpose(0, 1).flatten(1)


class Moments:
    """Sums over samples that make the correlation of the units of two nets."""

    def __init__(self) -> None:
        self.samples = 0
        self.near: tuple[Tensor, ...] = ()  # each unit's mean in the first batch: less cancels in sums about it
        self.sums: tuple[Tensor, ...] = ()

    def add(self, one: Float[Tensor, "unit sample"], other: Float[Tensor, "unit sample"]) -> None:
        """Take more samples in."""
        self.near = self.near or (one.mean(dim=1, keepdim=True), other.mean(dim=1, keepdim=True))
        one, other = one - self.near[0], other - self.near[1]
        sums = (one @ other.T, one.sum(dim=1), other.sum(dim=1), one.square().sum(dim=1), other.square().sum(dim=1))
        new = tuple(part.double().cpu() for part in sums)
        self.sums = tuple(a + b for a, b in zip(self.sums, new, strict=True)) if self.sums else new
        self.samples += one.shape[1]

    def correlation(self) -> Float[Tensor, "unit unit"]:
        """Pearson's, of the first net's units with the other's; 0 for a unit that never varies."""
        product, one, other, one_squared, other_squared = (part / self.samples for part in self.sums)
        spreads = one_squared - one.square(), other_squared - other.square()
        own, others = (torch.where(spread > 1e-12, spread, torch.inf).rsqrt() for spread in spreads)
        return (product - one[:, None] * other) * own[:, None] * others
