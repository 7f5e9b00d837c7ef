"""Laws of teachers that do not teach: nothing of them is left in any term, and what only they teach stays as it is."""

import contextlib
import math
import re

import numpy as np
import pytest
import torch

from ka_explore import METHODS, InputError, NotApplicable, Problem, Run
from ka_explore.diagnosis import diagnose
from ka_explore.methods.base import AmalgamationConfig
from ka_explore.methods.config import options_of, parse
from ka_explore.methods.losses import mmd, mmd_sum
from ka_explore.probes import PROBES
from ka_explore.report.diagram import diagram
from ka_explore.run.loss import loss_of, sums
from ka_explore.run.snapshot import VOCABULARY
from ka_explore.run.step import prepare

OFF = "teacher 1"
CASES = [
    ("distillation", {"targets": "consistent"}),
    ("common_feature", {"paired_weight": 0.1, "classwise_weight": 0.1, "width": 4}),
    ("layer_wise", {"form": "incremental"}),
    ("adaptive", {}),
    ("logit_space", {"soft_target": "joint_posterior"}),
]
MORE = [
    ("distillation", {"soft_target": "joint_posterior", "temperature": 2.0}),
    ("common_feature", {"balance": "gradnorm", "targets": "standardised", "soft_target": "restricted", "width": 4}),
    ("common_feature", {"form": "code", "width": 4, "adaption_width": 4}),
    ("layer_wise", {}),
    ("layer_wise", {"form": "paper"}),
    ("one_stage", {"form": "kamal"}),
    ("adaptive", {"form": "paper", "selection": "soft", "select_components": True}),
    ("adaptive", {"soft_target": "joint_posterior", "balance": "gradnorm"}),
    ("logit_space", {"soft_target": "restricted", "gamma": 1.3}),
]
ANSWER = {"common_feature": {"mmd", "reconstruction_error", "cka"}}  # what must be answered besides
pairs = pytest.mark.parametrize(
    ("method", "options"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)], ids=str
)


@pytest.fixture(scope="module")
def make(tiny_problem, teacher):
    """Problems of three alike teachers, of which neighbours share a class; ``other`` gives one of them another net."""

    def made(*, other: str = "", tasks: int = 1) -> Problem:
        base = tiny_problem(3, overlap=True, tasks=tasks, labels=False, test=0, probe=24)
        kinds = [
            teacher(t.name, "conv", t.labels, task=t.task, seed=50 + i if t.name == other else i)
            for i, t in enumerate(base.teachers)
        ]
        return Problem(kinds, base.pool, base.student)

    return made


@pytest.fixture(scope="module")
def problem(make) -> Problem:
    return make()


def run_of(problem: Problem, method: str, options: dict, **more) -> Run:
    return Run(
        problem,
        method,
        **{"steps": 9, "batch_size": 16, "checkpoint_every": 4, "snapshot_every": 0},
        **options,
        **more,
    )


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def batch_of(run: Run):
    return run._batch(run.problem.pool.at(0, 0, 16), augment_step=None)


@pairs
def test_nothing_depends_on_a_teacher_that_does_not_teach(make, method, options):
    run = run_of(make(), method, options, without=(OFF,)).advance(None)
    other = run_of(make(other=OFF), method, options, without=(OFF,)).advance(None)
    assert rows(run) == rows(other)
    assert all(torch.equal(value, state(other)[name]) for name, value in state(run).items())
    taught = [run_of(make(other=name), method, options).advance(1) for name in ("", OFF)]
    assert rows(taught[0]) != rows(taught[1])  # where it teaches, it does


