"""What a diagnosis says: findings, worst first, each with its evidence, a figure, why it hurts and what to try."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

from ka_explore.diagnosis.thresholds import Grade
from ka_explore.errors import InputError, Number, brief, checked
from ka_explore.probes.results import Result, Tabular
from ka_explore.run.reproduce import fork_command, fork_lines

if TYPE_CHECKING:
    import pandas

    from ka_explore.run.run import Run

Value = Number | str


@checked
@dataclass(frozen=True)
class Attempt:
    """Something to try.

    Attributes:
        text: what, in a sentence.
        changes: option → value for a fork; empty where no option mends it.
        at: the step to fork at; None for the run's last.
        code: Python that does it, where it takes more than a fork (another teacher, other labels).
    """

    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    at: int | None = None
    code: str = ""

    @property
    def is_fork(self) -> bool:
        """Whether a fork of the run does it."""
        return bool(self.changes)

    def fork(self, run: "Run", name: str) -> "Run":
        """The run's fork with the changes, not advanced yet.

        Raises InputError where a fork does not mend it; what `Run.fork` raises.
        """
        if not self.is_fork:
            raise InputError(f"no option mends this: {self.text} Build the problem anew:\n{self.code}".rstrip())
        if not hasattr(run, "problem"):
            raise InputError(f"expected fork(run, name), got {brief(run)}.")
        return run.fork(name, at=self.at, **dict(self.changes))

    @checked
    def python(self, name: str = "try") -> str:
        """The fork as Python, or the code that mends the problem."""
        return fork_lines(name, self.at, self.changes) if self.is_fork else self.code

    @checked
    def command(self, folder: str = "RUN", name: str = "try") -> str:
        """The fork as a command line; empty where a fork does not mend it."""
        return fork_command(folder, name, self.at, self.changes) if self.is_fork else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {"text": self.text, "changes": dict(self.changes), "at": self.at}
        return plain | {"python": self.python(), "command": self.command()}


@checked
@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        name: its key, the same in every version (``dominating_term``).
        title: a sentence with the teacher's, layer's or term's name.
        grade: ``warning``: it most likely spoils the run; ``note``: worth knowing; ``fine``: looked at and in order.
        score: to order by, worst first: causes above what follows from them, then by how far beyond its threshold.
        evidence: the numbers it rests on, thresholds among them, by what they are.
        why: why it hurts.
        attempts: what to try, best first.
        result: its figure, a shape of `ka_explore.probes.results`; None where there is none.
        subject: the teacher, layer or term it is about; empty for the whole run.
        because: the finding that most likely causes this one, in words; empty if it stands for itself.
        threshold: its key in the table of thresholds.
        value: what was held against it.
    """

    name: str
    title: str
    grade: Grade
    score: Number
    evidence: Mapping[str, Value]
    why: str = ""
    attempts: tuple[Attempt, ...] = ()
    result: Result | None = None
    subject: str = ""
    because: str = ""
    threshold: str = ""
    value: Number = float("nan")

    def with_forks_for(self, options: Mapping[str, Any]) -> "Finding":
        """The same without forks to options that the method does not have, or to what is in force already."""
        there = {name: plain(value) for name, value in options.items()}
        kept = [
            a
            for a in self.attempts
            if set(a.changes) <= set(there)
            and (not a.is_fork or any(plain(value) != there[name] for name, value in a.changes.items()))
        ]
        return replace(self, attempts=tuple(kept))

    def __str__(self) -> str:
        mark = "WARNING" if self.grade == "warning" else self.grade
        lines = [f"{mark}: {self.title}  [{self.name}]"]
        lines += [f"    {what}: {shown(value)}" for what, value in self.evidence.items()]
        if self.because:
            lines.append(f"    Probably because of: {self.because}")
        if self.why:
            lines.append(f"    Why it hurts: {self.why}")
        for attempt in self.attempts:
            lines.append(f"    Try: {attempt.text}")
            lines += [f"        {line}" for line in attempt.python().splitlines()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without the figure."""
        plain = ("name", "title", "grade", "score", "subject", "why", "because")
        attempts = [attempt.to_dict() for attempt in self.attempts]
        return {what: getattr(self, what) for what in plain} | {"evidence": dict(self.evidence), "attempts": attempts}


@checked
@dataclass(frozen=True)
class Findings(Tabular, Sequence[Finding]):
    """The findings of a run, worst first.

    Attributes:
        found: warnings and notes, worst first.
        checked: what was looked at, by check: the worst value and the threshold of a warning, in words.
        skipped: what could not be checked, by check, and why.
        name: of the run.
        judged: everything that was judged, what is fine included.
    """

    found: tuple[Finding, ...]
    checked: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    judged: tuple[Finding, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings of warning grade, worst first."""
        return tuple(finding for finding in self.found if finding.grade == "warning")

    @property
    def names(self) -> tuple[str, ...]:
        """The findings' names, worst first."""
        return tuple(finding.name for finding in self.found)

    @property
    def summary(self) -> str:
        """One sentence."""
        warnings, notes = len(self.warnings), len(self.found) - len(self.warnings)
        about = f" in run {self.name!r}" if self.name else ""
        if not warnings:
            more = f" {count(notes, 'note')} below." if notes else ""
            return f"No warning{about}: {count(len(self.checked), 'check')} made.{more}"
        return f"{count(warnings, 'warning')} and {count(notes, 'note')}{about}, worst first."

    def __str__(self) -> str:
        lines = [self.summary, *(f"\n{number}. {finding}" for number, finding in enumerate(self.found, start=1))]
        if self.checked:
            lines += ["", "Checked (value, and from where it is a warning):"]
            lines += [f"    {name}: {what}" for name, what in self.checked.items()]
        if self.skipped:
            lines += ["", "Not checked:", *(f"    {name}: {why}" for name, why in self.skipped.items())]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        safe = html.escape
        parts = [f"<p><b>{safe(self.summary)}</b></p>"]
        for finding in self.found:
            rows = "".join(f"<tr><td>{safe(k)}</td><td>{safe(shown(v))}</td></tr>" for k, v in finding.evidence.items())
            attempts = "".join(f"<li>{safe(a.text)}<pre>{safe(a.python())}</pre></li>" for a in finding.attempts)
            because = f"<p>Probably because of: {safe(finding.because)}</p>" if finding.because else ""
            parts.append(
                f"<details{' open' if finding.grade == 'warning' else ''}><summary>{safe(finding.grade)}: "
                f"{safe(finding.title)}</summary>{because}<table>{rows}</table><p>{safe(finding.why)}</p>"
                f"<ul>{attempts}</ul></details>"
            )
        for title, listed in (("Checked", self.checked), ("Not checked", self.skipped)):
            if listed:
                items = "".join(f"<li>{safe(name)}: {safe(what)}</li>" for name, what in listed.items())
                parts.append(f"<details><summary>{title} ({len(listed)})</summary><ul>{items}</ul></details>")
        return "".join(parts)

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a finding."""
        import pandas

        columns = ["grade", "name", "subject", "title", "score", "because"]
        return pandas.DataFrame([{c: getattr(f, c) for c in columns} for f in self.found], columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        findings = [finding.to_dict() for finding in self.found]
        return {"run": self.name, "findings": findings, "checked": dict(self.checked), "skipped": dict(self.skipped)}


def plain(value: Any) -> Any:
    """A value as JSON gives it back: a list for a tuple."""
    return list(value) if isinstance(value, tuple) else value


def count(number: int, what: str) -> str:
    """``3 notes``, ``1 note``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown(value: Value) -> str:
    """A number with three digits, a text as it is."""
    return value if isinstance(value, str) else f"{value:.3g}"
