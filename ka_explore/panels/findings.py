"""Findings: what the diagnosis says of the active branch, worst first, with its evidence and what to try."""

import base64
import io
import weakref
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ka_explore import diagnosis
from ka_explore.diagnosis.findings import Attempt, Finding, shown
from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch, name_of
from ka_explore.panels.forking import ForkingPanel, problem_of, values_of
from ka_explore.panels.session import Session
from ka_explore.panels.status import Message
from ka_explore.panels.widget import source
from ka_explore.plots import draw
from ka_explore.plots.style import dress
from ka_explore.probes.results import Matrix, Result, Scalars
from ka_explore.run.reproduce import called
from ka_explore.run.store import Store

GRADES = {"warning": "▲", "note": "●", "fine": "✓"}


@dataclass
class Report:
    """What the diagnosis found of a branch at a step; pictures of findings that were opened, as addresses, by index."""

    found: diagnosis.Findings
    step: int
    pictures: dict[int, str] = field(default_factory=dict)


REPORTS: "weakref.WeakKeyDictionary[Branch, Report]" = weakref.WeakKeyDictionary()
"""The last diagnosis of every branch, for all panels that show it."""

EXAMINED: "weakref.WeakKeyDictionary[Session, Branch]" = weakref.WeakKeyDictionary()
"""The branch of a session that is examined just now."""


