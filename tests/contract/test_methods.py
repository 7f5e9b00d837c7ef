"""What every method keeps, whoever adds one to the table: tested over METHODS and every named form."""

import copy
import math
import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from ka_explore import METHODS, InputError, Problem, Run, toy
from ka_explore.methods.base import Stage, StepOutput
from ka_explore.problem.problem import Labelled
from ka_explore.run.export import export_student, load_student
from ka_explore.run.loss import loss_of, sums
from ka_explore.run.snapshot import VOCABULARY
from ka_explore.run.step import prepare

CASES = [(name, form) for name, method in METHODS.items() for form in (None, *method.forms)]
WAY_OUT = r"\b([Uu]se|[Gg]ive|[Cc]hoose|[Nn]ame|[Mm]ake)\b"
SHORT = {"steps": 10, "batch_size": 16}


def make(problem: Problem, case: tuple[str, str | None], **options) -> Run:
    method, form = case
    options = {"checkpoint_every": 3, "snapshot_every": 0} | ({} if method == "ensemble" else SHORT) | options
    return Run(problem, method, form=form, **options)


def name_of(case: tuple[str, str | None]) -> str:
    return "-".join(filter(None, case))


# All tests of a case go to one process, which makes its run once.
@pytest.fixture(params=[pytest.param(c, id=name_of(c), marks=pytest.mark.xdist_group(name_of(c))) for c in CASES])
def case(request) -> tuple[str, str | None]:
    return request.param


@cache
def problems() -> list[tuple[Problem, list[dict[str, torch.Tensor]]]]:
    """Problems, and their teachers' weights from before any run; a method is tested on the first it can work on."""
    made = [toy.digits(unlabelled=120), toy.four_teachers(unlabelled=120)]  # of different architecture, and of one
    return [(problem, [copy.deepcopy(t.module.state_dict()) for t in problem.teachers]) for problem in made]


@cache
def finished(case: tuple[str, str | None]) -> tuple[Run | None, list[str]]:
    """The case's run at its end, which all its tests share; and which problems it refused."""
    refusals = []
    for problem, _ in problems():
        try:
            run = make(problem, case)
        except InputError as error:
            refusals.append(str(error))
        else:
            run.advance(None).save()
            return run, refusals
    return None, refusals


@pytest.fixture
def end(case) -> Run:
    """The finished run, to be read, looked at and forked only; what calls its nets in training takes ``run``."""
    found, refusals = finished(case)
    assert found is not None, refusals
    return found


@pytest.fixture
def problem(end) -> Problem:
    return end.problem


@pytest.fixture
def run(end) -> Run:
    """The finished run once more, opened from its folder."""
    return Run.open(end.folder, end.problem)


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def output_of(run: Run, stage: Stage, *, augment_step: int | None = 0) -> StepOutput:
    return stage.forward(run._batch(run.problem.pool.at(0, 0, 16), augment_step=augment_step))


def check_gradients(run: Run) -> None:
    """Every parameter that a stage trains gets a gradient, and nothing else does."""
    for stage in run.method.stages():
        prepare(run.method, stage)
        loss = loss_of(run.method, stage, sums(output_of(run, stage)))
        if stage.trains:
            loss.backward()
        trained = {id(p) for module in stage.trains for p in module.parameters()}
        for name, parameter in run.method.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in trained), name
        run.method.zero_grad(set_to_none=True)


def test_a_method_that_cannot_work_on_a_problem_says_what_to_do(case):
    found, refusals = finished(case)
    assert found is not None, refusals
    for refusal in refusals:
        assert re.search(WAY_OUT, refusal), refusal


def test_every_trained_parameter_gets_a_gradient_and_nothing_else_does(problem, case):
    check_gradients(make(problem, case))


def test_what_a_stage_does_not_train_is_untouched(run):
    for stage, (begin, end) in zip(run.stages, pairwise(run.boundaries), strict=True):
        before, buffers = state(run.rewind(begin)), dict(run.method.named_buffers())
        here = next(found for found in run.method.stages() if found.name == stage.name)
        trained = [name for name, m in run.method.named_modules() if any(m is t for t in here.trains)]
        changed = [name for name, m in run.method.named_modules() if any(m is t for t in here.changes)]
        after = state(run.rewind(end))

        def learns(name: str, trained: list[str] = trained) -> bool:
            return any(name.startswith(prefix + ".") for prefix in trained)

        for name in before:
            if learns(name, changed):
                continue
            if not learns(name):
                assert torch.equal(before[name], after[name]), name
            elif name not in buffers:
                assert not torch.equal(before[name], after[name]), name


