"""A stranger's probe: one function and one row, and everything that works with probes takes it without another line.

Neighbour overlap: which share of an image's nearest neighbours two nets' features have in common.
"""

import inspect
import itertools
import json

import numpy as np
import pytest

from ka_explore import PROBES, Run, Snapshot, toy
from ka_explore.cli import main
from ka_explore.panels.choices import choices_of
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Matrix
from ka_explore.probes.samples import finite_in_all, left_out
from ka_explore.report.run_report import RunReport
from ka_explore.report.sections import others
from tests.contract import test_probes as contract

NAME = "neighbour_overlap"


@probe("feature/*")
def neighbour_overlap(snapshot: Snapshot, neighbours: int = 5) -> Matrix:
    """Share of the nearest neighbours of an image that two nets' last features have in common; 1 for the same ones."""
    last = {name.split("/")[0]: array for name, array in snapshot.group("feature").items()}
    rows, kept = finite_in_all(last)
    nets, count = tuple(rows), int(kept.sum())
    k = min(neighbours, count - 1)
    near = {}
    for net, features in rows.items():
        scale = np.abs(features).max(initial=0.0) or 1.0
        features = features / scale
        distances = ((features[:, None] - features) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        near[net] = distances <= np.sort(distances, axis=1)[:, [k - 1]] if k > 0 and len(features) else None
    values = np.full((len(nets), len(nets)), np.nan)
    for (i, one), (j, other) in itertools.product(enumerate(nets), repeat=2):
        if near[one] is not None and near[other] is not None:
            both, either = near[one] & near[other], np.minimum(near[one].sum(axis=1), near[other].sum(axis=1))
            values[i, j] = float((both.sum(axis=1) / either).mean())
    return Matrix(values, nets, nets, unit="share", title=f"common among {k} neighbours", note=left_out(kept))


@pytest.fixture(autouse=True)
def row(monkeypatch):
    monkeypatch.setitem(PROBES, NAME, neighbour_overlap)


def cases(test):
    """The arguments, besides the probe, that the contract tries a test with."""
    marks = {mark.args[0]: mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"}
    names = [name for name in marks if name != "probe"]
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(marks[name] for name in names))]


@pytest.mark.parametrize(
    "test",
    [
        test
        for name, test in vars(contract).items()
        if name.startswith("test_") and set(inspect.signature(test).parameters) <= {"probe", "of", "labels"}
        if name != "test_what_needs_nothing_special_runs_on_what_is_always_there"
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_it_keeps_what_every_probe_keeps(test):
    for case in cases(test):
        test(NAME, **case)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("newcomer") / "base"
    made = Run(toy.digits(unlabelled=60), "common_feature", steps=4, batch_size=8, folder=folder, snapshot_every=2)
    made.advance(None).save()
    return made


def test_it_answers_the_snapshots_of_a_run(run):
    contract.test_a_probe_gives_a_result_of_a_real_stage_or_says_what_it_lacks(NAME, {"a": [run.snapshot()]})
    result = neighbour_overlap(run.snapshot())
    assert result.rows[0] == "student"
    assert np.allclose(np.diagonal(result.values), 1)
    assert result.step == 4


def test_the_command_line_the_report_and_the_tables_panel_take_it(run, capsys):
    assert main(["probe", str(run.folder)]) == 0
    assert f"  {NAME:22} Share of the nearest neighbours" in capsys.readouterr().out
    assert main(["probe", str(run.folder), NAME, "--option", "neighbours=3", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == "common among 3 neighbours, step 4"
    assert found["rows"][0][:2] == ["student", 1.0]
    section = others(RunReport(run))[0]
    assert (section.title, section.parts[1].head[:2]) == ("neighbour overlap", ["", "student"])
    choice = choices_of(run.snapshot())[NAME]
    assert (choice.name, choice.ask(run.snapshot()).rows[0]) == ("neighbour overlap", "student")
