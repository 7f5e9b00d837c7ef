"""What each term of the loss, and each teacher in it, asks of the student's feature: gradients on a batch.

A term can be large and teach nothing: what moves the student is its gradient at the feature, and whether that points
where the soft target's does. Both are taken as they act, weighted as in the loss, in eval mode, and change nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.methods.base import Method, Stage
from ka_explore.problem.pool import Batch
from ka_explore.run.loss import weights_in_force


def gradients(method: Method, stage: Stage, batch: Batch) -> dict[str, Float[Tensor, "batch"]]:
    """Size of every term's gradient at the student's feature, a sample, and its inner product with the soft target's.

    The method is in eval mode; the batch's size matters, as terms are means over it.

    Returns:
        ``gradient/<term>`` and ``along/<term>``, the same with ``/<teacher>`` for a term of one number a
        teacher; ``gradient/…`` in loss per unit of the feature, ``along/…`` in its square, zero where a stage
        has no soft target. Empty for a stage whose loss does not reach the student's feature.
    """
    with torch.enable_grad(), marked(method.feature_module(stage)) as marks:
        output = stage.forward(batch)
        parts = {name: term.unbind() for name, term in output.terms.items() if term.ndim}
    if not marks or not any(term.requires_grad for name, term in output.terms.items() if stage.weights.get(name)):
        return {}
    teachers = method.teaching if output.teachers is None else output.teachers
    weights = weights_in_force(method, stage)
    flat = {}
    for name, term in output.terms.items():
        weight = weights.get(name, 0.0)
        if name not in parts:
            flat[name] = at(marks, term, weight)
            continue
        own = [at(marks, part, weight) for part in parts[name]]
        flat |= {f"{name}/{teacher}": g for teacher, g in zip(teachers, own, strict=True)}
        flat[name] = torch.stack(own).sum(dim=0)
    answers = flat.get(stage.soft_term, torch.zeros(()))
    sizes = {f"gradient/{name}": g.norm(dim=1) for name, g in flat.items()}
    return sizes | {f"along/{name}": (g * answers).sum(dim=1) for name, g in flat.items()}


@contextmanager
def marked(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within the ``with``: what the module puts out is where differentiation ends, each time it runs."""
    marks: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or not torch.is_grad_enabled():
            return None
        marks.append(output.detach().requires_grad_())
        return marks[-1].clone()  # what follows may work in place

    handle = module.register_forward_hook(hook)
    try:
        yield marks
    finally:
        handle.remove()


def at(marks: list[Tensor], term: Tensor, weight: float) -> Float[Tensor, "batch feature"]:
    """The weighted gradient of a term at all marks, a row a sample; zero where it does not reach one."""
    found: tuple[Tensor | None, ...] = (None,) * len(marks)
    if term.requires_grad and weight:
        found = torch.autograd.grad(term, marks, retain_graph=True, allow_unused=True)
    rows = [torch.zeros_like(m) if g is None else g for m, g in zip(marks, found, strict=True)]
    return weight * torch.cat([row.flatten(1) for row in rows], dim=1)