@pytest.mark.parametrize("at", [0, 5])
@pairs
def test_a_fork_without_a_teacher_goes_on_or_says_why_not(problem, method, options, at):
    run = run_of(problem, method, options).advance(5)
    if at and method in ("layer_wise", "one_stage"):
        with pytest.raises(NotApplicable, match="Fork at step 0"):
            run.fork("off", at=at, without=(OFF,))
        return
    fork = run.fork("off", at=at, without=(OFF,))
    assert fork.config.without == (OFF,)
    before = state(fork)
    fork.advance(None)
    assert rows(fork)[:at] == rows(run)[:at]
    assert all(math.isfinite(v) for row in fork.history() for v in row["terms"].values())
    terms, known = ({row["stage"]: tuple(row["terms"]) for row in one.history()} for one in (fork, run.advance(None)))
    assert all(known.get(stage, names) == names for stage, names in terms.items())  # terms keep their names
    back = fork.fork("back", at=at, without=()).advance(None)
    assert rows(back) == rows(run)
    if not at:
        assert rows(fork) == rows(run_of(problem, method, options, without=(OFF,)).advance(None))
    else:
        end = state(fork)
        assert all(torch.equal(end[n], v) for n, v in state(fork.rewind(6).advance(None)).items())
        assert before.keys() == end.keys()


@pairs
def test_every_trained_parameter_gets_a_gradient_and_nothing_else_does(problem, method, options):
    run = run_of(problem, method, options, without=(OFF,))
    for stage in run.method.stages():
        prepare(run.method, stage)
        loss = loss_of(run.method, stage, sums(stage.forward(batch_of(run))))
        if stage.trains:
            loss.backward()
        trained = {id(p) for module in stage.trains for p in module.parameters()}
        for name, parameter in run.method.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in trained), name
        run.method.zero_grad(set_to_none=True)


@pairs
def test_snapshots_probes_diagnosis_and_diagram_survive(problem, method, options):
    run = run_of(problem, method, options, without=(OFF,))
    while not run.done:
        run.advance(4)
        snapshot = run.snapshot()
        assert all(any(re.fullmatch(p, name) for p in VOCABULARY) for name in snapshot.arrays)
        assert not any(
            name.startswith(("gradient/", "error/")) and name.endswith(f"/{OFF}") for name in snapshot.arrays
        )
        answered = set()
        for name, probe in PROBES.items():
            with contextlib.suppress(InputError):  # the stage does not emit what it needs
                probe(snapshot)
                answered.add(name)
        plain = {"agreement", "responsibility", "entropies"} | ANSWER.get(method, set())
        assert plain <= answered
        drawn = diagram(run)
        starts = {start for start, _, _ in drawn.arrows}
        assert OFF in {box.name for box in drawn.boxes}
        assert OFF not in starts
        assert {"teacher 0", "teacher 2"} <= starts
    found = diagnose(run)
    assert found.checked
    named = ("not_reconstructable", "dominating_teacher", "starved_teacher")
    assert not [f for f in found.judged if f.subject == OFF and f.name in named]


@pairs
def test_a_term_is_one_number_or_one_a_teacher_who_teaches(problem, method, options):
    run = run_of(problem, method, options, without=(OFF,)).advance(3)
    for stage in run.method.stages():
        with torch.no_grad():
            output = stage.forward(batch_of(run))
        teachers = output.teachers or run.method.teaching
        assert OFF not in teachers
        for name, term in output.terms.items():
            assert term.shape in ((), (len(teachers),)), name


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def slow(kind: str, labels, student: np.ndarray, answers: dict[str, np.ndarray], temperature: float) -> float:
    """The soft target of one task in double precision, over the teachers in ``answers`` only."""
    student = student.astype(np.float64)
    own = {name: student[:, labels.columns_of(name)] for name in answers}
    if kind == "score_distance":
        return float(np.mean(sum(((own[n] - z) ** 2).sum(axis=1) for n, z in answers.items())))
    if kind == "stacked":
        p = softmax(np.concatenate(list(answers.values()), axis=1) / temperature)
        q = softmax(np.concatenate(list(own.values()), axis=1) / temperature)
        return float(-(p * np.log(q)).sum(axis=1).mean() * temperature**2)
    parts = []
    mass: dict[int, np.ndarray] = {}
    for name in answers:
        for place, c in enumerate(labels.classes_of(name)):
            mass[c] = mass.get(c, 0.0) + np.exp(own[name][:, place] / temperature)
    for name, z in answers.items():
        p = softmax(z / temperature)
        q = softmax(own[name] / temperature)
        if kind == "joint_posterior":
            q = np.stack([mass[c] for c in labels.classes_of(name)], axis=1)
            q = q / q.sum(axis=1, keepdims=True)
        parts.append(-(p * np.log(q)).sum(axis=1).mean() * temperature**2)
    return float(np.mean(parts))


