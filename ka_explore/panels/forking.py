"""Forks as panels ask for them: values as controls hold them, a free name, the Python, and what goes wrong in words."""

import re
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import traitlets

from ka_explore.errors import InputError, KaError, NotApplicable, unknown
from ka_explore.methods import METHODS
from ka_explore.methods.config import TrainingConfig, options_of, parse
from ka_explore.panels.branch import Branch, name_of, plain_name
from ka_explore.panels.session import Session
from ka_explore.panels.status import Message
from ka_explore.panels.widget import Panel
from ka_explore.run.reproduce import config_at, plain_value

if TYPE_CHECKING:
    from ka_explore.run.run import Run

WITHOUT = "without"  # the option that names the teachers which do not teach


class ForkingPanel(Panel):
    """A panel that asks for forks, by its id: what goes wrong is shown where it was asked."""

    answers: ClassVar[frozenset[str]] = frozenset({"fork"})  # the verbs it takes up, each by its method of this name

    panel_id = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session):
        super().__init__(session)
        self.panel_id = uuid4().hex
        session.panels[self.panel_id] = self

    def answer(self, message: Message) -> None:
        """Do what a message asks."""
        getattr(self, message["do"])(message)

    def tell(self, problem: Mapping[str, Any], view: str = "") -> None:
        """Show what went wrong, soon; nothing where it is empty."""
        self.session.soon(partial(setattr, self, "problem", {"view": view, **problem} if problem else {}))

    def fork(self, message: Message) -> "Future[Run] | None":
        """Fork a branch: ``{changes, name, of, at, play}``; the new one plays on where that is asked.

        What goes wrong is told by option, and with the steps where it can be done instead. Returns None where the
        changes do not even fit the options.
        """
        session, view, option = self.session, str(message.get("view", "")), ""
        self.tell({})
        try:
            branch = session.known(str(message.get("of") or session.active))
            at = int(message["at"]) if message.get("at") is not None else branch.step
            if not 0 <= at <= len(branch.rows):
                raise InputError(f"step {at} of {branch.name} is not recorded: 0 to {len(branch.rows)} are.")
            changes, wrong, name = wanted(session, branch, at, message)
            for option in wrong:
                raise wrong[option]
            future = session.fork(changes, name=name, of=branch.name, at=at)
        except KaError as error:
            self.tell(problem_of(error, message) | {"option": option}, view)
            return None

        def done(made: "Future[Run]") -> None:
            if made.cancelled():
                return
            if (error := made.exception()) is not None:
                if session.error == str(error):
                    session.driver.dismiss()  # it is told where it was asked
                self.tell(problem_of(error, message), view)
            elif message.get("play"):
                session.play()

        future.add_done_callback(done)
        return future


def kind_of(branch: Branch) -> type[TrainingConfig]:
    """The class of a branch's options. Raises InputError for a method that is not known here, or without torch."""
    if (method := branch.about["method"]) not in METHODS:
        raise unknown("method", method, METHODS)
    try:
        return METHODS[method].Config
    except ModuleNotFoundError as error:
        raise InputError(f"to fork with other options needs {error.name}: pip install {error.name}.") from None


def value_of(value: Any) -> Any:
    """An option's value for a control: a tuple as the text that is typed, all else as it is."""
    if isinstance(value, (tuple, list)):
        return ", ".join(part if isinstance(part, str) else repr(part).removesuffix(".0") for part in value)
    return value


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All options' values for the controls; the teachers that are left out as a list of names."""
    return {name: list(value) if name == WITHOUT else value_of(value) for name, value in config.items()}


def read(kind: type[TrainingConfig], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a config takes them, from what controls send. Raises InputError for a text that is no tuple."""
    tuples = {name: option for name, option in options_of(kind).items() if option.kind is tuple}
    return {
        name: parse(tuples[name], value) if name in tuples and isinstance(value, str) else plain_value(value)
        for name, value in changes.items()
    }


def wanted(
    session: Session, branch: Branch, at: int, message: Message
) -> tuple[dict[str, Any], dict[str, InputError], str]:
    """The options that a message changes, as their types; why others do not fit; and a free name for the fork."""
    kind = kind_of(branch)
    config = kind.of(config_at(branch.about["configs"], at))
    changes, wrong = {}, {}
    for option, value in dict(message.get("changes", {})).items():
        try:
            changes[option] = getattr(config.replace(**read(kind, {option: value})), option)
        except InputError as error:
            wrong[option] = error
    told = {option: changes[option] for option in message.get("told", changes) if option in changes}
    name = plain_name(str(message.get("name") or "")) or name_of(told or changes) or f"{branch.name} again"
    return changes, wrong, session.free_name(name, beside=branch)


def differing_names(session: Session, branch: Branch) -> dict[int, str]:
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


def problem_of(error: BaseException, message: Message) -> dict[str, Any]:
    """What went wrong, in words, and the steps at which the same can be done."""
    steps: dict[int, str] = {}
    if isinstance(error, NotApplicable):
        if found := re.search(r"Fork at step (\d+), where the stage begins", str(error)):
            steps[int(found[1])] = f"⎇ fork at step {found[1]}, where the stage begins"
        steps[0] = "⎇ fork at step 0 instead"
    offers = [{"at": at, "text": text} for at, text in steps.items()]
    asked = {name: message[name] for name in ("changes", "told", "name", "of", "play") if name in message}
    text = str(error) if isinstance(error, KaError) else f"{type(error).__name__}: {error}"
    return {"text": text, "offers": offers, "option": "", "asked": asked, "number": message.get("number", 0)}
