"""The method at a step of a run: its weights, the options in force, its stages and its optimiser.

All of it is a function of (options, weights, optimiser's state, step); a checkpoint holds the last three.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ka_explore.errors import StoreError
from ka_explore.methods.base import Method, Stage
from ka_explore.methods.config import TrainingConfig
from ka_explore.problem.problem import Problem
from ka_explore.run.loss import stages_of
from ka_explore.run.reproduce import config_at
from ka_explore.run.rng import uses_rng
from ka_explore.run.step import build, make_optimizer


class State:
    """A method, and where it stands; ``configs`` are (step from which they are in force, options) in order."""

    def __init__(
        self,
        kind: type[Method],
        problem: Problem,
        configs: Sequence[tuple[int, TrainingConfig]],
        seed: int,
        device: torch.device,
        method: Method | None = None,
    ):
        self.kind, self.problem, self.configs, self.seed, self.device = kind, problem, list(configs), seed, device
        self.step = 0
        self._optimizer: tuple[str, torch.optim.Optimizer] | None = None
        self._optimizer_state: dict[str, Any] = {}
        self._adopt(method if method is not None else self.build(self.config_at(0)))

    def begin(self) -> None:
        """Go to step 0 with the initial weights of the seed."""
        self._adopt(self.build(self.config_at(0)))
        self.step = 0

    def build(self, config: TrainingConfig) -> Method:
        """The method with the initial weights and these options."""
        return build(self.kind, self.problem, config, self.seed)

    def config_at(self, step: int) -> TrainingConfig:
        """The options in force for the step after ``step`` steps."""
        return config_at(self.configs, step)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of the step after ``step`` steps, and how far into it that is; the last stage at the end."""
        for stage, start, end in zip(self.stages, self.starts, self.starts[1:], strict=False):
            if step < end:
                return stage, step - start
        return self.stages[-1], step - self.starts[-2]

    def optimizer_of(self, stage: Stage) -> torch.optim.Optimizer:
        """The optimiser of a stage; made when the stage is entered, or from a checkpoint's state."""
        if self._optimizer is None or self._optimizer[0] != stage.name:
            kept = self._optimizer_state if self._optimizer_state.get("stage") == stage.name else {}
            self._optimizer = stage.name, make_optimizer(self.method, stage, kept.get("state", {}))
            self._optimizer_state = {}
        return self._optimizer[1]

    def checkpoint(self) -> dict[str, Any]:
        """Weights, the optimiser's state and a number: all that `restore` needs."""
        return {"step": self.step, "method": self.method.state_dict(), "optimizer": self._optimizer_states()}

    def restore(self, step: int, checkpoint: dict[str, Any]) -> None:
        """Go to the step of a checkpoint. Raises StoreError when it holds other weights than the method has."""
        # The weights of a step belong to the options that led to it.
        config = self.config_at(max(step - 1, 0))
        method = self.method if self.method.config == config else self.build(config)
        if kinds(checkpoint["method"]) != kinds(method.state_dict()):
            raise StoreError(f"checkpoint {step} holds other weights than the method has.")
        if not fits_optimizer(checkpoint["optimizer"], method):
            raise StoreError(f"checkpoint {step} holds another state than the optimiser of the method has.")
        method.load_state_dict(checkpoint["method"])
        self._adopt(method)
        self._optimizer_state = checkpoint["optimizer"]
        self.step = step
        self.use(self.config_at(step))

    def most_bytes(self) -> int:
        """How large a checkpoint is at most: the weights, three times for the optimiser, and room for all names."""
        return 2**24 + 16 * sum(t.numel() * t.element_size() for t in self.method.state_dict().values())

    def _adopt(self, method: Method) -> None:
        """Go on with this method, its optimiser not yet made."""
        self.method = method.to(self.device)
        nn.utils.convert_conv2d_weight_memory_format(self.method, torch.channels_last)  # convolutions are faster so
        self.draws = uses_rng(self.method)  # whether it may draw random numbers
        stages, starts = stages_of(self.method), [0]
        for stage in stages:
            starts.append(starts[-1] + stage.steps)
        self.stages, self.starts = stages, starts  # whole: another thread may ask for them
        self._optimizer, self._optimizer_state = None, {}

    def use(self, config: TrainingConfig) -> None:
        """Go on under other options, with the same weights and optimiser state."""
        if self.method.config == config:
            return
        weights, state = self.method.state_dict(), self._optimizer_states()
        self._adopt(self.build(config))
        self.method.load_state_dict(weights)
        self._optimizer_state = state

    def _optimizer_states(self) -> dict[str, Any]:
        """The optimiser's state by parameter name, so that it survives a change of what is trained."""
        if self._optimizer is None:
            return self._optimizer_state
        names: dict[Tensor, str] = {p: name for name, p in self.method.named_parameters()}
        state = {names[p]: dict(values) for p, values in self._optimizer[1].state.items()}
        return {"stage": self._optimizer[0], "state": state}


def kinds(weights: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """By name, what a tensor must be like to take another's place; of one without numbers nothing fits."""
    return {name: (tuple(t.shape), t.dtype, t.layout, t.is_meta) for name, t in weights.items()}


def fits_optimizer(kept: Mapping[str, Any], method: Method) -> bool:
    """Whether this is what an optimiser keeps of some of a method's parameters."""
    wanted = {"step", "exp_avg", "exp_avg_sq"} if method.config.optimizer == "adam" else {"momentum_buffer"}
    parameters, states = dict(method.named_parameters()), kept.get("state", {})

    def fits(name: object, values: object) -> bool:
        if name not in parameters or not isinstance(values, dict) or values.keys() != wanted:
            return False
        like = parameters[str(name)]
        whole = {key: torch.empty((), dtype=torch.float32) if key == "step" else like for key in values}
        return all(map(torch.is_tensor, values.values())) and kinds(values) == kinds(whole)

    return isinstance(states, dict) and all(fits(name, values) for name, values in states.items())
