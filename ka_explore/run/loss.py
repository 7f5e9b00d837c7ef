"""The weighted sum of a stage's terms, with weights as given or moved by GradNorm.

A stage declares the weights; its output has the terms, each one number or one a teacher. What is added up, balanced and
recorded is here, so that no method does any of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ka_explore.methods.balance import GradNorm
from ka_explore.methods.base import Batches, Method, Stage, StepOutput


def add_balances(method: Method) -> None:
    """Give a method what moves the weights of its stages' terms, if its options say so and more than one has any."""
    if getattr(method.config, "balance", "fixed") == "gradnorm":
        for stage in method.stages():
            terms = [name for name, weight in stage.weights.items() if weight]
            if len(terms) > 1 and stage.competes:
                method.balances[stage.name.replace(".", "-")] = GradNorm(terms)  # no module's name has a dot


def stages_of(method: Method) -> list[Stage]:
    """The method's table of contents, GradNorm trained beside the rest; its initial terms are the first images'."""
    stages = []
    for stage in method.stages():
        balance = balance_of(method, stage)
        if balance is not None:
            rates = stage.rates or (1.0,) * len(stage.trains)
            begin = partial(begin_balanced, stage, balance)
            stage = replace(stage, trains=(*stage.trains, balance), rates=(*rates, 1.0), begin=begin)
        stages.append(stage)
    return stages


def begin_balanced(stage: Stage, balance: GradNorm, batches: Batches) -> None:
    """What the stage does at its begin, then GradNorm's initial terms."""
    if stage.begin is not None:
        stage.begin(batches)
    balance.start(sums(stage.forward(next(iter(batches())))))


def balance_of(method: Method, stage: Stage) -> GradNorm | None:
    """What moves the weights of a stage's terms; None where they are as given."""
    balance = dict(method.balances.items()).get(stage.name.replace(".", "-"))
    assert balance is None or isinstance(balance, GradNorm)
    return balance


def sums(output: StepOutput) -> dict[str, Float[Tensor, ""]]:
    """Every term as one number, the sum over teachers."""
    return {name: term.sum() for name, term in output.terms.items()}


def loss_of(method: Method, stage: Stage, terms: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Σ weight · term over weights not zero: an idle term costs nothing. Raises TypeError for a missing term."""
    missing = [name for name, weight in stage.weights.items() if weight and name not in terms]
    if missing:
        raise TypeError(f"stage {stage.name!r} weighs {', '.join(missing)}; its output has {', '.join(terms)}.")
    balance = balance_of(method, stage)
    if balance is not None:
        return balance(terms, stage.weights, stage.trains[0].parameters())
    used = [stage.weights[name] * term for name, term in terms.items() if stage.weights.get(name)]
    return torch.stack(used).sum() if used else sum((0.0 * term for term in terms.values()), torch.zeros(()))


def weights_in_force(method: Method, stage: Stage) -> dict[str, float]:
    """What every weighted term counts in the loss now."""
    balance = balance_of(method, stage)
    if balance is None:
        return dict(stage.weights)
    factors = dict(zip(balance.terms, balance.factors.tolist(), strict=True))
    return {name: weight * factors.get(name, 1.0) for name, weight in stage.weights.items()}