class Findings(ForkingPanel):
    """What is wrong with the active branch, the evidence, and forks that may mend it. Nothing is examined unasked."""

    _esm = source("shared.js", "controls.js", "findings.js")
    _css = source("shared.css", "findings.css")
    topics = frozenset({"findings", "branches", "rows"})
    answers = frozenset({"diagnose", "attempt", "evidence", "fork"})

    now = traitlets.Dict().tag(sync=True)
    report = traitlets.Dict().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The findings, of which step they are, and whether something is examined just now."""
        branch, examined = self.session.branch, EXAMINED.get(self.session)
        now = {"branch": branch.name, "step": branch.step, "teachers": len(branch.about.get("teachers", ()))}
        state: dict[str, Any] = {"now": {**now, "examining": "" if examined is None else examined.name}}
        if {"findings", "branches"} & set(changed):
            report = REPORTS.get(branch)
            state["report"] = {} if report is None else written(report, branch)
            state["pictures"] = {} if report is None else {str(i): url for i, url in report.pictures.items()}
        return state

    def summary(self) -> str:
        """How many warnings and notes there are, and the worst."""
        if (report := REPORTS.get(self.session.branch)) is None:
            return "findings: not diagnosed yet"
        worst = f" Worst: {report.found[0].title}" if report.found.warnings else ""
        return f"findings at step {report.step}: {report.found.summary}{worst}"

    def diagnose(self) -> diagnosis.Findings:
        """Diagnose the active branch and wait for what is found. Raises what the diagnosis raises."""
        return self.start().result()

    def start(self) -> "Future[diagnosis.Findings]":
        """Diagnose the active branch between two steps; what goes wrong is shown in the panel.

        A folder that is not opened is judged by what it holds.
        """
        session, branch = self.session, self.session.branch
        if session in EXAMINED:
            raise InputError(f"{EXAMINED[session].name!r} is examined just now: wait for what is found.")
        EXAMINED[session] = branch
        self.tell({})
        session.changed("findings")

        def job() -> diagnosis.Findings:
            try:
                with session.driver.doing_meanwhile("examines"):
                    step = branch.step
                    found = diagnosis.diagnose(branch.run if branch.run is not None else Store(branch.folder))
                    REPORTS[branch] = Report(found, step)
                    return found
            except Exception as error:
                self.tell({"text": f"the diagnosis came to nothing: {problem_of(error, {})['text']}", "offers": []})
                raise
            finally:
                EXAMINED.pop(session, None)
                session.changed("findings")

        future = session.driver.do(job)
        if future.cancelled():
            EXAMINED.pop(session, None)
        return future

    # What the browser asks; on the view thread.

    def answer(self, message: Message) -> None:
        """Do what a message asks; what is wrong with it is shown in the panel."""
        try:
            if message["do"] == "diagnose":
                self.start()
            else:
                super().answer(message)
        except (KaError, IndexError) as error:
            self.tell({"text": str(error), "offers": []})

    def attempt(self, message: Message) -> None:
        """Fork the active branch as a finding suggests; the fork plays at once."""
        branch = self.session.branches.get(str(message.get("of", ""))) or self.session.branch
        if (report := REPORTS.get(branch)) is None:
            raise InputError(f"{branch.name!r} was not diagnosed: press diagnose first.")
        attempt = report.found[int(message["finding"])].attempts[int(message["attempt"])]
        changes, told = attempt.changes, {"of": branch.name, "play": True, "number": message.get("number", 0)}
        self.fork({"changes": values_of(changes), "name": name_of(changes), "at": attempt.at, **told})

    def evidence(self, message: Message) -> None:
        """Draw the evidence of a finding of the active branch, unless that is done."""
        report, index = REPORTS.get(self.session.branch), int(message["finding"])
        if report is None or not 0 <= index < len(report.found) or index in report.pictures:
            return
        if (result := report.found[index].result) is not None:
            report.pictures[index] = png_of(result)
            self.session.changed("findings")

    def drawn(self, ax: Axes) -> None:
        """The findings as a list, worst first. Raises InputError where nothing was diagnosed yet."""
        if (report := REPORTS.get(self.session.branch)) is None:
            raise InputError("not diagnosed yet: press diagnose.")
        ax.set_axis_off()
        lines = [f"{GRADES[finding.grade]} {finding.grade}: {finding.title}" for finding in report.found[:8]]
        dress(ax, title=f"findings at step {report.step}", note="\n".join(lines) or "✓ healthy: nothing found")


def png_of(result: Result) -> str:
    """A result drawn in a size that suits it, as the address of a PNG."""
    size = 7.0, 3.0
    if isinstance(result, Matrix):
        columns, rows = len(result.columns), len(result.rows)
        size = min(max(3.6 + 0.8 * columns, 5.0), 8.0), min(max(1.3 + 0.3 * rows, 2.5), 7.0)
    elif isinstance(result, Scalars):
        size = 7.0, min(max(1.1 + 0.32 * len(result.values), 1.8), 6.0)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    draw(result, figure.add_subplot())
    figure.savefig(target := io.BytesIO(), format="png")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def written(report: Report, branch: Branch) -> dict[str, Any]:
    """A report for the browser."""
    found = report.found
    return {
        "key": f"{branch.name} {report.step} {id(report)}", "branch": branch.name, "step": report.step,
        "summary": found.summary, "warnings": len(found.warnings), "checks": len(found.checked),
        "findings": [finding_of(finding) for finding in found],
        "checked": [[name.replace("_", " "), what] for name, what in found.checked.items()],
        "skipped": [[name.replace("_", " "), why] for name, why in found.skipped.items()],
    }  # fmt: skip


def finding_of(finding: Finding) -> dict[str, Any]:
    """A finding for the browser."""
    said = {name: getattr(finding, name) for name in ("name", "grade", "title", "subject", "because", "why")}
    evidence = [[what, shown(value)] for what, value in finding.evidence.items()]
    about = {"glyph": GRADES[finding.grade], "evidence": evidence, "picture": finding.result is not None}
    return {**said, **about, "attempts": [attempt_of(attempt) for attempt in finding.attempts]}


def attempt_of(attempt: Attempt) -> dict[str, Any]:
    """Something to try, for the browser."""
    where = "from here" if attempt.at is None else f"at step {attempt.at}"
    label = f"⎇ try: {called(attempt.changes)} {where}" if attempt.is_fork else ""
    code = attempt.python(name_of(attempt.changes) or "try")
    return {"text": attempt.text, "fork": attempt.is_fork, "label": label, "code": code}
