"""Every fork that a finding proposes changes the run and lowers the number it is about: tried by ``make faults``.

Here two of them again.
"""

import attempts
import pytest
import test_checks as checks

from ka_explore.diagnosis.findings import Attempt


@pytest.mark.parametrize(("name", "place"), [("whose_image", 1), ("dominating_teacher", 1)])
def test_a_proposed_fork_changes_the_run_and_lowers_what_it_is_about(name, place):
    found = attempts.row(name, place)
    assert found["forks"]
    assert not found["idle"], found


def test_a_fork_that_does_nothing_is_counted_as_idle(monkeypatch):
    monkeypatch.setattr(Attempt, "fork", lambda self, run, name: run.fork(name, at=0))
    found = attempts.row("dominating_teacher", 1)
    assert found["idle"] == [*found["forks"]]
    assert "| `dominating_teacher` | 1 | 1 | 0 |" in attempts.table({"one": {"finding": "dominating_teacher", **found}})


@pytest.mark.parametrize("name", checks.BAD)
def test_every_finding_that_proposes_a_fork_is_tried(name):
    findings = checks.judge(checks.BAD[name](checks.healthy()))
    assert {f.name for f in findings if any(a.is_fork for a in f.attempts)} <= {*attempts.BROKEN}