def test_teachers_are_untouched(problem):
    weights = next(before for there, before in problems() if there is problem)
    for teacher, before in zip(problem.teachers, weights, strict=True):
        assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())
        assert not any(p.requires_grad for p in teacher.module.parameters())
        assert not any(m.training for m in teacher.module.modules())


def test_terms_are_finite_and_keep_their_names(end):
    names: dict[str, set[tuple[str, ...]]] = {}
    for row in end.history():
        assert math.isfinite(row["loss"])
        assert all(math.isfinite(value) for value in row["terms"].values())
        names.setdefault(row["stage"], set()).add(tuple(row["terms"]))
    assert all(len(kinds) == 1 for kinds in names.values())
    stages = [stage.name for stage in end.method.stages()]
    assert len(set(stages)) == len(stages)


def test_snapshots_speak_the_vocabulary(problem, end):
    snapshot = end.snapshot()
    for name, array in snapshot.arrays.items():
        assert any(re.fullmatch(pattern, name) for pattern in VOCABULARY), name
        assert len(array) == len(snapshot.index)
    assert {"scores", *(f"logits/{name}" for name in problem.names)} <= set(snapshot.arrays)


def test_a_term_is_one_number_or_one_a_teacher(problem, run):
    for stage in run.method.stages():
        with torch.no_grad():
            output = output_of(run, stage, augment_step=None)
        teachers = output.teachers or run.method.teaching
        assert set(teachers) <= set(problem.names)
        for name, term in output.terms.items():
            assert term.shape in ((), (len(teachers),)), name
        assert {name for name, weight in stage.weights.items() if weight} <= set(output.terms)


def test_looking_changes_nothing_and_sees_gradients_wherever_a_loss_reaches_the_student(problem, case, end):
    run = make(problem, case, snapshot_every=1).advance(None)
    assert equal(state(run), state(end))
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
    answers = {s.name for s in run.method.stages() if s.trains and s.weights.get(s.soft_term)}
    assert answers <= seen


def test_rewinding_is_exact(run, end):
    run.rewind(min(4, run.steps)).snapshot()
    assert equal(state(run.advance(None)), state(end))


def test_an_unchanged_fork_goes_the_same_way_from_every_step(end):
    for at in range(0, end.steps + 1, 5):
        assert equal(state(end.fork("copy", at=at).advance(None)), state(end))


def test_a_method_does_without_a_teacher_or_says_what_to_do(problem, case):
    if not hasattr(METHODS[case[0]].Config(), "without"):
        return  # it does not learn from the teachers' answers
    refusal = ""
    try:
        run = make(problem, case, without=problem.names[:1])
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert re.search(WAY_OUT, refusal), refusal
        return
    check_gradients(run)
    run.advance(None)
    assert all(math.isfinite(value) for row in run.history() for value in row["terms"].values())


def test_labels_are_not_read(problem, case, end):
    if METHODS[case[0]].uses_labels:
        return  # the oracle says so, and every view of it says "oracle"
    assert problem.test is not None
    scrambled = {task: (y + 3) % 10 for task, y in (problem.pool.labels or {}).items()}
    pool = type(problem.pool)(problem.pool.images, labels=scrambled, probe=problem.pool.probe)
    other = Problem(problem.teachers, pool, problem.student, Labelled(problem.test.images, problem.test.labels))
    assert equal(state(make(other, case).advance(None)), state(end))


def test_only_the_oracle_uses_labels():
    assert [name for name, method in METHODS.items() if method.uses_labels] == ["oracle"]


def test_predict_has_a_column_a_class_and_a_state_survives_the_disk(problem, run, end):
    images = problem.pool.images[:7]
    scores = end.predict(images)
    assert scores.shape == (7, len(problem.labels.classes))
    assert torch.equal(run.predict(images), scores)


def test_a_student_survives_export(problem, end, tmp_path):
    if end.stage is None:
        return  # an ensemble has no student
    export_student(end, tmp_path / "student")
    images = problem.pool.images[:7]
    assert torch.equal(load_student(tmp_path / "student")(images), end.predict(images))


def test_every_option_says_what_it_means(case):
    from ka_explore.methods.config import options_of

    for option in options_of(METHODS[case[0]].Config).values():
        assert len(option.text) > 10, option.name
