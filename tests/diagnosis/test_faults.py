"""Every strong fault is named first or second, as a warning.

Here each fault's strongest strength on the last of its small problems (8×8 digits), seven quick
ones on two teachers; all strengths and problems by ``make faults``, whose table docs quote.
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from ka_explore import Run, toy
from ka_explore.benchmark.rows import MARKED, quoted
from ka_explore.diagnosis import diagnose


def beside(name):
    """A file of this folder, which tests cannot import by name."""
    spec = importlib.util.spec_from_file_location(f"diagnosis_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


faults, healthy = beside("faults"), beside("healthy")
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


def once_there(test):
    """For a test of what ``make faults`` found; before it was run there is nothing to be tested."""
    return test if (faults.ROOT / "docs" / "faults.json").exists() else None


@once_there
def test_docs_quote_what_make_faults_found():
    found = json.loads((faults.ROOT / "docs" / "faults.json").read_text(encoding="utf-8"))
    page = (faults.ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
    tables = {"injected": faults.table(found["faults"]), "healthy": healthy.table(found["healthy"])}
    assert {name for _, kind, name, _ in MARKED.findall(page) if kind == "faults"} == set(tables)
    assert quoted(page, "faults", tables) == page, "docs/looking.md differs from docs/faults.json: make faults"


@once_there
def test_make_faults_injected_all_of_them_and_strong_ones_are_named():
    found = json.loads((faults.ROOT / "docs" / "faults.json").read_text(encoding="utf-8"))
    asked = faults.all_rows()
    assert set(found["faults"]) == set(asked)
    missed = [name for name, row in found["faults"].items() if row["strong"] and row["place"] not in (1, 2)]
    assert missed == []
    assert [name for name, row in found["healthy"].items() if row["warnings"]] == []


def test_a_row_of_the_table_says_where_the_finding_stands():
    row = faults.row("images offset", "3", "digits")
    assert (row["strong"], row["place"]) == (True, 1)
    assert row["said"][0] == "wrong_preprocessing"
    names = [name for name in faults.all_rows(["images offset"]) if name.endswith("digits")]
    assert names == ["images-offset/1-digits", "images-offset/3-digits"]
    line = faults.table({"one": {"fault": "images offset", **row}}).splitlines()[2]
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
