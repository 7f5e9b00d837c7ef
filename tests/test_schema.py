"""What the folders of runs may hold: what runs of every method write passes, and a schema knows every kind of array."""

import re

import numpy as np
import pytest
from torch import nn

from ka_explore import METHODS, Pool, Problem, Run, Store, Student
from ka_explore.run.schema import AXES
from ka_explore.run.snapshot import VOCABULARY

FORMS = {
    "common_feature": {"classwise_weight": 1.0, "targets": "consistent", "balance": "gradnorm"}, "layer_wise": {},
    "one_stage": {}, "adaptive": {}, "logit_space": {}, "permutation_merging": {}, "distillation": {"without": ["two"]},
    "ensemble": {}, "oracle": {"optimizer": "sgd"},
}  # fmt: skip


@pytest.fixture(scope="module")
def problem(teacher, blobs) -> Problem:
    """Two teachers of one architecture, which every method takes."""

    def student(labels) -> Student:
        segments = {
            "conv1": nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)),
            "conv2": nn.Sequential(nn.ReLU(), nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10)),
        }
        head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, len(labels.columns)))
        return Student.chain(segments, {"class": head})

    teachers = [teacher("one", "conv", ["a", "b"], channels=1), teacher("two", "conv", ["b", "c"], channels=1, seed=1)]
    return Problem(teachers, Pool(blobs(20, (1, 8, 8)), labels={"class": np.arange(20) % 3}), student)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_run_of_any_method_writes_is_read_again(problem, tmp_path, method):
    options = FORMS[method] | ({"steps": 4, "batch_size": 8} if method != "ensemble" else {})
    run = Run(problem, method, folder=tmp_path / "run", snapshot_every=1, checkpoint_every=1, **options).advance(None)
    store = Store(tmp_path / "run")
    assert (store.notes, store.rows_kept) == ([], run.step)
    assert all(store.load_snapshot(step).arrays for step in store.snapshot_steps())
    run.save()
    for step in range(run.step, -1, -1):
        assert run.seek(step).notes == ()


def test_every_word_of_the_vocabulary_has_its_axes():
    words = {word for pattern in VOCABULARY for word in re.findall("[a-z_]+", pattern)}
    assert words == set(AXES)


@pytest.mark.parametrize("shape", [{"teachers": 4, "tasks": 2}, {"overlap": True}, {"labels": False}, {"teachers": 1}])
@pytest.mark.parametrize("method", ["common_feature", "distillation"])
def test_what_runs_of_any_problem_write_is_read_again(tiny_problem, tmp_path, method, shape):
    run = Run(tiny_problem(**shape), method, folder=tmp_path / "run", steps=4, batch_size=8, snapshot_every=2)
    run.advance(None, progress=False)
    assert [Store(run.folder).load_snapshot(step).step for step in (0, 2, 4)] == [0, 2, 4]
    assert Run.open(run.folder, run.problem).notes == ()
