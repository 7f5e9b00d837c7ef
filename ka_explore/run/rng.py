"""Random numbers of a run's own, so that it shares torch's global generator with nobody: no cell, no other run.

Nets draw by operations that take the global generator unless they are given another (dropout does); within
`LocalGenerator` those of this thread are given one. It looks at every operation, which costs a small net a fifth of its
step, so that a step of a method that cannot draw goes without (`uses_rng`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

# Modules of torch that draw, besides those with a number called dropout (attention, recurrent nets).
RANDOM = (_DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)

aten = torch.ops.aten


class LocalGenerator(TorchDispatchMode):
    """Within the ``with``: what this thread's operations on the CPU draw comes from a generator with this seed.

    They draw what they would draw right after ``torch.manual_seed(seed)``, and a ``torch.manual_seed`` inside is
    without effect on them. Operations on a GPU are left alone. A net that runs again in the backward pass
    (``torch.utils.checkpoint``) must not draw: torch would give it the global generator there.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if not draws(operation) or device_of(arguments, options).type != "cpu":
            return operation(*arguments, **options)
        if any(isinstance(a, torch.Generator) for a in (*arguments, *options.values())):
            return operation(*arguments, **options)
        given = with_generator(operation)
        if given is not None:
            return given(*arguments, **{**options, "generator": self.generator})
        if operation in REWRITTEN:
            return REWRITTEN[operation](self.generator, *arguments, **options)
        with self:  # made of others: below autograd they come one by one, without it (inference mode) at once
            made = operation.decompose(*arguments, **options)
        if made is not NotImplemented:
            return made
        # No generator can be given: the global one is borrowed for this operation.
        seed = int(torch.randint(2**62, (), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return operation(*arguments, **options)


@cache
def draws(operation: Any) -> bool:
    """Whether an operation of torch draws random numbers."""
    return torch.Tag.nondeterministic_seeded in operation.tags


@cache
def with_generator(operation: Any) -> Any:
    """The operation, or its sister with the same arguments, that takes a generator; None where there is none."""

    def arguments(one: Any) -> list[tuple[str, str]]:
        return [(a.name, str(a.type)) for a in one._schema.arguments if a.name != "generator"]

    packet = operation.overloadpacket
    for one in (operation, *(getattr(packet, name) for name in packet.overloads())):
        takes = any(a.name == "generator" for a in one._schema.arguments)
        if takes and arguments(one) == arguments(operation):
            return one
    return None


def device_of(arguments: Sequence[Any], options: Mapping[str, Any]) -> torch.device:
    """Where an operation computes: on the device it is told, or that of its first tensor."""
    if options.get("device") is not None:
        return torch.device(options["device"])
    found = next((a for a in (*arguments, *options.values()) if isinstance(a, Tensor)), None)
    return torch.device("cpu") if found is None else found.device


def dropout(generator: torch.Generator, given: Tensor, rate: float, train: bool | None = None) -> tuple[Tensor, Tensor]:
    """``aten::native_dropout``: the tensor with elements dropped and the rest scaled up, and which were kept."""
    if train is False:
        return given.clone(), torch.ones_like(given, dtype=torch.bool)
    kept = torch.empty_like(given, dtype=torch.bool).bernoulli_(1 - rate, generator=generator)
    return given * kept * (1 / (1 - rate) if rate < 1 else 0.0), kept


def drawn_like(draw: str) -> Callable[..., Tensor]:
    """A tensor like another, filled by one of torch's in-place draws."""

    def fill(generator: torch.Generator, like: Tensor, *bounds: Any, **options: Any) -> Tensor:
        bounds = (0, *bounds) if draw == "random_" and len(bounds) == 1 else bounds
        return getattr(torch.empty_like(like, **options), draw)(*bounds, generator=generator)

    return fill


# Operations that take no generator and are not made of others, as they are made here.
REWRITTEN: dict[Any, Callable[..., Any]] = {
    aten.native_dropout.default: dropout,
    aten.rand_like.default: drawn_like("uniform_"),
    aten.randn_like.default: drawn_like("normal_"),
    aten.randint_like.default: drawn_like("random_"),
    aten.randint_like.low_dtype: drawn_like("random_"),
}


def uses_rng(net: nn.Module) -> bool:
    """Whether a net might draw random numbers as it runs: no only where every module of it is known not to."""
    return any(map(module_uses_rng, net.modules()))


def module_uses_rng(module: nn.Module) -> bool:
    """Whether one module itself might: one of torch's that does, or one that is neither torch's nor ours."""
    rate, before = getattr(module, "dropout", 0.0), getattr(module, "preprocess", None)
    return (
        not type(module).__module__.startswith(("torch.nn.", "ka_explore."))
        or isinstance(module, RANDOM)
        or (isinstance(rate, (int, float)) and rate > 0)
        or bool(module._forward_hooks or module._forward_pre_hooks)
        or not (before is None or isinstance(before, nn.Module) or type(before).__module__.startswith("ka_explore."))
    )
