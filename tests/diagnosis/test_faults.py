"""Every strong fault is named first or second, as a warning.

Here one fault a finding at its strongest, on a small problem (8×8 digits); all faults, strengths and problems by
``make faults``, whose table docs quote.
"""

import json

import experiment
import faults
import pytest
import unseen

from ka_explore import Run, toy
from ka_explore.benchmark.rows import MARKED, quoted
from ka_explore.diagnosis import diagnose

SMALL = ("digits", "four", "overlap")
QUICK = [
    ("batch norm in training mode", "functional", "digits"),
    ("layer too early", "earliest", "digits"),
    ("teacher over-confident", "20", "digits"),
    ("term dominates", "mmd 1000", "digits"),
    ("learning rate too high", "10", "digits"),
    ("student detached", "body", "digits"),
    ("whose image it is", "30", "digits"),
]
# By the finding that names it: the first fault that is strong on one of the small problems.
STRONGEST = {
    fault.named[0]: (name, fault.strong[-1], next(problem for problem in SMALL if problem in fault.problems))
    for name, fault in reversed(faults.FAULTS.items())
    if fault.strong and {*fault.problems} & {*SMALL}
}
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in STRONGEST.values() if case not in QUICK]


@pytest.mark.parametrize(("name", "label", "problem"), [*QUICK, *SLOW])
def test_a_strong_fault_is_named_first_or_second(name, label, problem):
    fault = faults.FAULTS[name]
    findings = faults.outcome(fault.make(faults.problem_named(problem), fault.strengths[label]))
    assert faults.place_of(fault, findings) in (1, 2), str(findings)


@pytest.fixture(scope="session")
def found():
    """What ``make faults`` found, by part."""
    return json.loads(experiment.FILE.read_text(encoding="utf-8"))


def test_docs_quote_what_make_faults_found(found):
    page = experiment.PAGE.read_text(encoding="utf-8")
    assert {name for _, kind, name, _ in MARKED.findall(page) if kind == "faults"} == {*experiment.PARTS}
    assert quoted(page, "faults", experiment.quotes(found)) == page, (
        "docs/looking.md differs from docs/faults.json: make faults"
    )


@pytest.mark.parametrize("part", experiment.PARTS)
def test_make_faults_ran_every_row(part, found):
    asked = experiment.PARTS[part].asked
    assert {*found[part]} <= {*asked}
    refused = {name for name in asked if name not in found[part]}
    assert {asked[name]["method"] for name in refused} <= ({"permutation_merging"} if part == "healthy" else set())


def test_every_strong_fault_was_named_first_or_second(found):
    assert [name for name, row in found["injected"].items() if row["strong"] and row["place"] not in (1, 2)] == []


def test_nine_of_ten_faults_set_aside_were_named_first_or_second(found):
    strong = {name: row for name, row in found["aside"].items() if row["strong"]}
    hits, count = map(int, experiment.recalls(strong)[0].split(" of "))
    assert hits >= 0.9 * count
    assert count >= 30
    assert f"Named first or second: {hits} of {count} of those" in experiment.quotes(found)["aside"]
    assert not set(unseen.UNSEEN) & set(faults.FAULTS)


def test_no_healthy_run_got_a_warning(found):
    assert [name for name, row in found["healthy"].items() if row["warnings"]] == []


def test_every_fork_proposed_lowered_what_it_is_about(found):
    assert {name: row["idle"] for name, row in found["tried"].items() if row["idle"] or not row["forks"]} == {}


def test_a_row_of_the_table_says_where_the_finding_stands():
    row = experiment.row("images offset", "3", "digits", "clouds")
    assert (row["strong"], row["place"]) == (True, 1)
    assert row["said"][0] == "wrong_preprocessing"
    names = [
        name
        for name in experiment.rows_of({"images offset": faults.FAULTS["images offset"]}, None)
        if name.endswith("digits")
    ]
    assert names == ["images-offset/1-digits", "images-offset/3-digits"]
    about = {"images offset": faults.FAULTS["images offset"]}
    line = experiment.table({"one": {"fault": "images offset", **row}}, about).splitlines()[2]
    assert line == "| images offset | `wrong_preprocessing` | 1 of 1 | – |"


def test_a_folder_is_judged_as_the_run_was_and_its_fork_is_ready(tmp_path):
    run = Run(toy.digits(), folder=tmp_path / "run", steps=120, snapshot_every=40, mmd_weight=500.0)
    run.advance(None, progress=False)
    before = {name: value.clone() for name, value in run.method.state_dict().items()}
    findings = diagnose(run)
    assert all((before[name] == value).all() for name, value in run.method.state_dict().items())
    assert findings[0].name == "dominating_term"
    assert diagnose(tmp_path / "run").to_dict() == findings.to_dict()
    assert diagnose(Run.open(tmp_path / "run")).to_dict() == findings.to_dict()
    fork = findings[0].attempts[0].fork(run, "weighed")
    assert fork.step == 0
    assert fork.config.mmd_weight < 50
    fork.advance(3, progress=False)


def test_diagnosing_does_not_change_what_comes_next(tmp_path):
    one, two = (Run(toy.digits(), folder=tmp_path / name, steps=20) for name in ("one", "two"))
    one.advance(5, progress=False)
    diagnose(one)
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run.advance(None, progress=False).history()]
        for run in (one, two)
    ]
    assert rows[0] == rows[1]


def test_a_term_that_pulled_too_hard_before_the_student_was_handed_over_is_seen(tmp_path):
    """In the default's second half no such term reaches the student: its zeros must not hide what was before."""
    run = Run(toy.digits(), folder=tmp_path / "run", steps=40, snapshot_every=5, mmd_weight=500.0)
    findings = diagnose(run.advance(None, progress=False))
    (pull,) = (f.value for f in findings.judged if f.threshold == "dominating_gradient" and f.subject == "mmd")
    assert pull > 8