@pytest.mark.parametrize("kind", ["stacked", "restricted", "joint_posterior", "score_distance"])
@pytest.mark.parametrize("off", ["teacher 0", "teacher 1", "teacher 2"])
def test_the_soft_target_is_that_of_the_other_teachers_alone(problem, kind, off):
    run = run_of(problem, "distillation", {"soft_target": kind, "temperature": 2.0})
    fork = run.fork("off", at=0, without=(off,)).advance(1)
    batch = run._batch(problem.pool.at(0, 0, 16), augment_step=0)
    prepare(run.method, run.stage)
    student = run.student(batch.images).logits
    answers = {n: batch.teachers[n].logits.double().numpy() for n in problem.names if n != off}
    expected = slow(kind, problem.labels, student.detach().numpy(), answers, 2.0)
    assert fork.history()[0]["loss"] == pytest.approx(expected, rel=1e-5)
    # the same as in the problem of the other teachers, given these columns of the student
    teachers = [t for t in problem.teachers if t.name != off]
    options = {"soft_target": kind, "temperature": 2.0}
    fewer = run_of(Problem(teachers, problem.pool, problem.student), "distillation", options)
    columns = [i for i, c in enumerate(problem.labels.columns) if c.teacher != off]
    silent = run_of(problem, "distillation", options, without=(off,)).method
    assert torch.equal(silent.soft_target(student, batch), fewer.method.soft_target(student[:, columns], batch))


@pytest.mark.parametrize("kind", ["stacked", "restricted", "joint_posterior", "score_distance"])
@pytest.mark.parametrize("method", ["distillation", "common_feature", "logit_space"])
def test_the_columns_of_a_teacher_that_does_not_teach_get_no_gradient(problem, method, kind):
    run = run_of(problem, method, {"soft_target": kind}, without=(OFF,))
    prepare(run.method, run.stage)
    loss_of(run.method, run.stage, sums(run.stage.forward(batch_of(run)))).backward()
    gradient = run.student.heads["class"][-1].weight.grad
    place = problem.labels.columns_of(OFF)
    assert bool((gradient[place] == 0).all())
    others = torch.cat([gradient[: place.start], gradient[place.stop :]])
    assert bool((others != 0).any(dim=1).all())


