"""Laws of the findings at a session: nothing is examined unasked, and an attempt is a fork."""

import pytest

from ka_explore import InputError
from ka_explore.panels import findings
from ka_explore.panels.findings import Findings
from ka_explore.panels.what_if import WhatIf
from tests.panels.conftest import STEPS, wait


def test_nothing_is_examined_unasked_and_what_is_found_is_shown(make_run, desk_of):
    run = make_run(to=8)
    session = desk_of(run)
    panel = Findings(session)
    assert panel.report == {}
    assert not (run.folder / "examination.json").exists()
    assert "not diagnosed" in panel.summary()
    found = panel.diagnose()
    report = wait(lambda: panel.report)
    assert [finding["title"] for finding in report["findings"]] == [finding.title for finding in found]
    assert (report["step"], report["warnings"], report["checks"]) == (8, len(found.warnings), len(found.checked))
    assert not session.busy
    session.play(10).result(20)
    wait(lambda: panel.now["step"] == 10)
    assert panel.report["step"] == 8


def test_a_folder_that_is_not_open_is_judged_by_what_it_holds(make_run, desk_of):
    session = desk_of(make_run(to=8).folder)
    found = Findings(session).diagnose()
    assert session.branch.run is None
    assert any("not examined" in why for why in found.skipped.values())


@pytest.mark.slow
def test_evidence_is_drawn_when_it_is_asked_for(make_run, desk_of):
    session = desk_of(make_run(to=8))
    panel = Findings(session)
    found = panel.diagnose()
    place = next(i for i, finding in enumerate(found) if finding.result is not None)
    assert panel.pictures == {}
    session.receive({"do": "evidence", "panel": panel.panel_id, "finding": place})
    assert wait(lambda: panel.pictures)[str(place)].startswith("data:image/png;base64,")


@pytest.mark.slow
def test_an_attempt_is_a_fork_with_its_changes_and_plays(make_run, desk_of, monkeypatch):
    from ka_explore.diagnosis import Attempt, Finding
    from ka_explore.diagnosis import Findings as Found

    attempts = (
        Attempt("less", {"mmd_weight": 0.01}, 3), Attempt("smaller", {"blocks": 1}, 6), Attempt("by hand", code="x = 1")
    )  # fmt: skip
    finding = Finding("name", "title", "warning", 1.0, {"value": 2.0, "warning from": 1.0}, attempts=attempts)
    monkeypatch.setattr(findings.diagnosis, "diagnose", lambda _: Found((finding,), {"a": "b"}, {"c": "d"}))
    session = desk_of(make_run())
    panel = Findings(session)
    panel.diagnose()
    shown = wait(lambda: panel.report)["findings"][0]["attempts"]
    assert shown[0]["label"] == "⎇ try: mmd_weight=0.01 at step 3"
    assert (shown[2]["label"], shown[2]["code"]) == ("", "x = 1")
    session.receive({"do": "attempt", "panel": panel.panel_id, "of": "base", "finding": 0, "attempt": 0})
    made = wait(lambda: session.branches.get("mmd weight 0.01"))
    assert made.run.config_at(3).mmd_weight == 0.01
    wait(lambda: made.run.step == STEPS and not session.busy)
    session.receive({"do": "attempt", "panel": panel.panel_id, "of": "base", "finding": 0, "attempt": 1})
    problem = wait(lambda: panel.problem)
    assert [offer["at"] for offer in problem["offers"]] == [0]
    session.receive({"do": "fork", "panel": panel.panel_id, **problem["asked"], "at": 0})
    assert wait(lambda: session.branches.get("blocks 1")).run.config.blocks == 1


@pytest.mark.slow
def test_a_diagnosis_that_fails_says_so_and_can_be_asked_again(make_run, desk_of, monkeypatch):
    session = desk_of(make_run())
    panel = Findings(session)

    def broken(_: object) -> None:
        raise InputError("the disk is gone")

    monkeypatch.setattr(findings.diagnosis, "diagnose", broken)
    session.receive({"do": "diagnose", "panel": panel.panel_id})
    assert "the disk is gone" in wait(lambda: panel.problem)["text"]
    wait(lambda: not panel.now["examining"])
    assert not session.busy
    monkeypatch.undo()
    panel.diagnose()
    wait(lambda: panel.report and not panel.problem)


def test_panels_of_one_desk_answer_for_themselves(make_run, desk_of):
    session = desk_of(make_run())
    first, second = WhatIf(session), WhatIf(session)
    session.receive({"do": "fork", "panel": first.panel_id, "at": 6, "changes": {"blocks": 1}})
    wait(lambda: first.problem)
    assert second.problem == {}
    assert session.panels[first.panel_id] is first
