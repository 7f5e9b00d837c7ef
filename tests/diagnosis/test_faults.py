"""Every strong fault is named first or second, as a warning.

Here each fault's strongest strength on the last of its small problems (8×8 digits), seven quick
ones on two teachers; all strengths and problems by ``make faults``, whose table docs quote.
"""

import json

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
STRONGEST = [
    (name, fault.strong[-1], [problem for problem in fault.problems if problem in SMALL][-1])
    for name, fault in faults.FAULTS.items()
    if fault.strong and {*fault.problems} & {*SMALL}
]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in STRONGEST if case not in QUICK]


@pytest.mark.parametrize(("name", "label", "problem"), [*QUICK, *SLOW])
def test_a_strong_fault_is_named_first_or_second(name, label, problem):
    fault = faults.FAULTS[name]
    findings = faults.outcome(fault.make(faults.problem_named(problem), fault.strengths[label]))
    assert faults.place_of(fault, findings) in (1, 2), str(findings)


FOUND = json.loads(FILE.read_text(encoding="utf-8")) if (FILE := faults.ROOT / "docs" / "faults.json").exists() else {}
"""What ``make faults`` found, by part."""


def once_there(part):
    """For a test of a part that the file has; of one that was not run yet there is nothing to be tested."""
    return lambda test: test if part in FOUND else None


def test_docs_quote_what_make_faults_found():
    page = (faults.ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
    assert {name for _, kind, name, _ in MARKED.findall(page) if kind == "faults"} == set(faults.PARTS)
    assert quoted(page, "faults", faults.quotes(FOUND)) == page, (
        "docs/looking.md differs from docs/faults.json: make faults"
    )


@once_there("injected")
def test_make_faults_injected_all_of_them_and_strong_ones_are_named():
    assert set(FOUND["injected"]) == set(faults.all_rows(faults.FAULTS))
    assert [name for name, row in FOUND["injected"].items() if row["strong"] and row["place"] not in (1, 2)] == []


@once_there("aside")
def test_make_faults_injected_those_set_aside_and_counts_them():
    rows = FOUND["aside"]
    assert set(rows) == set(faults.all_rows(unseen.UNSEEN))
    strong = [row["place"] in (1, 2) for row in rows.values() if row["strong"]]
    assert f"Named first or second: {sum(strong)} of {len(strong)}, " in faults.recall_and_precision(
        rows, unseen.UNSEEN
    )
    assert not set(unseen.UNSEEN) & set(faults.FAULTS)


@once_there("healthy")
def test_make_faults_gave_no_healthy_run_a_warning():
    assert [name for name, row in FOUND["healthy"].items() if row["warnings"]] == []


def test_a_row_of_the_table_says_where_the_finding_stands():
    row = faults.row("images offset", "3", "digits")
    assert (row["strong"], row["place"]) == (True, 1)
    assert row["said"][0] == "wrong_preprocessing"
    names = [name for name in faults.all_rows(faults.FAULTS, ["images offset"]) if name.endswith("digits")]
    assert names == ["images-offset/1-digits", "images-offset/3-digits"]
    about = {"images offset": faults.FAULTS["images offset"]}
    line = faults.table({"one": {"fault": "images offset", **row}}, about).splitlines()[2]
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
