"""What a run has moved: the weights of the nets that it trains beside those of its first checkpoint.

Needs the nets, as `ka_explore.diagnosis.examine` does; the numbers stand beside those of the teachers.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ka_explore.errors import StoreError

if TYPE_CHECKING:
    from ka_explore.run.run import Run


def moved(run: "Run") -> dict[str, Any]:
    """Which parts of the nets that the stages begun so far teach have the very bits of the first checkpoint.

    Returns:
        ``until``: the step looked at; ``parts``: how many modules have weights of their own, and ``still``: the names
        of those of which none has moved; ``share``: of the parameters that are in these; ``norms``: how many of them
        are batch norms that keep moments, and ``unfed``: the names of those that never saw a batch;
        ``frozen``: the student's parameters that came with ``requires_grad=False`` although a stage trains them, and
        ``frozen_share``: of its parameters. Empty before the first step.

    Only the first of the modules that a stage trains counts, the net that it teaches: what helps it, such as the
    decoder of a term without a weight, may rest.
    """
    with run.turn():
        first = next(iter(run.checkpoints), run.step)
        spans = zip(run.stages, run.boundaries, run.boundaries[1:], strict=False)
        taught = [stage.trains[0] for stage, start, end in spans if stage.trains and start < run.step and end > first]
        try:
            before = run.store.load_checkpoint(first)["method"] if taught else {}
        except StoreError:  # damaged: the run has noted it
            before = {}
        return compared(run.method, taught, before, run.method.came_frozen) | {"until": run.step} if before else {}


def compared(
    method: nn.Module, taught: Sequence[nn.Module], before: Mapping[str, torch.Tensor], came_frozen: Collection[str]
) -> dict[str, Any]:
    """The numbers of `moved`, of these nets within a method, whose weights were once those ``before``."""
    parts = {part for net in taught for part in net.modules()}
    shown = {name: name.removeprefix("student.").removeprefix("module.") for name, _ in method.named_modules()}
    sizes, still, unfed, norms = {}, [], [], 0
    for name, part in method.named_modules():
        own = {f"{name}.{key}": p.detach().cpu() for key, p in part.named_parameters(recurse=False)}
        if part not in parts or not own:
            continue
        sizes[name] = sum(p.numel() for p in own.values())
        if all(torch.equal(p, before[key]) for key, p in own.items()):
            still.append(name)
        if isinstance(part, _BatchNorm) and part.num_batches_tracked is not None:
            norms += 1
            if int(part.num_batches_tracked) == 0:
                unfed.append(shown[name])
    trained = {id(p) for part in parts for p in part.parameters(recurse=False)}
    own = {f"student.{name}": p for name, p in method.get_submodule("student").named_parameters()}
    frozen = [name for name in own if name in came_frozen and id(own[name]) in trained]
    return {
        "parts": len(sizes),
        "still": [shown[name] for name in still],
        "share": sum(sizes[name] for name in still) / max(sum(sizes.values()), 1),
        "norms": norms,
        "unfed": unfed,
        "frozen": sorted({shown[name.rpartition(".")[0]] for name in frozen}),
        "frozen_share": sum(own[name].numel() for name in frozen) / max(sum(p.numel() for p in own.values()), 1),
    }
