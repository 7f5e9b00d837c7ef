"""What if: controls made from a method's options; a change never edits the past, it offers a fork."""

import math
from collections.abc import Iterable
from typing import Any

import traitlets

from ka_explore.errors import InputError
from ka_explore.methods.config import Option, options_of
from ka_explore.panels.branch import Branch
from ka_explore.panels.forking import WITHOUT, ForkingPanel, differing_names, kind_of, value_of, values_of, wanted
from ka_explore.panels.layout import Room
from ka_explore.panels.status import Message
from ka_explore.panels.widget import source
from ka_explore.plots import colour_of, marker_of
from ka_explore.run.reproduce import fork_lines, from_scratch, with_fork

DECADES = 100.0  # a logarithmic slider reaches so many times above and below what is in force
FIRST = ("alpha", "temperature", "learning_rate", "without")  # with all weights: what is tried first


class WhatIf(ForkingPanel):
    """Sliders, switches and choices for every option of the active branch, and the fork that they lead to."""

    _esm = source("shared.js", "controls.js", "what_if.js")
    _css = source("shared.css", "what_if.css")
    topics = frozenset({"branches", "rows", "viewed_step"})
    room = Room(340, 420)
    answers = frozenset({"fork", "propose"})

    controls = traitlets.Dict().tag(sync=True)
    branch = traitlets.Dict().tag(sync=True)
    recorded = traitlets.Int().tag(sync=True)
    viewed_step = traitlets.Float().tag(sync=True)
    proposal = traitlets.Dict().tag(sync=True)
    _branch: Branch | None = None  # whose options are shown

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The active branch's options, their values by step, and how far it is recorded."""
        branch, session = self.session.branch, self.session
        state: dict[str, Any] = {"recorded": len(branch.rows), "viewed_step": float(session.viewed_step)}
        if "branches" in changed:
            if branch is not self._branch:
                self._branch = branch
                state["problem"] = {}
            configs = [[start, values_of(config)] for start, config in branch.about["configs"]]
            state["branch"] = {"name": branch.name, "method": branch.about["method"], "configs": configs}
            state["controls"] = controls_of(branch)
        return state

    def summary(self) -> str:
        """The branch whose options can be changed."""
        branch = self.session.branch
        told = controls_of(branch)
        options = f"{len(told['options'])} options of {branch.name} ({branch.about['method']})"
        return f"what if: {told['why'] or options}"

    def propose(self, message: Message) -> None:
        """Say what a fork with these changes would be called, whether it can be, and the Python that makes it."""
        session = self.session
        branch = session.branches.get(str(message.get("of", ""))) or session.branch
        at = int(message.get("at", branch.step))
        changes, wrong, name = wanted(session, branch, at, message)
        names = {start: other for start, other in differing_names(session, branch).items() if start < at}
        self.proposal = {
            "view": message.get("view", ""), "name": name,
            "errors": {option: str(error) for option, error in wrong.items()},
            "code": f"# run is {branch.name!r}\n{fork_lines(name, at, changes)}\n",
            "whole": from_scratch(with_fork(branch.about, name, at, changes), names=names),
        }  # fmt: skip


def controls_of(branch: Branch) -> dict[str, Any]:
    """What the browser needs to draw a control for every option, those to try first at the front; why there is none."""
    try:
        options = options_of(kind_of(branch))
    except InputError as error:
        return {"method": branch.about["method"], "options": [], "teachers": [], "without": "", "why": str(error)}
    configs = [config for _, config in branch.about["configs"]]
    names = [teacher["name"] for teacher in branch.about.get("teachers", ())]
    had = {name: [config.get(name, option.default) for config in configs] for name, option in options.items()}
    controls = [control_of(option, had[name]) for name, option in options.items() if name != WITHOUT]
    teachers = [{"name": name, "marker": marker_of(name, names), "colour": colour_of(name, names)} for name in names]
    told, without = (teachers, options[WITHOUT].text) if WITHOUT in options else ([], "")
    return {"method": branch.about["method"], "options": controls, "teachers": told, "without": without, "why": ""}


def control_of(option: Option, values: Iterable[Any] = ()) -> dict[str, Any]:
    """A control for one option; ``values`` are those that it has had, which a slider must reach."""
    kind = "choice" if option.choices else option.kind.__name__ if option.kind in (bool, int, float) else "text"
    return {
        "name": option.name, "kind": kind, "choices": list(option.choices or ()), "optional": option.optional,
        "text": option.text, "default": value_of(option.default),
        "low": finite(option.low), "high": finite(option.high),
        "slider": slider_range(option, values), "first": bool(option.weighs) or option.name in FIRST,
    }  # fmt: skip


def slider_range(option: Option, values: Iterable[Any] = ()) -> dict[str, Any] | None:
    """Ends of a slider around the default and the values in force; None where there is nothing to slide.

    Logarithmic ones reach two decades each way, with a stop at 0 where 0 is allowed; others their whole range if that
    is short, else some times the largest value.
    """
    if option.kind not in (int, float) or option.choices or (option.low is not None and option.low == option.high):
        return None
    low = -math.inf if option.low is None else float(option.low)
    high = math.inf if option.high is None else float(option.high)
    known = [float(v) for v in (option.default, *values) if isinstance(v, (int, float)) and math.isfinite(v)]
    most = max((abs(v) for v in known), default=0.0)
    if option.log:
        above = [v for v in known if v > 0] or [0.1]
        least = 1.0 if option.kind is int else 0.0
        ends = max(min(above) / DECADES, low, least), min(max(above) * DECADES, high)
        return {"low": ends[0], "high": ends[1], "log": True, "zero": low <= 0}
    if high - low <= 20 * max(most, 1.0):
        return {"low": low, "high": high, "log": False, "zero": False}
    top = min(4 * most if most else 128.0 if option.kind is int else 1.0, high)
    return {"low": low if low >= -top else -top, "high": top, "log": False, "zero": False}


def finite(number: float | None) -> float | None:
    """A number that JSON can say."""
    return number if number is not None and math.isfinite(number) else None
