"""Forks as panels ask for them: values as controls hold them, a free name, the Python, and what goes wrong in words."""

import itertools
import re
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.errors import InputError, KaError, NotApplicable, unknown
from ka_explore.methods import METHODS
from ka_explore.methods.config import TrainingConfig, options_of, parse
from ka_explore.panels.branch import Branch
from ka_explore.panels.session import name_of, plain_name
from ka_explore.run.reproduce import config_at, fork_lines, from_scratch, plain_value, with_fork

if TYPE_CHECKING:
    from ka_explore.panels.session import Session
    from ka_explore.run.run import Run

WITHOUT = "without"  # the option that names the teachers which do not teach

PANELS: "weakref.WeakValueDictionary[str, Any]" = weakref.WeakValueDictionary()
"""Panels that ask for forks, by their id: what goes wrong is shown where it was asked."""


def answer_forks(session: "Session") -> None:
    """Let a session answer ``fork`` and ``propose``, whichever panel asks, or none that is left."""
    here = weakref.ref(session)

    def fork(message: Mapping[str, Any]) -> None:
        panel, at = PANELS.get(str(message.get("panel", ""))), here()
        if panel is not None:
            panel.fork(message)
        elif at is not None:
            fork_as_asked(at, message, lambda problem: at.fail(InputError(problem["text"])))

    def propose(message: Mapping[str, Any]) -> None:
        panel = PANELS.get(str(message.get("panel", "")))
        if panel is not None:
            panel.propose(message)

    session.answer("fork", fork)
    session.answer("propose", propose)


# Values


def kind_of(branch: Branch) -> type[TrainingConfig]:
    """The class of a branch's options. Raises InputError for a method that is not known here."""
    method = branch.about["method"]
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    return METHODS[method].Config


def value_of(value: Any) -> Any:
    """An option's value for a control: a tuple as the text that is typed, all else as it is."""
    if isinstance(value, (tuple, list)):
        return ", ".join(part if isinstance(part, str) else repr(part).removesuffix(".0") for part in value)
    return value


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All options' values for the controls; the teachers that are left out as a list of names."""
    return {name: list(value) if name == WITHOUT else value_of(value) for name, value in config.items()}


def read(kind: type[TrainingConfig], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the options' types, from what controls send. Raises InputError that says what was expected."""
    options, found = options_of(kind), {}
    for name, value in changes.items():
        if name not in options:
            raise unknown("option", name, options)
        option = options[name]
        found[name] = parse(option, value) if option.kind is tuple and isinstance(value, str) else plain_value(value)
    return found


# Forks


def proposed(session: "Session", message: Mapping[str, Any]) -> dict[str, Any]:
    """Name, Python and what is wrong, option by option, of a fork that a message asks for."""
    branch = session.branches.get(str(message.get("of", ""))) or session.branch
    at, sent = int(message.get("at", branch.step)), dict(message.get("changes", {}))
    kind = kind_of(branch)
    config = kind.of(config_at(branch.about["configs"], at))
    wrong, changes = {}, {}
    for name, value in sent.items():
        try:
            changes[name] = getattr(config.replace(**read(kind, {name: value})), name)
        except InputError as error:
            wrong[name] = str(error)
    told = {name: changes[name] for name in message.get("told", changes) if name in changes}
    wanted = plain_name(str(message.get("name", ""))) or plain_name(name_of(told or changes)) or f"{branch.name} again"
    name = free_name(session, branch, wanted)
    others = differing_names(session, branch)
    code = f"# run is {branch.name!r}\n{fork_lines(name, at, changes)}\n"
    about = with_fork(branch.about, name, at, changes)
    return {
        "name": name,
        "errors": wrong,
        "code": code,
        "whole": from_scratch(about, names={start: other for start, other in others.items() if start < at}),
    }


def differing_names(session: "Session", branch: Branch) -> dict[int, str]:
    """What the runs on the way to a branch are called, by the step at which they were forked."""
    names: dict[int, str] = {}
    seen: set[Branch] = set()
    by_name = {other.about["name"]: other for other in session.branches.values()}
    found: Branch | None = branch
    while found is not None and found not in seen:
        seen.add(found)
        parent = found.parent
        names.setdefault(0 if parent is None else parent[1], str(found.about["name"]))
        found = None if parent is None else by_name.get(parent[0])
    return names


def free_name(session: "Session", parent: Branch, wanted: str) -> str:
    """A name that no branch has and no run beside a kept parent: the wanted one, or with a number."""
    beside: Path | None = parent.folder.parent if parent.kept else None

    def taken(name: str) -> bool:
        return name in session.branches or (beside is not None and (beside / name).exists())

    numbered = (wanted if i == 1 else f"{wanted} {i}" for i in itertools.count(1))
    return next(name for name in numbered if not taken(name))


def fork_as_asked(
    session: "Session", message: Mapping[str, Any], told: Callable[[dict[str, Any]], object]
) -> "Future[Run] | None":
    """Fork a branch: ``{changes, name, of, at, play}``; the new one plays on where that is asked.

    Args:
        session: of the branch.
        message: what is changed, the name wanted, the parent, the step, and whether to play at once.
        told: called with what went wrong, in words, by option, and with the steps where it can be done instead.

    Returns None where the changes do not even fit the options.
    """
    of = str(message.get("of") or session.active)
    sent = dict(message.get("changes", {}))
    try:
        if of not in session.branches:
            raise unknown("branch", of, session.branches)
        parent = session.branches[of]
        kind = kind_of(parent)
        at = int(message["at"]) if message.get("at") is not None else parent.step
        if not 0 <= at <= len(parent.rows):
            raise InputError(f"step {at} of {of} is not recorded: 0 to {len(parent.rows)} are.")
        config = kind.of(config_at(parent.about["configs"], at))
        changes: dict[str, Any] = {}
        for name, value in sent.items():
            try:
                changes |= {name: getattr(config.replace(**read(kind, {name: value})), name)}
            except InputError as error:
                told(problem_of(error, message) | {"option": name})
                return None
        named = {name: changes[name] for name in message.get("told", changes) if name in changes}
        wanted = plain_name(str(message.get("name") or "")) or name_of(named or changes) or f"{of} again"
        future = session.fork(changes, name=free_name(session, parent, wanted), of=of, at=at)
    except KaError as error:
        told(problem_of(error, message))
        return None

    def done(made: "Future[Run]") -> None:
        if made.cancelled():
            return
        error = made.exception()
        if error is not None:
            if session.error == str(error):
                session.dismiss()  # it is told where it was asked
            told(problem_of(error, message))
        elif message.get("play"):
            session.play()

    future.add_done_callback(done)
    return future


def problem_of(error: BaseException, message: Mapping[str, Any]) -> dict[str, Any]:
    """What went wrong, in words, and the steps at which the same can be done."""
    offers = []
    if isinstance(error, NotApplicable):
        found = re.search(r"Fork at step (\d+), where the stage begins", str(error))
        if found and int(found[1]) > 0:
            offers.append({"at": int(found[1]), "text": f"⎇ fork at step {found[1]}, where the stage begins"})
        offers.append({"at": 0, "text": "⎇ fork at step 0 instead"})
    text = str(error) if isinstance(error, KaError) else f"{type(error).__name__}: {error}"
    asked = {name: message[name] for name in ("changes", "told", "name", "of", "play") if name in message}
    return {"text": text, "offers": offers, "option": "", "asked": asked, "number": message.get("number", 0)}