def test_the_common_space_learns_of_the_others_alone(problem):
    options = {"width": 4, "paired_weight": 1.0}
    run = run_of(problem, "common_feature", options).advance(4)
    fork = run.fork("off", without=(OFF,))
    before = state(fork)
    fork.advance(5)
    after, place = state(fork), 1 + problem.names.index(OFF)
    own = (f"adaptions.{place}.", f"decoders.{place - 1}.")
    for name, value in before.items():
        if name.startswith(own):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["adaptions.1.0.weight"], after["adaptions.1.0.weight"])
    snapshot = fork.snapshot()
    assert {f"common/{n}" for n in ("student", *problem.names)} <= set(snapshot.arrays)  # it is shown where it was left
    assert f"error/{OFF}" not in snapshot.arrays
    assert not any(name.startswith(f"mmd/{OFF}") for name in snapshot.arrays)
    method, batch = fork.method, batch_of(fork)
    with torch.enable_grad():
        prepare(method, fork.stage)
        method.eval()  # batch norm by its running averages, whoever is in the batch
        terms = method.joint(batch).terms
        common = method.common(method.features(method.student(batch.images), batch.teachers, method.teaching))
        rows = {name: method.row(h) for name, h in common.items()}
        expected = mmd_sum(mmd(rows["student"], [rows["teacher 0"], rows["teacher 2"]], method.config.bandwidths)).sum()
    assert set(rows) == {"student", "teacher 0", "teacher 2"}
    assert float(terms["mmd"].detach().sum()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_the_selection_is_among_the_others(problem):
    run = run_of(problem, "adaptive", {"selection": "hard"}, without=("teacher 0",))
    snapshot = run.snapshot()
    task = problem.labels.tasks[0]
    assert set(np.unique(snapshot.arrays[f"selected/{task}"])) <= {1, 2}
    assert (snapshot.arrays["weight/teacher 0"] == 0).all()
    assert (snapshot.arrays["weight/teacher 1"] + snapshot.arrays["weight/teacher 2"] == 1).all()
    # a class that only the silent teacher knows is in no softmax of component or student
    known = run.method.taught.class_names(task)
    only = [i for i, name in enumerate(run.method.labels.class_names(task)) if name not in known]
    assert only
    for stage in run.method.stages():
        prepare(run.method, stage)
        loss_of(run.method, stage, sums(stage.forward(batch_of(run)))).backward()
        net = run.method.component_of(task)[0] if stage.name != "target" else run.student
        gradient = net.heads[task][-1].weight.grad
        assert bool((gradient[only] == 0).all())
        assert bool((gradient != 0).any())
        run.method.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", ["standardised", "consistent"])
def test_targets_do_not_hear_it(problem, kind):
    run = run_of(problem, "distillation", {"targets": kind}, without=(OFF,))
    fewer = Problem([t for t in problem.teachers if t.name != OFF], problem.pool, problem.student)
    expected = run_of(fewer, "distillation", {"targets": kind})
    batch, other = batch_of(run), batch_of(expected)
    for name in fewer.names:
        assert torch.equal(batch.teachers[name].logits, other.teachers[name].logits)
    own = problem.teacher(OFF)(batch.images).logits
    assert torch.allclose(batch.teachers[OFF].logits, own, atol=1e-5)
    arrays = run.snapshot().arrays
    assert (arrays[f"claim/target/{OFF}"] == 0).all()
    total = sum(arrays[f"claim/target/{name}"] for name in fewer.names)
    assert np.allclose(total, 1, atol=1e-5)


def test_tasks_keep_a_teacher_each(make):
    problem = make(tasks=2)  # teachers 0 and 2 answer task 0, teacher 1 task 1
    run_of(problem, "distillation", {}, without=("teacher 2",)).advance(2)
    with pytest.raises(InputError, match=r"leaves task 'task 1' without a teacher: keep at least one of teacher 1, or"):
        run_of(problem, "distillation", {}, without=("teacher 1",))


@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if issubclass(m.Config, AmalgamationConfig)])
def test_names_that_are_not_there_and_nobody_left_are_refused(problem, method, tmp_path):
    with pytest.raises(InputError, match=r"unknown teacher 'teacher 4' in without\. Did you mean 'teacher"):
        run_of(problem, method, {}, without=("teacher 4",))
    with pytest.raises(InputError, match=r"leaves task 'class' without a teacher: keep at least one of teacher 0, "):
        run_of(problem, method, {}, without=problem.names)
    run = Run(problem, method, steps=4, folder=tmp_path / "run")
    for at in (0, 1):
        run.advance(1)
        with pytest.raises(InputError, match="unknown teacher"):
            run.fork("off", at=at, without=("nobody",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_merging_says_that_it_averages_all(problem):
    with pytest.raises(InputError, match="give a teacher a share of 0"):
        run_of(problem, "permutation_merging", {}, without=(OFF,))


def test_everybody_teaches_by_default_and_order_does_not_matter(problem):
    run = run_of(problem, "distillation", {}).advance(3)
    assert run.config.without == ()
    assert rows(run_of(problem, "distillation", {}, without=()).advance(3)) == rows(run)
    one, other = (
        run_of(problem, "distillation", {"targets": "consistent"}, without=names).advance(3)
        for names in (("teacher 2", "teacher 0"), ("teacher 0", "teacher 2", "teacher 0"))
    )
    assert rows(one) == rows(other)
    assert one.method.without == other.method.without == ("teacher 0", "teacher 2")
    option = options_of(AmalgamationConfig)["without"]
    assert parse(option, "teacher 0, teacher 2") == ("teacher 0", "teacher 2")
