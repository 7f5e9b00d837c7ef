"""A run and its forks as the Python that makes them, ready to paste into a cell."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ka_explore.methods import METHODS

TOY = "ka_explore.toy"
# What a run may be made with besides its method's options, and what it is when nothing is said.
SAID = {"seed": 0, "tasks": None, "device": "auto", "threads": None, "precision": "float32"}
EVERY = {"checkpoint_every": 100, "snapshot_every": 50}

Config = Mapping[str, Any]


def plain_value(value: Any) -> Any:
    """An option's value as ``run.json`` or a config has it, tuples as tuples."""
    return tuple(value) if isinstance(value, list) else value


def config_at(configs: Sequence[Sequence[Any]], step: int) -> Config:
    """The options in force for the step after ``step`` steps, of what ``run.json`` calls configs."""
    return next(config for start, config in reversed(configs) if start <= step or start == 0)


def differences(before: Config, after: Config) -> dict[str, Any]:
    """The options that are other than before, with their new values."""
    return {
        name: plain_value(value)
        for name, value in after.items()
        if name not in before or plain_value(before[name]) != plain_value(value)
    }


def called(options: Mapping[str, Any]) -> str:
    """Options as they stand in a call: ``steps=60, mmd_weight=0.0``."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def quoted(text: str) -> str:
    """A text in double quotes, with its letters as they are."""
    return json.dumps(text, ensure_ascii=False)


def fork_call(name: str, at: int, changes: Mapping[str, Any], *, of: str = "run") -> str:
    """``run.fork("mmd weight 0", at=120, mmd_weight=0.0)``."""
    return f"{of}.fork({', '.join(filter(None, (quoted(name), f'at={at}', called(changes))))})"


def open_call(folder: object) -> str:
    """The lines that open a run from its folder."""
    return f"from ka_explore import Run\n\nrun = Run.open({quoted(str(folder))})\n"


def from_scratch(about: Mapping[str, Any], *, names: Mapping[int, str] | None = None) -> str:
    """The lines that make a run anew: the problem, the run, and a fork wherever other options came into force.

    Args:
        about: what ``run.json`` holds.
        names: of the runs on the way, by the step at which they were forked; 0 for the first.
    """
    names, configs = dict(names or {}), about["configs"]
    last = configs[-1][0]
    names[last] = str(about["name"])
    first = dict(asdict(METHODS[about["method"]].Config()))
    options = {name: plain_value(about[name]) for name, usual in SAID.items() if about[name] != usual}
    options |= {name: about[name] for name, usual in EVERY.items() if about[name] != usual}
    if "tasks" in options:
        options["tasks"] = list(options["tasks"])
    options |= differences(first, configs[0][1])
    head, problem = problem_lines(about["problem"])
    parts = ["problem", quoted(about["method"]), f"name={quoted(names.get(0, str(about['method'])))}", called(options)]
    lines = [*head, "", *problem, f"run = Run({', '.join(filter(None, parts))})"]
    step, before = 0, configs[0][1]
    for start, config in configs[1:]:
        changes = differences(before, config)
        if changes or start == last:
            lines.append(f"run.advance({start - step})")
            lines.append(f"run = {fork_call(names.get(start, f'from {start}'), start, changes)}")
            step, before = start, config
    return "\n".join([*lines, "run.advance(None)"]) + "\n"


def problem_lines(problem: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Imports, and the problem; of one that was made by hand only a comment."""
    module, _, name = str(problem["name"]).partition(":")
    if module != TOY:
        return ["from ka_explore import Run"], ["# problem: the teachers and images that the run was made with"]
    options = {key: plain_value(value) for key, value in problem["options"].items()}
    return ["from ka_explore import Run, toy"], [f"problem = toy.{name}({called(options)})"]


def with_fork(about: Mapping[str, Any], name: str, at: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` of a fork would hold, as far as `from_scratch` reads it."""
    before = [[start, config] for start, config in about["configs"] if start < at]
    config = {**config_at(about["configs"], at), **changes}
    return {**about, "name": name, "configs": [*before, [at, config]], "parent": [about["name"], at]}
