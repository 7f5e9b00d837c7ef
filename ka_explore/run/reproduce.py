"""How to make a run, a fork or a page of them again: as the Python that a cell takes, and as the command to type.

All of it is read from what ``run.json`` holds; every place that shows how something is made asks here. No torch.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ka_explore.methods import METHODS
from ka_explore.methods.config import typed

TOY = "ka_explore.toy"
# What a run may be made with besides its method's options, and what it is when nothing is said.
SAID = {"seed": 0, "tasks": None, "device": "auto", "threads": None, "precision": "float32"}
EVERY = {"checkpoint_every": 100, "snapshot_every": 50}
TO_THE_END = "advance(None)"

C = TypeVar("C")


def plain_value(value: Any) -> Any:
    """An option's value as ``run.json`` or a config has it, tuples as tuples."""
    return tuple(value) if isinstance(value, list) else value


def config_at(configs: Sequence[tuple[int, C] | Sequence[Any]], step: int) -> C:
    """The options in force for the step after ``step`` steps, of (step from which they are in force, options)."""
    return next(config for start, config in reversed(configs) if start <= step or start == 0)


def defaults_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run's method where nothing is said; none of an unknown method, or where there is no torch."""
    try:
        return asdict(METHODS[about["method"]].Config()) if about["method"] in METHODS else {}
    except ModuleNotFoundError:
        return {}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are other than before, with their new values."""
    return {
        name: plain_value(value)
        for name, value in after.items()
        if name not in before or plain_value(before[name]) != plain_value(value)
    }


def in_words(changes: Mapping[str, Any]) -> str:
    """Options as prose names them, typed as on the command line: ``steps=60, mmd_weight=0.0``."""
    return ", ".join(f"{name}={shlex.quote(typed(plain_value(value)))}" for name, value in changes.items())


def called(options: Mapping[str, Any]) -> str:
    """Options as they stand in a call: ``steps=60, mmd_weight=0.0``."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def quoted(text: object) -> str:
    """A text in double quotes, with its letters as they are."""
    return json.dumps(str(text), ensure_ascii=False)


def fork_call(name: str, at: int | None, changes: Mapping[str, Any]) -> str:
    """``run.fork("mmd weight 0", at=120, mmd_weight=0.0)``."""
    where = "" if at is None else f"at={at}"
    return f"run.fork({', '.join(filter(None, (quoted(name), where, called(changes))))})"


def fork_lines(name: str, at: int | None, changes: Mapping[str, Any]) -> str:
    """The lines that fork a run and train the fork to its end."""
    return f"fork = {fork_call(name, at, changes)}\nfork.{TO_THE_END}"


def open_lines(*folders: object) -> str:
    """The lines that open runs from their folders."""
    return "\n".join(["from ka_explore import Run", "", *(f"run = Run.open({quoted(f)})" for f in folders)]) + "\n"


def from_scratch(about: Mapping[str, Any], *, names: Mapping[int, str] | None = None) -> str:
    """The lines that make a run anew, forks included; names on the way are by step of the fork, 0 for the first."""
    names, configs = dict(names or {}), about["configs"]
    last = configs[-1][0]
    names[last] = str(about["name"])
    options = {name: plain_value(about[name]) for name, usual in (SAID | EVERY).items() if about[name] != usual}
    if "tasks" in options:
        options["tasks"] = list(options["tasks"])
    options |= differences(defaults_of(about), configs[0][1])
    module, _, problem = str(about["problem"]["name"]).partition(":")
    if module == TOY:
        chosen = {key: plain_value(value) for key, value in about["problem"]["options"].items()}
        lines = ["from ka_explore import Run, toy", "", f"problem = toy.{problem}({called(chosen)})"]
    else:
        made_by_hand = "# problem: the teachers and images that the run was made with"
        lines = ["from ka_explore import Run", "", made_by_hand]
    method = quoted(about["method"])
    if about["method"] not in METHODS:
        method = "Mine"
        lines.insert(2, "# Mine: the class of the method that the run was made with")
    parts = ["problem", method, f"name={quoted(names.get(0, about['method']))}", called(options)]
    lines.append(f"run = Run({', '.join(filter(None, parts))})")
    step, before = 0, configs[0][1]
    for start, config in configs[1:]:
        changes = differences(before, config)
        if changes or start == last:
            lines.append(f"run.advance({start - step})")
            lines.append(f"run = {fork_call(names.get(start, f'from {start}'), start, changes)}")
            step, before = start, config
    return "\n".join([*lines, f"run.{TO_THE_END}"]) + "\n"


def with_fork(about: Mapping[str, Any], name: str, at: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` of a fork would hold, as far as `from_scratch` reads it."""
    before = [[start, config] for start, config in about["configs"] if start < at]
    config = {**config_at(about["configs"], at), **changes}
    return {**about, "name": name, "configs": [*before, [at, config]], "parent": [about["name"], at]}


def command(*words: object, **options: Mapping[str, Any]) -> str:
    """A command as it is typed; options are flags that are said once a value: ``--set steps=60 --set mmd_weight=0``."""
    pairs = [(flag, f"{name}={value}") for flag, values in options.items() for name, value in values.items()]
    return shlex.join(["ka-explore", *map(str, words), *(word for flag, pair in pairs for word in (f"--{flag}", pair))])


def fork_command(folder: object, name: str, at: int | None, changes: Mapping[str, Any]) -> str:
    """The command that forks a run and trains the fork to its end."""
    where = () if at is None else ("--at", at)
    return command("fork", folder, name, *where, set=typed_of(changes))


def run_command(about: Mapping[str, Any]) -> str:
    """The command that makes a run anew, where its problem is one of ours, or forks it from its parent."""
    name, configs = str(about["name"]), about["configs"]
    if about["parent"] is not None:
        parent, at = about["parent"]
        before = config_at(configs, at - 1) if at else defaults_of(about)
        return fork_command(f"runs/{parent}", name, at, differences(before, configs[-1][1]))
    problem = str(about["problem"]["name"]).removeprefix(f"{TOY}:") or "MODULE:FUNCTION"
    words = ["run", problem, about["method"], "--folder", f"runs/{name}", "--seed", about["seed"]]
    if about["snapshot_every"] != EVERY["snapshot_every"]:
        words += ["--snapshots", about["snapshot_every"]]
    if about["tasks"] is not None:
        words += ["--tasks", ",".join(about["tasks"])]
    options = {n: v if isinstance(v, str) else json.dumps(v) for n, v in about["problem"]["options"].items()}
    return command(*words, option=options, set=typed_of(differences(defaults_of(about), configs[-1][1])))


def typed_of(changes: Mapping[str, Any]) -> dict[str, str]:
    """Options as they are typed."""
    return {name: typed(plain_value(value)) for name, value in changes.items()}


def kept_as(name: str, folder: Path) -> str:
    """Where a command finds a run; one in a temporary folder is called as if it were kept."""
    return f"runs/{name}" if folder.name.startswith("ka-explore-") else str(folder)
