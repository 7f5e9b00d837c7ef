"""What the diagnosis says of the student, the pool and whose image it is; and what a finding may be the cause of."""

import dataclasses
import json
from itertools import product

import numpy as np
import pytest
import test_checks as checks
import torch
from torch import nn

from ka_explore import METHODS, Pool, Run
from ka_explore.diagnosis import EXPLAINS, diagnose, explains, judge
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import distinct
from ka_explore.diagnosis.trained import moved

N = checks.N


def named(run, *names):
    """The findings of these names, by name."""
    return {f.name: f for f in diagnose(run) if f.name in names}


# What moves


@pytest.fixture
def spoilt(tiny_problem):
    """A tiny problem whose students have something done to them."""

    def make(spoil, **options):
        problem = tiny_problem(**options)
        student = problem.student

        def spoiled(labels):
            net = student(labels)
            spoil(net)
            return net

        return dataclasses.replace(problem, student=spoiled)

    return make


def stop(net, name, change=torch.Tensor.detach):
    """What a part of the net puts out is changed on the way."""
    net.get_submodule(name).register_forward_hook(lambda _module, _given, output: change(output))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("ensemble", "permutation_merging")])
def test_all_that_a_method_teaches_moves(method, tiny_problem, teacher):
    problem = tiny_problem()
    other = teacher("teacher 1", "conv", problem.teachers[1].labels, seed=1)
    run = Run(dataclasses.replace(problem, teachers=[problem.teachers[0], other]), method, steps=12, batch_size=8)
    assert moved(run) == {}
    seen = moved(run.advance(None, progress=False))
    assert (seen["still"], seen["unfed"], seen["frozen"], seen["until"]) == ([], [], [], 12)


@pytest.mark.parametrize(("name", "still"), [("segments.conv1", 2), ("segments.features", 4)])
def test_what_no_gradient_reaches_is_named(name, still, spoilt):
    run = Run(spoilt(lambda net: stop(net, name)), "distillation", steps=3, batch_size=8)
    assert "student_not_moving" in diagnose(run).skipped
    found = named(run.advance(None, progress=False), "student_not_moving")["student_not_moving"]
    assert found.grade == "warning"
    assert found.value >= still / 5
    assert len(moved(run)["still"]) == still
    assert "segments.conv1.0" in found.title
    # a folder alone says the same
    assert named(run.folder, "student_not_moving")["student_not_moving"] == found


def test_a_student_without_any_gradient_is_named_and_is_no_error(spoilt):
    run = Run(spoilt(lambda net: [stop(net, f"heads.{task}") for task in net.heads]), "distillation", steps=3)
    found = named(run.advance(None, progress=False), "student_not_moving")["student_not_moving"]
    assert found.value == 1


class Resting(METHODS["distillation"]):
    """Distillation that gives the student no rate of its own."""

    def stages(self):
        return [dataclasses.replace(stage, rates=(0.0,)) for stage in super().stages()]


def test_a_part_without_a_rate_is_named(tiny_problem):
    run = Run(tiny_problem(), Resting, steps=3).advance(None, progress=False)
    assert named(run, "student_not_moving")["student_not_moving"].value == 1


def test_a_fork_is_compared_with_what_it_began_with(spoilt):
    run = Run(spoilt(lambda net: stop(net, "segments.conv1")), "distillation", steps=6, checkpoint_every=2)
    fork = run.advance(4, progress=False).fork("fork", temperature=2.0).advance(None, progress=False)
    assert moved(fork)["still"] == moved(run)["still"] == ["segments.conv1.0", "segments.conv1.1"]


def test_what_an_earlier_version_found_is_looked_at_anew(tiny_problem):
    run = Run(tiny_problem(), "distillation", steps=2).advance(None, progress=False)
    diagnose(run)
    file = run.folder / "examination.json"
    old = {key: value for key, value in json.loads(file.read_text()).items() if key != "distinct"}
    file.write_text(json.dumps(old))
    assert "few_distinct_images" in diagnose(run.folder).skipped
    assert "few_distinct_images" in diagnose(run).checked
    assert "few_distinct_images" in diagnose(run.folder).checked


