"""The parts of a training step: what is trained, by which optimiser, at which rate, with which random numbers.

Each is a function of (config, seed, step) or of the modules, so that no step depends on how it was reached.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ka_explore.errors import NotApplicable
from ka_explore.methods.base import Method, Stage
from ka_explore.methods.config import TrainingConfig
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.run.loss import add_balances, loss_of, sums, weights_in_force
from ka_explore.run.rng import LocalGenerator


def build(kind: type[Method], problem: Problem, config: TrainingConfig, seed: int) -> Method:
    """A method with the initial weights of a seed; labels only for a method that says it uses them."""
    with LocalGenerator(seed):
        method = kind(problem if kind.uses_labels else problem.without_labels(), config)
    method.came_frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    add_balances(method)
    return method.eval().requires_grad_(False)


def prepare(method: Method, stage: Stage) -> None:
    """What the stage trains has gradients and is in training mode; all else is frozen and in eval mode."""
    training = {id(module) for trained in stage.trains for module in trained.modules()}
    for module in method.modules():
        module.training = id(module) in training
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(module.training)


@contextmanager
def in_eval_mode(method: nn.Module) -> Iterator[None]:
    """Within the ``with``: eval mode and no gradients; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def training_step(
    method: Method, stage: Stage, batch: Batch, optimizer: torch.optim.Optimizer, rate: float, precision: str
) -> tuple[dict[str, Any], list[str]]:
    """Forward, loss, backward, update: what a row says of it, and what was not finite, whereupon nothing changed."""
    with torch.autocast(batch.images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        output = stage.forward(batch)
        by_name = sums(output)
        loss = loss_of(method, stage, by_name)
    terms = {name: float(term.detach()) for name, term in by_name.items()}
    total = float(loss.detach())
    row = {"loss": total, "terms": terms, "weights": weights_in_force(method, stage)}
    bad = [name for name, value in {**terms, "loss": total}.items() if not math.isfinite(value)]
    if bad or not stage.trains or not loss.requires_grad:  # nothing that is trained has a part in it
        return row, bad
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
        return row, ["gradient"]
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    optimizer.step()
    return row, []


def make_optimizer(method: Method, stage: Stage, state: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimiser of what a stage trains, one group a module, with the state of the parameters that have one."""
    rates = stage.rates or (1.0,) * len(stage.trains)
    seen: set[nn.Parameter] = set()
    groups = []
    for module, factor in zip(stage.trains, rates, strict=True):
        parameters = [p for p in module.parameters() if p not in seen]
        seen.update(parameters)
        if parameters:
            groups.append({"params": parameters, "factor": factor})
    if not groups:
        return torch.optim.SGD([torch.zeros(())], lr=0.0)
    config = method.config
    adam = config.optimizer == "adam"
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    options |= {"fused": True} if adam else {"momentum": 0.9}
    optimizer: torch.optim.Optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(groups, **options)
    names = dict(method.named_parameters())
    for name, values in state.items():
        if name in names and names[name] in seen:
            optimizer.state[names[name]] = {
                key: value.to(names[name].device).clone() if isinstance(value, Tensor) else value
                for key, value in values.items()
            }
    return optimizer


def rate_at(config: TrainingConfig, within: int, steps: int) -> float:
    """The learning rate ``within`` steps into a stage of ``steps``: a pure function."""
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * within / steps))
    if config.schedule == "step":
        return config.learning_rate * (0.1 if within >= steps / 2 else 1.0)
    return config.learning_rate


def fold_in(seed: int, step: int) -> int:
    """One seed from two numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int, step: int, device: torch.device, *, draws: bool = True) -> Iterator[None]:
    """Within the ``with``: the random numbers of this thread's torch operations are those of (seed, step).

    On the CPU they come from a generator of their own (`LocalGenerator`), so that no other thread meets them. On a GPU,
    whose fused operations take no other generator, the device's global one is set, and set back afterwards: another
    thread that draws on the same GPU meanwhile disturbs and is disturbed.

    Where nothing on the CPU ``draws``, nothing needs to be watched.
    """
    gpu = device.type == "cuda"
    chosen = fold_in(seed, step) if gpu or draws else 0
    before = torch.cuda.get_rng_state(device) if gpu else None
    try:
        if gpu:
            torch.cuda.manual_seed(chosen)
        with LocalGenerator(chosen) if draws else nullcontext():
            yield
    finally:
        if before is not None:
            torch.cuda.set_rng_state(before, device)


def shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of named tensors."""
    return {name: tuple(value.shape) for name, value in state.items()}


def check_applicable(old: Method, new: Method, at: int, changes: Mapping[str, Any]) -> None:
    """Whether a run that was ``old`` for ``at`` steps can go on as ``new``.

    Raises NotApplicable for weights of other shapes, other stages before that step, or another optimiser in the
    middle of a stage.
    """
    wanted = f"{', '.join(f'{name}={value!r}' for name, value in changes.items())} at step {at}"
    way_out = "Fork at step 0, or start another run."
    before, after = shapes(old.state_dict()), shapes(new.state_dict())
    for name in [*before, *after]:
        if before.get(name) != after.get(name):
            raise NotApplicable(
                f"{wanted}: {name} is {before.get(name, 'not there')} in the run and {after.get(name, 'not there')} "
                f"with the change. {way_out}"
            )
    start = 0
    others = iter(new.stages())
    for stage in old.stages():
        if start >= at:
            return
        other = next(others, None)
        end = start + stage.steps
        if (
            other is None
            or other.name != stage.name
            or (other.steps != stage.steps if at > end else start + other.steps < at)
        ):
            now = f"{other.name!r} of {other.steps} steps" if other else "nothing"
            raise NotApplicable(
                f"{wanted}: the run has done {'stage' if at >= end else 'a part of stage'} {stage.name!r} of "
                f"{stage.steps} steps, with the change there is {now}. {way_out}"
            )
        if at < start + other.steps and old.config.optimizer != new.config.optimizer:
            raise NotApplicable(
                f"{wanted}: in the middle of stage {stage.name!r}, {new.config.optimizer} cannot go on from "
                f"{old.config.optimizer}'s state. Fork at step {start}, where the stage begins."
            )
        start += stage.steps
