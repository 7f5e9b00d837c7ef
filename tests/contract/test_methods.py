"""What every method keeps, whoever adds one to the table: tested over METHODS and every named form."""

import copy
import math
import re
from functools import cache, partial

import numpy as np
import pytest
import torch

from ka_explore import METHODS, InputError, Problem, Run, toy
from ka_explore.problem.problem import Labelled
from ka_explore.run.export import export_student, load_student
from ka_explore.run.loss import loss_of, sums
from ka_explore.run.snapshot import VOCABULARY
from ka_explore.run.step import prepare

CASES = [(name, form) for name, method in METHODS.items() for form in (None, *method.forms)]
SHORT = {"steps": 10, "batch_size": 16}


# A method is tested on the first of these that it can work on: teachers of different architecture, and of one.
PROBLEMS = (cache(partial(toy.digits, unlabelled=120)), cache(partial(toy.four_teachers, unlabelled=120)))


def make(problem: Problem, case: tuple[str, str | None], **options) -> Run:
    method, form = case
    options = {"checkpoint_every": 3} | ({} if method == "ensemble" else SHORT) | options
    return Run(problem, method, form=form, **options)


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


@pytest.fixture(params=CASES, ids=lambda case: "-".join(filter(None, case)))
def case(request) -> tuple[str, str | None]:
    return request.param


@cache
def choice(case: tuple[str, str | None]) -> tuple[Problem | None, list[str]]:
    """The first problem a method can work on, and why it refused those before."""
    refusals = []
    for problem in PROBLEMS:
        try:
            make(problem(), case)
        except InputError as error:
            refusals.append(str(error))
        else:
            return problem(), refusals
    return None, refusals


@pytest.fixture
def problem(case) -> Problem:
    found, refusals = choice(case)
    assert found is not None, refusals
    return found


def test_a_method_that_cannot_work_on_a_problem_says_what_to_do(case):
    found, refusals = choice(case)
    assert found is not None, refusals
    for refusal in refusals:
        assert re.search(r"\b([Uu]se|[Gg]ive|[Cc]hoose|[Nn]ame)\b", refusal), refusal


def test_every_trained_parameter_gets_a_gradient_and_nothing_else_does(problem, case):
    run = make(problem, case)
    for stage in run.method.stages():
        batch = run._batch(problem.pool.at(0, 0, 16), augment_step=0)
        prepare(run.method, stage)
        loss = loss_of(run.method, stage, sums(stage.forward(batch)))
        if stage.trains:
            loss.backward()
        trained = {id(p) for module in stage.trains for p in module.parameters()}
        for name, parameter in run.method.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in trained), name
        run.method.zero_grad(set_to_none=True)


def test_what_a_stage_does_not_train_is_untouched_and_in_eval_mode(problem, case):
    run = make(problem, case)
    for stage in run.method.stages():
        before, buffers = state(run), dict(run.method.named_buffers())
        trained = [name for name, m in run.method.named_modules() if any(m is t for t in stage.trains)]
        changed = [name for name, m in run.method.named_modules() if any(m is t for t in stage.changes)]

        def learns(name: str, trained: list[str] = trained) -> bool:
            return any(name.startswith(prefix + ".") for prefix in trained)

        run.advance(stage.steps)
        after = state(run)
        for name in before:
            if learns(name, changed):
                continue
            if not learns(name):
                assert torch.equal(before[name], after[name]), name
            elif name not in buffers:
                assert not torch.equal(before[name], after[name]), name


def test_teachers_are_untouched(problem, case):
    before = [copy.deepcopy(teacher.module.state_dict()) for teacher in problem.teachers]
    make(problem, case).advance(None)
    for teacher, weights in zip(problem.teachers, before, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in teacher.module.state_dict().items())
        assert not any(p.requires_grad for p in teacher.module.parameters())
        assert not any(m.training for m in teacher.module.modules())


def test_terms_are_finite_and_keep_their_names(problem, case):
    run = make(problem, case).advance(None)
    names: dict[str, set[tuple[str, ...]]] = {}
    for row in run.history():
        assert math.isfinite(row["loss"])
        assert all(math.isfinite(value) for value in row["terms"].values())
        names.setdefault(row["stage"], set()).add(tuple(row["terms"]))
    assert all(len(kinds) == 1 for kinds in names.values())
    stages = [stage.name for stage in run.method.stages()]
    assert len(set(stages)) == len(stages)


def test_snapshots_speak_the_vocabulary(problem, case):
    run = make(problem, case).advance(3)
    snapshot = run.snapshot()
    for name, array in snapshot.arrays.items():
        assert any(re.fullmatch(pattern, name) for pattern in VOCABULARY), name
        assert len(array) == len(snapshot.index)
    assert {"scores", *(f"logits/{name}" for name in problem.names)} <= set(snapshot.arrays)