def test_looking_at_the_weights_changes_nothing(spoilt, tmp_path):
    problem = spoilt(lambda net: None)
    one, two = (Run(problem, "distillation", folder=tmp_path / name, steps=6) for name in ("one", "two"))
    diagnose(one.advance(3, progress=False))
    weights = [run.advance(6 - run.step, progress=False).method.state_dict() for run in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_rate_of_zero_is_not_a_part_that_does_not_move(tiny_problem):
    run = Run(tiny_problem(), "distillation", steps=3, learning_rate=0.0).advance(None, progress=False)
    assert "rate" in diagnose(run).skipped["student_not_moving"]


def test_batch_norms_kept_in_eval_mode_are_named_unless_they_had_moments(spoilt):
    def evaluate(net, batches):
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.num_batches_tracked.fill_(batches)
                part.register_forward_pre_hook(lambda module, _given: setattr(module, "training", False))

    for batches, grade in ((0, "warning"), (9, None)):
        run = Run(spoilt(lambda net, n=batches: evaluate(net, n)), "distillation", steps=3)
        found = named(run.advance(None, progress=False), "student_not_moving")
        assert (found["student_not_moving"].grade if found else None) == grade


def test_a_part_that_came_frozen_is_trained_and_named(spoilt):
    for parts, grade in ((["segments.conv2"], "warning"), (["segments", "heads"], "note"), ([], None)):
        spoil = lambda net, names=parts: [net.get_submodule(n).requires_grad_(False) for n in names]  # noqa: E731
        run = Run(spoilt(spoil), "distillation", steps=3).advance(None, progress=False)
        found = named(run, "student_frozen", "student_not_moving")
        assert {f.name: f.grade for f in found.values()} == ({"student_frozen": grade} if grade else {})


# What the pool holds


def test_copies_and_near_copies_count_once():
    random = np.random.default_rng(0)
    images = random.uniform(size=(40, 1, 8, 8))
    assert distinct(images) == 40
    assert distinct(np.concatenate([images, images[::-1]])) == 40
    assert distinct(np.repeat(images[:3], 20, axis=0) + random.normal(0, 1e-3, (60, 1, 8, 8))) == 3
    assert distinct(images + 100) == distinct(images / 255) == 40
    assert distinct(np.ones((9, 3, 4, 4))) == 1
    assert distinct(images[:1]) == 1


def test_a_pool_of_copies_is_the_cause_of_what_follows(tiny_problem):
    problem = tiny_problem(images=64)
    copies = Pool(problem.pool.images[np.arange(64) % 4], labels=problem.pool.labels)
    for pool, count in ((copies, 4.0), (problem.pool, 64.0)):
        run = Run(dataclasses.replace(problem, pool=pool), "distillation", steps=3).advance(None, progress=False)
        findings = diagnose(run)
        judged = next(f for f in findings.judged if f.name == "few_distinct_images")
        assert judged.evidence["different images among them"] == count
        assert ("few_distinct_images" in {f.name for f in findings.warnings}) == (count == 4)


# Whose image it is


def lifted(evidence, teacher="teacher 0", height=12.0):
    """A teacher's logits lifted or lowered together, by chance: what it says is as before, how loud it is not."""
    up = height * np.random.default_rng(7).choice([-1.0, 1.0], size=(N, 1))
    return checks.with_arrays(evidence, **{f"logits__{teacher.replace(' ', '_')}": evidence.logits(teacher) + up})


def unlabelled(evidence):
    """The same without true labels."""
    return dataclasses.replace(evidence, snapshots=[dataclasses.replace(s, labels=None) for s in evidence.snapshots])


def owner_of(evidence):
    """The finding about whose image it is, as judged."""
    return next(f for f in judge(evidence).judged if f.name == "whose_image")


def test_teachers_that_do_not_tell_whose_image_it_is_are_named_with_targets_to_try():
    good, bad = checks.healthy(), lifted(checks.healthy())
    for evidence, grade in ((good, "fine"), (bad, "warning"), (unlabelled(good), "fine"), (unlabelled(bad), "warning")):
        found = owner_of(evidence)
        assert found.grade == grade, found
        assert found.attempts[0].changes == {"targets": "consistent"}
    asked, joint = list(owner_of(bad).evidence.values())[2:4]
    assert asked > 0.95
    assert joint < 0.6


def test_targets_in_force_count_and_not_the_answers_they_replace():
    bad = lifted(checks.healthy())
    truth = bad.last.labels["class"]
    recorded = {f"claim__target__teacher_{i}": (truth // 3 == i).astype(float) for i in (0, 1)}
    repaired = checks.with_options(checks.with_arrays(bad, **recorded), targets="consistent")
    found = owner_of(repaired)
    assert found.value == 0
    assert all("targets" not in attempt.changes for attempt in found.attempts)  # they are in force


def test_where_no_target_says_whose_image_it_is_the_student_is_asked():
    good = checks.with_options(checks.healthy(), soft_target="restricted")
    assert owner_of(good).value < 0.05
    strayed = checks.with_arrays(good, scores=np.roll(good.last.arrays["scores"], 3, axis=1))
    assert owner_of(strayed).grade == "warning"
    assert {"soft_target": "stacked"} in [attempt.changes for attempt in owner_of(strayed).attempts]
    early = dataclasses.replace(strayed, rows=strayed.rows[:20])
    assert owner_of(early).grade == "note"
    assert not [f for f in judge(unlabelled(strayed)).judged if f.name == "whose_image"]


def test_a_selection_that_sends_images_to_the_wrong_teacher_is_replaced_where_another_does_not():
    good = checks.healthy()
    sharp = checks.with_arrays(good, logits__teacher_0=10 * good.logits("teacher 0") - 100)
    hard = checks.with_options(sharp, selection="hard", selection_temperature=0.1, method="adaptive")
    assert owner_of(hard).value > 0.3
    claim = checks.with_options(sharp, selection="claim", selection_temperature=0.1, method="adaptive")
    better = owner_of(claim).value < owner_of(hard).value
    proposed = {"selection": "claim"} in [attempt.changes for attempt in owner_of(hard).attempts]
    assert proposed == better


def test_teachers_that_know_the_same_are_not_asked_whose_image_it_is():
    assert "whose_image" not in {f.name for f in judge(checks.healthy(shared=True)).judged}
    assert "whose_image" in judge(checks.healthy(teachers=1)).skipped


# Causes and proposals

TEACHERS = ("one", "other")


def finding(name, subject, score):
    """A warning by hand."""
    return Finding(
        name, f"{name} of {subject}", "warning", score, {"value": 1.0, "a warning from": 1.0}, subject=subject
    )


@pytest.mark.parametrize("cause", EXPLAINS)
def test_no_finding_is_explained_by_what_is_wrong_with_another_teacher(cause):
    subjects = ("one", "other", "one / other", "common space, one", "mmd", "")
    about = {"one": {"one"}, "other": {"other"}, "one / other": {*TEACHERS}, "common space, one": {"one"}}
    for effect, (whose, of) in product(EXPLAINS[cause], product(subjects, subjects)):
        linked = explains(finding(cause, whose, 9.0), finding(effect, of, 1.0), TEACHERS)
        strangers = about.get(whose) and about.get(of) and not about[whose] & about[of]
        assert linked != bool(strangers), (cause, whose, effect, of)


def test_mending_one_teacher_does_not_make_anothers_note_a_warning():
    fed = checks.measured(mismatch=0.9, information=0.001, spread=0.01)
    loud = checks.with_arrays(checks.healthy(teachers=3), logits__teacher_1=10 * checks.healthy(3).logits("teacher 1"))
    both = judge(checks.with_teacher(loud, given=fed))
    alone = judge(loud)
    grades = [next(f.grade for f in found if f.name == "overconfident") for found in (both, alone)]
    assert grades == ["warning", "warning"]


def test_values_that_are_not_finite_are_a_teachers_only_where_it_put_them_out():
    good = checks.healthy()
    for kind, whose in (("logits", "teacher 0"), ("common", ""), ("error", "")):
        spoilt = checks.with_arrays(good, **{f"{kind}__teacher_0": good.last.arrays[f"{kind}/teacher 0"] * np.inf})
        found = next(f for f in judge(spoilt).judged if f.name == "not_finite")
        assert (found.grade, found.subject) == ("warning", whose)
        assert any(attempt.is_fork for attempt in found.attempts) == (whose == "")


def test_a_fork_to_what_is_in_force_or_to_an_unknown_option_is_not_proposed():
    tries = [
        Attempt("same", {"mmd_weight": 0.1}),
        Attempt("same list", {"bandwidths": (0.1, 1.0)}),
        Attempt("unknown", {"depth": 3}),
        Attempt("half unknown", {"mmd_weight": 0.2, "depth": 3}),
        Attempt("other", {"mmd_weight": 0.2, "bandwidths": (0.1, 1.0)}),
        Attempt("by hand", code="Pool(more)"),
    ]
    made = dataclasses.replace(finding("x", "", 1.0), attempts=tuple(tries))
    kept = made.with_forks_for({"mmd_weight": 0.1, "bandwidths": [0.1, 1.0]}).attempts
    assert [attempt.text for attempt in kept] == ["other", "by hand"]


def test_terms_balance_each_other_only_where_there_are_two():
    two = checks.with_options(checks.with_arrays(checks.healthy(), gradient__mmd=np.full(N, 9.0)), learning_rate=0.01)
    rows = [{**row, "weights": {"mmd": 0.1}} for row in two.rows]
    for evidence, proposed in ((two, True), (dataclasses.replace(two, rows=rows), False)):
        term = next(f for f in judge(evidence).judged if f.threshold == "dominating_gradient" and f.subject == "mmd")
        assert ({"balance": "gradnorm"} in [attempt.changes for attempt in term.attempts]) == proposed
