"""The prepared broken runs: what is wrong with each is what the diagnosis names first or second."""

import numpy as np
import pytest
import torch

from ka_explore import InputError, Run, diagnose, toy
from ka_explore.toy.broken import CASES, with_teacher
from ka_explore.toy.building import TASK


def said(problem):
    """For every image of the test, the label that the surest of all teachers' columns names, and the true one."""
    images = problem.test.images[:]
    logits = torch.cat([teacher(images).logits for teacher in problem.teachers], dim=1)
    names = [label for teacher in problem.teachers for label in teacher.labels]
    truth = np.array(problem.labels.class_names(TASK))[problem.test.labels[TASK]]
    return np.array(names)[logits.argmax(dim=1).numpy()], truth


def test_a_case_is_made_of_the_healthy_problem_and_leaves_it_alone():
    healthy, before = toy.digits(), [t.fingerprint for t in toy.digits().teachers]
    for name in CASES:
        problem, options = toy.broken(name)
        assert problem.names == healthy.names
        assert problem.pool.images.fingerprint == healthy.pool.images.fingerprint
        assert options["method"] == "common_feature"
        assert sorted(problem.labels.class_names(TASK)) == sorted(healthy.labels.class_names(TASK))
    assert [t.fingerprint for t in toy.digits().teachers] == before
    assert toy.broken("third")[0].fingerprints == healthy.fingerprints


def test_in_the_second_the_truth_stays_what_it_was():
    problem, healthy = toy.broken("second")[0], toy.digits()
    for labels in ("pool", "test"):
        names = [np.array(p.labels.class_names(TASK))[getattr(p, labels).labels[TASK]] for p in (problem, healthy)]
        assert np.array_equal(*names)
    given, truth = said(problem)
    usual, _ = said(healthy)
    exchange = {"6": "9", "9": "6"}
    assert np.array_equal(given, [exchange.get(label, label) for label in usual])
    assert np.mean(given[truth == "6"] == "9") > 0.5


def test_another_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="first"):
        toy.broken("frist")
    with pytest.raises(InputError, match="third"):
        toy.broken_answer("fourth")


def test_the_answer_is_not_given_away_where_a_student_looks_first():
    shown = (toy.broken.__doc__ or "") + str(toy.broken("first")[0].name) + str(toy.broken("second")[0].options)
    for name in CASES:
        answer = toy.broken_answer(name)
        assert answer.finding not in shown
        assert str(answer).startswith(answer.finding)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_diagnosis_names_the_fault_first_or_second(name):
    problem, options = toy.broken(name)
    found = diagnose(Run(problem, **options).advance(None, progress=False))
    assert toy.broken_answer(name).finding in [finding.name for finding in found.warnings[:2]]


@pytest.mark.slow
def test_the_same_run_without_a_fault_gets_no_warning():
    problem, options = toy.broken("first")
    mended = with_teacher(problem, "digits 5-9", preprocess=toy.digits().teacher("digits 5-9").preprocess)
    found = diagnose(Run(mended, **options).advance(None, progress=False))
    assert not found.warnings