def test_a_term_is_one_number_or_one_a_teacher(problem, case):
    run = make(problem, case).advance(3)
    for stage in run.method.stages():
        with torch.no_grad():
            output = stage.forward(run._batch(problem.pool.at(0, 0, 16), augment_step=None))
        teachers = output.teachers or run.method.teaching
        assert set(teachers) <= set(problem.names)
        for name, term in output.terms.items():
            assert term.shape in ((), (len(teachers),)), name
        assert {name for name, weight in stage.weights.items() if weight} <= set(output.terms)


def test_gradients_are_seen_in_every_stage_whose_loss_reaches_the_student(problem, case):
    run = make(problem, case, snapshot_every=1).advance(None)
    seen = set()
    for step in run.store.snapshot_steps():
        snapshot = run.store.load_snapshot(step)
        sizes = [name for name in snapshot.arrays if name.startswith("gradient/")]
        assert {n.replace("gradient/", "along/", 1) for n in sizes} <= set(snapshot.arrays)
        for name in sizes:
            asked = np.isfinite(snapshot.arrays[name])
            assert asked.sum() == min(16, len(snapshot.index))
            assert asked[: asked.sum()].all()
        seen |= {snapshot.stage} if sizes else set()
    answers = {s.name for s in run.method.stages() if s.name in ("joint", "distil", "target", "supervised")}
    assert answers <= seen


def test_rewinding_is_exact_and_looking_changes_nothing(problem, case):
    run = make(problem, case).advance(None)
    end = state(run)
    watched = make(problem, case, snapshot_every=2).advance(None)
    assert equal(state(watched), end)
    run.rewind(min(4, run.steps))
    run.snapshot()
    assert equal(state(run.advance(None)), end)


def test_an_unchanged_fork_goes_the_same_way_from_every_step(problem, case):
    run = make(problem, case).advance(None)
    for at in range(0, run.steps + 1, 5):
        assert equal(state(run.fork("copy", at=at).advance(None)), state(run))


def test_a_method_does_without_a_teacher_or_says_what_to_do(problem, case):
    if not hasattr(METHODS[case[0]].Config(), "without"):
        return  # it does not learn from the teachers' answers
    if case[0] == "permutation_merging":
        with pytest.raises(InputError, match="Make a problem of the teachers wanted, or give"):
            make(problem, case, without=problem.names[:1])
        return  # it trains nothing
    run = make(problem, case, without=problem.names[:1])
    for stage in run.method.stages():
        prepare(run.method, stage)
        output = stage.forward(run._batch(problem.pool.at(0, 0, 16), augment_step=0))
        loss = loss_of(run.method, stage, sums(output))
        if stage.trains:
            loss.backward()
        trained = {id(p) for module in stage.trains for p in module.parameters()}
        for name, parameter in run.method.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in trained), name
        run.method.zero_grad(set_to_none=True)
    run.advance(None)
    assert all(math.isfinite(value) for row in run.history() for value in row["terms"].values())


def test_labels_are_not_read(problem, case):
    if METHODS[case[0]].uses_labels:
        return  # the oracle says so, and every view of it says "oracle"
    assert problem.test is not None
    scrambled = {task: (y + 3) % 10 for task, y in (problem.pool.labels or {}).items()}
    pool = type(problem.pool)(problem.pool.images, labels=scrambled, probe=problem.pool.probe)
    other = Problem(problem.teachers, pool, problem.student, Labelled(problem.test.images, problem.test.labels))
    assert equal(state(make(problem, case).advance(None)), state(make(other, case).advance(None)))


def test_only_the_oracle_uses_labels():
    assert [name for name, method in METHODS.items() if method.uses_labels] == ["oracle"]


def test_predict_has_a_column_a_class_and_a_state_survives_the_disk(problem, case, tmp_path):
    run = make(problem, case, folder=tmp_path / "run").advance(None)
    run.save()
    images = problem.pool.images[:7]
    scores = run.predict(images)
    assert scores.shape == (7, len(problem.labels.classes))
    assert torch.equal(Run.open(tmp_path / "run").predict(images), scores)


def test_a_student_survives_export(problem, case, tmp_path):
    run = make(problem, case).advance(None)
    if run.stage is None:
        return  # an ensemble has no student
    export_student(run, tmp_path / "student")
    images = problem.pool.images[:7]
    assert torch.equal(load_student(tmp_path / "student")(images), run.predict(images))


def test_every_option_says_what_it_means(case):
    from ka_explore.methods.config import options_of

    for option in options_of(METHODS[case[0]].Config).values():
        assert len(option.text) > 10, option.name
