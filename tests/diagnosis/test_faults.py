"""Every strong fault is named first or second, as a warning.

Quick: a handful on the smallest problem. Slow: every strong strength of every fault on the first problem of its list,
the strongest on the second too. The whole table, all strengths and problems: ``python tests/diagnosis/faults.py``.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from ka_explore import Run, toy
from ka_explore.diagnosis import diagnose


def beside(name):
    """A file of this folder, which tests cannot import by name."""
    spec = importlib.util.spec_from_file_location(f"diagnosis_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


faults = beside("faults")
QUICK = [
    ("batch norm in training mode", "functional"),
    ("layer too early", "earliest"),
    ("teacher over-confident", "20"),
    ("term dominates", "mmd 1000"),
    ("learning rate too high", "10"),
]
STRONG = [
    (name, label, problem)
    for name, fault in faults.FAULTS.items()
    for label in fault.strong
    for place, problem in enumerate(fault.problems[:2])
    if place == 0 or label == fault.strong[-1]
]


def check(name, label, problem):
    fault = faults.FAULTS[name]
    findings = faults.outcome(fault.make(faults.PROBLEMS[problem](), fault.strengths[label]))
    assert faults.place_of(fault, findings) in (1, 2), str(findings)


@pytest.mark.parametrize(("name", "label"), QUICK)
def test_a_strong_fault_is_named_first_or_second(name, label):
    check(name, label, "digits")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "label", "problem"), STRONG)
def test_every_strong_fault_is_named_first_or_second(name, label, problem):
    check(name, label, problem)


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
