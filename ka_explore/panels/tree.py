"""The branches of a session as a tree of forks: what was forked from what, with which changes, and how far each is."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ka_explore.panels.branch import Branch, in_letters
from ka_explore.panels.forking import differing_names
from ka_explore.panels.session import Session
from ka_explore.plots.comparing import run_colour
from ka_explore.run.reproduce import config_at, differences, from_scratch, open_lines


def tree_of(session: Session, agreements: Mapping[Branch, tuple[int, dict[str, float]]]) -> list[dict[str, Any]]:
    """A line a branch: forks below what they were forked from, in the order of the session."""
    branches = list(session.branches.values())
    parents = {branch: parent_of(branch, branches) for branch in branches}
    for branch in branches:  # names that were used twice must not make a circle
        above, seen = parents[branch], {branch}
        while above is not None and above not in seen:
            seen.add(above)
            above = parents[above]
        if above is not None:
            parents[branch] = None
    below: dict[Branch | None, list[Branch]] = {}
    for branch in branches:
        below.setdefault(parents[branch], []).append(branch)
    lines: list[dict[str, Any]] = []

    def add(branch: Branch, level: int) -> None:
        line = line_of(session, branch, parents[branch], branches.index(branch), agreements.get(branch))
        lines.append(line | {"level": level, "forks": len(below.get(branch, ()))})
        for fork in below.get(branch, ()):
            add(fork, level + 1)

    for root in below.get(None, ()):
        add(root, 1)
    return lines


def line_of(
    session: Session, branch: Branch, parent: Branch | None, index: int, agreed: tuple[int, dict[str, float]] | None
) -> dict[str, Any]:
    """What the tree says of a branch."""
    about, rows, run = branch.about, branch.rows, branch.run
    total = run.steps if run is not None else max(int(about["configs"][-1][1].get("steps", 0)), len(rows))
    shares = agreed[1] if agreed else {}
    return {
        "name": branch.name,
        "method": about["method"],
        "seed": about["seed"],
        "colour": run_colour(index),
        "index": index,
        "from": "" if branch.parent is None else branch.parent[0],
        "at": None if branch.parent is None else branch.parent[1],
        "changes": [
            f"{name} {said(before)} → {said(after)}" for name, (before, after) in changes_of(branch, parent).items()
        ],
        "step": branch.step,
        "recorded": len(rows),
        "steps": total,
        "loss": float(rows[-1]["loss"]) if rows and np.isfinite(rows[-1]["loss"]) else None,
        "agreement": float(np.mean(list(shares.values()))) if shares else None,
        "agreements": [f"{teacher} {100 * share:.0f} %" for teacher, share in shares.items()],
        "agreed_at": agreed[0] if agreed else None,
        "active": branch.name == session.active,
        "shown": branch.name in session.shown,
        "kept": branch.kept,
        "folder": str(branch.folder) if branch.kept else "",
        "code": code_of(session, branch),
    }


def parent_of(branch: Branch, branches: Iterable[Branch]) -> Branch | None:
    """The branch that one was forked from, where it is among these."""
    if branch.parent is None:
        return None
    name, at = branch.parent
    mine = branch.about
    before = [[start, config] for start, config in mine["configs"] if start < at]

    def fits(other: Branch) -> tuple[bool, bool, bool]:
        theirs = [[start, config] for start, config in other.about["configs"] if start < at]
        beside = other.folder.parent == branch.folder.parent
        return other.about["seed"] == mine["seed"] and theirs == before, beside, other.name == name

    found = [
        other
        for other in branches
        if other is not branch
        and other.about["name"] == name
        and other.about["method"] == mine["method"]
        and other.about["fingerprints"] == mine["fingerprints"]
    ]
    return max(found, key=fits, default=None)


def changes_of(branch: Branch, parent: Branch | None) -> dict[str, tuple[Any, Any]]:
    """The options in which a fork differs from its parent where it was forked: before, and after."""
    if branch.parent is None:
        return {}
    at, configs = branch.parent[1], branch.about["configs"]
    if parent is not None:
        before = config_at(parent.about["configs"], at)
    elif len(configs) > 1:
        before = config_at(configs[:-1], at)
    else:
        return {}
    after = differences(before, configs[-1][1])
    return {name: (before.get(name), value) for name, value in after.items()}


def said(value: Any) -> str:
    """An option's value in few letters."""
    return "none" if value in (None, (), []) else in_letters(value)


def code_of(session: Session, branch: Branch) -> str:
    """The Python that opens a branch that stays, or makes one that goes with the kernel anew."""
    if branch.kept:
        return open_lines(branch.folder)
    return from_scratch(branch.about, names=differing_names(session, branch))
