"""Every check on made-up evidence: it speaks of a bad one, keeps silent on a good one, and survives what is missing."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from ka_explore import Run
from ka_explore.diagnosis import CHECKS, THRESHOLDS, CannotCheck, Evidence, diagnose, judge
from ka_explore.diagnosis.findings import Attempt, Finding, Findings
from ka_explore.diagnosis.numbers import information, left_over
from ka_explore.errors import InputError
from ka_explore.probes import PROBES
from ka_explore.probes.logits import softmax
from ka_explore.run.snapshot import Snapshot

N = 128
OPTIONS = {
    "soft_weight": 1.0, "mmd_weight": 0.1, "reconstruction_weight": 0.1, "paired_weight": 0.0, "alpha": None,
    "learning_rate": 3e-3, "steps": 400, "student_width": 1.0, "reconstruction": "relative", "weight_decay": 1e-4,
    "bandwidths": (0.1, 1.0), "width": 8, "balance": "fixed", "targets": "own", "soft_target": "stacked",
    "optimizer": "adam",
}  # fmt: skip


def measured(**changes):
    return {
        "information": 0.6, "spread": 0.6, "confidence": 0.8, "scale": 2.0, "level": 3.0, "mismatch": 0.01,
        "first": 0.001, "right": 0.9, "own": 60, "sums": 3.0, "level_most": 5.0, "low": -4.0, **changes,
    }  # fmt: skip


def norms(*divergences, reordered=None):
    """Batch norms of which the first that is not at home has channels that come in another order."""
    off = next((place for place, far in enumerate(divergences) if far >= 0.05), None)
    return [
        {
            "name": f"norm {i}",
            "divergence": far,
            "reordered": (far if reordered is None else reordered) if i == off else None,
        }
        for i, far in enumerate(divergences)
    ]


def layer(**changes):
    return {
        "explained": 0.98, "rank": 5.0, "silent": 0.0, "variation": 0.5, "is": "feature", "channels": 16,
        "variance": 1.0, "named": True, **changes,
    }  # fmt: skip


def examined(**changes):
    return {
        "labels": 3, "feature_layer": "last", "named": ["first", "last"], "blocks": ["first", "last"],
        "parameters": 10_000, "fed": {"mean": [0.0], "std": [1.0], "low": -1.0, "high": 2.0, "shape": [1, 8, 8]},
        "training": [], "given": measured(), "own_images": 60, "noise": 0.0, "batch_dependence": 1e-7, "failed": {},
        "alternatives": {
            "standardised": measured(mismatch=0.011), "double the size": measured(mismatch=0.2, spread=0.1),
        },
        "layers": {"first": layer(explained=0.3), "last": layer()}, **changes,
    }  # fmt: skip


def healthy(teachers=2, labels=3, samples=N, shared=False):
    """A made-up run without a fault: teachers that are right on their classes, a student that learned from them."""
    generator = np.random.default_rng(0)
    count = labels if shared else teachers * labels
    y = generator.integers(0, count, samples)
    names = [f"teacher {i}" for i in range(teachers)]
    knows = {
        t: tuple(range(labels)) if shared else tuple(range(i * labels, (i + 1) * labels)) for i, t in enumerate(names)
    }
    truth = 3.0 * np.eye(count)[y] + generator.normal(0, 0.6, (samples, count))
    arrays = {"scores": truth + generator.normal(0, 0.2, truth.shape)}
    basis = generator.normal(size=(count, 16))
    for i, t in enumerate(names):
        arrays[f"logits/{t}"] = truth[:, list(knows[t])] + 0.3 * np.random.default_rng(50 + i).normal(
            size=(samples, labels)
        )
        arrays[f"feature/{t}/first"] = generator.normal(size=(samples, 8))
        arrays[f"feature/{t}/last"] = truth @ basis + generator.normal(0, 0.5, (samples, 16))
        arrays[f"common/{t}"] = np.abs(truth @ basis[:, :8]) + generator.normal(0, 0.5, (samples, 8)) ** 2
        arrays[f"error/{t}"] = np.full(samples, 0.1)
        for sigma, factor in (("0.1", 1.5), ("1", 0.4)):
            arrays[f"mmd/{t}/{sigma}"] = np.full(samples, factor * 2 / samples)
        for term, size in (("soft", 1.0), ("mmd", 0.3)):
            arrays[f"gradient/{term}/{t}"] = np.full(samples, size)
    arrays["common/student"] = arrays[f"common/{names[0]}"] + 0.1
    arrays["feature/student/last"] = truth @ basis
    arrays |= {"gradient/soft": np.ones(samples), "gradient/mmd": np.full(samples, 0.3)}
    arrays["gradient/reconstruction"] = np.zeros(samples)
    snapshot = Snapshot(
        step=400,
        stage="joint",
        index=np.arange(samples),
        labels={"class": y},
        classes=tuple(("class", str(i)) for i in range(count)),
        knows=knows,
        arrays=arrays,
    )
    start = dataclasses.replace(
        snapshot,
        step=200,
        arrays=arrays | {"feature/student/last": generator.normal(size=(samples, 16))},
    )
    rows = [
        {
            "step": i + 1,
            "stage": "joint",
            "rate": 3e-3,
            "loss": 0.7 + 1.6 * math.exp(-i / 40) + 0.1,
            "terms": {
                "soft": 0.7 + 1.6 * math.exp(-i / 40),
                "mmd": 0.4,
                "reconstruction": 0.2 + math.exp(-i / 40),
                "paired": 1.5,
            },
            "weights": {"soft": 1.0, "mmd": 0.1, "reconstruction": 0.1, "paired": 0.0},
        }
        for i in range(400)
    ]
    about = {
        "name": "made up",
        "method": "common_feature",
        "configs": [[0, dict(OPTIONS)]],
        "weighed_by": {t: f"{t}_weight" for t in ("soft", "mmd", "reconstruction", "paired")},
        "soft_terms": {"joint": "soft"},
        "teachers": [{"name": t} for t in names],
    }
    examination = {"teachers": {t: examined(labels=labels) for t in names}, "student": {"parameters": 3000}}
    return Evidence(about, rows, [start, snapshot], examination, 400)


# Ways to spoil it: by finding, a function from the healthy evidence.


def with_arrays(evidence, **changes):
    """Arrays replaced in all snapshots; ``__`` in a name is ``/``, None takes one away."""
    changes = {name.replace("__", "/").replace("_1", " 1").replace("_0", " 0"): a for name, a in changes.items()}
    snapshots = []
    for snapshot in evidence.snapshots:
        arrays = {n: a for n, a in {**snapshot.arrays, **changes}.items() if a is not None}
        snapshots.append(dataclasses.replace(snapshot, arrays=arrays))
    return dataclasses.replace(evidence, snapshots=snapshots)


def with_options(evidence, **changes):
    about = {**evidence.about, "configs": [[0, {**OPTIONS, **changes}]]}
    return dataclasses.replace(evidence, about=about | {"method": changes.pop("method", "common_feature")})


def with_teacher(evidence, **changes):
    seen = {**evidence.examination["teachers"]}
    seen["teacher 0"] = {**seen["teacher 0"], **changes}
    return dataclasses.replace(evidence, examination={**evidence.examination, "teachers": seen})


def with_rows(evidence, terms, count=400):
    rows = []
    for i in range(count):
        now = {name: make(i) for name, make in terms.items()}
        rows.append({"step": i + 1, "stage": "joint", "rate": 3e-3, "loss": sum(now.values()), "terms": now})
    return dataclasses.replace(evidence, rows=rows, steps=count)


def unlearned(evidence):
    scores = np.random.default_rng(3).normal(size=evidence.last.arrays["scores"].shape)
    return with_arrays(evidence, scores=scores)


def permuted(evidence):
    return with_arrays(evidence, logits__teacher_0=np.roll(evidence.logits("teacher 0"), 1, axis=1))


def scattered(evidence):
    """Two of three of the first teacher's images are told wrong, each label's as either of the others."""
    logits = evidence.logits("teacher 0").copy()
    for by in (1, 2):
        logits[by::3] = np.roll(logits[by::3], by, axis=1)
    return with_arrays(evidence, logits__teacher_0=logits)


def slow(i):
    return 2.3 - 1e-4 * i


BAD = {
    "wrong_preprocessing": lambda e: with_teacher(e, given=measured(mismatch=0.9)),
    "weights_not_loaded": lambda e: with_teacher(e, fresh={"head": {"how": "uniform within 0.1", "sure": True}}),
    "mixed_weights": lambda e: with_teacher(e, norms=norms(0.001, 0.002, 0.7)),
    "augment_hides": lambda e: with_teacher(e, augmented=measured(information=0.1)),
    "normalised_answers": lambda e: with_teacher(e, given=measured(sums=1e-7, low=0.0)),
    "train_mode_batch_norm": lambda e: with_teacher(e, batch_dependence=0.4),
    "random_answers": lambda e: with_teacher(e, noise=0.4, batch_dependence=0.4),
    "says_nothing": lambda e: with_teacher(e, given=measured(information=0.001, spread=0.02)),
    "wrong_layer": lambda e: with_teacher(e, layers={"first": layer(), "last": layer(**{"is": "logits"})}),
    "too_early_layer": lambda e: with_teacher(e, feature_layer="first"),
    "labels_permuted": permuted,
    "wrong_answers": scattered,
    "overconfident": lambda e: with_arrays(e, logits__teacher_0=10 * e.logits("teacher 0")),
    "underconfident": lambda e: with_arrays(e, logits__teacher_0=0.03 * e.logits("teacher 0")),
    "foreign_pool": lambda e: dataclasses.replace(
        e,
        snapshots=[
            dataclasses.replace(s, labels={"class": np.where(s.labels["class"] < 3, 4, s.labels["class"])})
            for s in e.snapshots
        ],
    ),
    "not_finite": lambda e: with_arrays(
        e,
        feature__teacher_0__last=np.where(
            np.arange(N)[:, None] == 3, np.nan, e.last.arrays["feature/teacher 0/last"]
        ),
    ),
    "collapsed": lambda e: with_arrays(
        e, **{f"common__{n}": np.outer(np.linspace(1, 2, N), np.ones(8)) for n in ("student", "teacher_0", "teacher_1")}
    ),
    "dead_channels": lambda e: with_arrays(e, feature__student__last=np.eye(1, 16) * e.last.arrays["scores"][:, :1]),
    "mmd_saturated": lambda e: with_arrays(
        e, **{f"mmd__teacher_{t}__{s}": np.full(N, 2 / N) for t in (0, 1) for s in ("0.1", "1")}
    ),
    "not_reconstructable": lambda e: with_arrays(e, error__teacher_0=np.full(N, 0.95)),
    "dominating_term": lambda e: with_arrays(e, gradient__mmd=np.full(N, 80.0)),
    "dominating_teacher": lambda e: with_arrays(e, gradient__soft__teacher_0=np.full(N, 80.0)),
    "inert_term": lambda e: with_arrays(e, gradient__mmd=np.full(N, 1e-5)),
    "rate_too_high": lambda e: with_rows(e, {"soft": lambda i: 500.0 if i == 30 else 1.0, "mmd": lambda i: 0.3}),
    "rate_too_low": lambda e: with_rows(with_options(unlearned(e), learning_rate=1e-6), {"soft": slow}),
    "stopped_early": lambda e: with_rows(unlearned(e), {"soft": lambda i: 2.3 - 0.03 * i}, 12),
    "student_too_small": lambda e: with_rows(
        dataclasses.replace(unlearned(e), examination={**e.examination, "student": {"parameters": 50}}), {"soft": slow}
    ),
    "starved_teacher": lambda e: with_options(
        with_arrays(e, logits__teacher_1=e.logits("teacher 1") + 5 * np.eye(1, 3)),
        selection="hard", selection_temperature=0.1, weighting="sample", method="adaptive",
    ),
}  # fmt: skip


def test_a_made_up_healthy_run_gets_no_finding():
    findings = judge(healthy())
    assert findings.found == ()
    assert "No warning" in str(findings)
    assert len(findings.checked) >= 15


@pytest.mark.parametrize("name", BAD)
def test_each_fault_is_named_first_or_second(name):
    findings = judge(BAD[name](healthy()))
    assert name in findings.names[:2], str(findings)
    found = findings[findings.names.index(name)]
    assert found.grade == "warning"
    assert found.why
    assert found.evidence
    assert found.attempts


def turned(**ways):
    """The same images turned over and moved: as far from home and told as the ways say, else as poorly as usual."""
    poor = measured(mismatch=0.05, information=0.3, right=0.4)
    names = ("transposed", "upside down", "moved down", "moved back into view")
    return {"as given": measured()} | dict.fromkeys(names, poor) | {k.replace("_", " "): w for k, w in ways.items()}


def test_images_turned_over_moved_or_cut_are_wrong_feeding():
    better = measured(mismatch=0.002, information=0.7)
    good = with_teacher(healthy(), turned=turned(), cut=dict.fromkeys(("top", "bottom", "left", "right"), 0.0))
    assert judge(good).found == ()
    findings = judge(with_teacher(good, turned=turned(transposed=better)))
    assert findings.names == ("wrong_preprocessing",)
    assert "transposed suits it better" in findings[0].title
    assert "images.transpose(2, 3)" in findings[0].attempts[0].code
    # as good either way, as zeros and ones upside down; or better by what is told alone, with batch norms that mind
    assert judge(with_teacher(good, turned=turned(upside_down=measured(information=0.65)))).found == ()
    assert judge(with_teacher(good, turned=turned(upside_down=measured(mismatch=0.02, information=0.9)))).found == ()
    labels = with_teacher(good, turned={**turned(moved_down=measured(right=0.9)), "as given": measured(right=0.3)})
    assert judge(labels).names[0] == "wrong_preprocessing"
    cut = {"top": 0.25, "bottom": 0.0, "left": 0.0, "right": 0.0}
    minds = judge(with_teacher(good, cut=cut, turned=turned(moved_back_into_view=better)))
    assert "25% at the top" in minds[0].title
    assert minds[0].grade == "warning"
    assert [f.grade for f in judge(with_teacher(good, cut=cut))] == ["note"]  # as it was trained, for all that is known
    assert judge(with_teacher(good, cut={**cut, "bottom": 0.25})).found == ()  # centre crops are usual


def test_values_that_are_lost_on_the_way_are_wrong_feeding_where_all_of_them_suit_better():
    good = healthy()
    fed = {**good.examination["teachers"]["teacher 0"]["fed"], "levels": 0.3}
    all_values = "all values of the pool's images"
    better = {all_values: measured(mismatch=0.004)}
    findings = judge(with_teacher(good, fed=fed, alternatives=better))
    assert [(f.name, f.grade) for f in findings] == [("wrong_preprocessing", "warning")]
    assert f"cut off or rounded; {all_values} suits it better" in findings[0].title
    # a net that was trained on such images minds all values
    assert [f.grade for f in judge(with_teacher(good, fed=fed, alternatives={all_values: measured()}))] == ["note"]
    assert judge(with_teacher(good, fed={**fed, "levels": 1.0}, alternatives=better)).found == ()


def test_a_teacher_that_says_nothing_however_it_is_fed_computes_otherwise_unless_all_do():
    mute = {"given": measured(mismatch=0.4, information=0.001, spread=0.02), "alternatives": {
        "standardised": measured(mismatch=0.35, information=0.01), "times 255": measured(mismatch=50, information=0.4),
    }}  # fmt: skip
    broken = with_teacher(healthy(), norms=norms(0.1, 0.3, 0.5), **mute)
    findings = judge(broken)
    assert findings.names[0] == "mixed_weights"
    assert "however it is fed" in findings[0].title
    assert findings[0].value == 0.35  # what is nearest to training; what is farther proves nothing, whatever it tells
    told = {**mute["alternatives"], "inverted": measured(mismatch=0.3, information=0.1)}
    assert "mixed_weights" not in judge(with_teacher(broken, alternatives=told)).names
    teachers = broken.examination["teachers"]
    both = {**broken.examination, "teachers": dict.fromkeys(teachers, teachers["teacher 0"])}
    assert "mixed_weights" not in judge(dataclasses.replace(broken, examination=both)).names  # it is the pool


def test_a_teacher_much_farther_from_training_than_the_others_is_told_by_where_it_begins():
    off = measured(mismatch=0.1, first=0.08, right=0.5)
    seen = {"alternatives": {"standardised": off}}
    findings = judge(with_teacher(healthy(), given=off, norms=norms(0.08, 0.1, 0.12), **seen))
    assert [(f.name, f.grade) for f in findings] == [("wrong_preprocessing", "warning")]
    assert findings[0].value == pytest.approx(10)
    within = judge(with_teacher(healthy(), given={**off, "first": 0.001}, norms=norms(0.001, 0.1, 0.2), **seen))
    assert [(f.name, f.grade) for f in within] == [("mixed_weights", "warning")]
    assert (
        judge(with_teacher(healthy(), given={**off, "right": 0.85}, **seen)).found == ()
    )  # from farther away, and none the worse
    assert (
        judge(with_teacher(healthy(), given={**off, "right": None}, **seen))[0].name == "wrong_preprocessing"
    )  # without labels


def test_a_better_feeding_is_proved_by_batch_norms_and_by_answers_together():
    off = measured(mismatch=0.22, information=0.3)
    nearer = {"sharpened": measured(mismatch=0.1, information=0.5)}
    assert [f.grade for f in judge(with_teacher(healthy(), given=off, alternatives=nearer))] == ["warning"]
    mute = {"sharpened": measured(mismatch=0.1, information=0.3)}
    assert [f.grade for f in judge(with_teacher(healthy(), given=off, alternatives=mute))] == ["note"]


def test_weights_are_told_from_feeding_by_where_it_begins():
    good = with_teacher(healthy(), norms=norms(0.001, 0.004, 0.12))
    assert judge(good).found == ()
    assert judge(with_teacher(good, norms=norms(0.3, 0.4, 0.5))).found == ()  # from the first on: it is the images
    assert judge(with_teacher(good, norms=norms(0.3, 0.4, 0.5, reordered=0.001))).names == ("mixed_weights",)
    assert judge(with_teacher(good, norms=norms(0.001, 0.4, 0.5))).names == ("mixed_weights",)
    resized = {"double the size": measured(mismatch=0.001, spread=1.0)}
    fed = with_teacher(good, norms=norms(0.001, 0.4), given=measured(mismatch=0.2, spread=0.3), alternatives=resized)
    assert judge(fed).names == ("wrong_preprocessing",)
    reorders = with_teacher(fed, norms=norms(0.001, 0.4, reordered=0.08))
    assert judge(reorders).names == ("wrong_preprocessing",)  # other images suit other channels
    assert judge(with_teacher(fed, norms=norms(0.001, 0.4, reordered=0.001))).names[0] == "mixed_weights"
    # a small layer may look new by chance; where something is off, it is not
    small = {"stem": {"how": "uniform within 0.333", "sure": False}}
    assert judge(with_teacher(good, fresh=small)).found == ()
    off = {"fresh": small, "norms": norms(0.3, 0.4), "given": measured(mismatch=0.35)}
    assert judge(with_teacher(good, **off)).names == ("wrong_preprocessing",)  # which another feeding mends
    findings = judge(with_teacher(good, **off, alternatives={"standardised": measured(mismatch=0.34)}))
    assert findings.names == ("weights_not_loaded", "wrong_preprocessing")
    assert findings[1].because == findings[0].title
    many = {f"layer{i}": {"how": "normal with deviation 0.02", "sure": True} for i in range(9)}
    assert "'layer0', 'layer1', 'layer2' and 6 more look" in judge(with_teacher(good, fresh=many))[0].title


def test_probabilities_of_a_student_are_a_warning_and_their_logarithms_are_not():
    good = healthy()
    rows = softmax(np.random.default_rng(0).normal(size=(N, len(good.last.classes))))
    found = judge(with_arrays(good, logits__student=rows))
    assert ("normalised_answers", "", "warning") in [(f.name, f.subject, f.grade) for f in found]
    for harmless in (np.log(rows), rows - rows[:, :1], 3 * rows, np.zeros_like(rows)):
        assert "normalised_answers" not in judge(with_arrays(good, logits__student=harmless)).names


def test_what_was_kept_of_the_teachers_and_cannot_be_judged_is_left_out_and_told(tiny_problem, tmp_path):
    run = Run(tiny_problem(), "distillation", folder=tmp_path / "run", steps=4, snapshot_every=2)
    run.advance(None, progress=False)
    whole = str(diagnose(run))
    file = run.folder / "examination.json"
    kept = json.loads(file.read_text())
    for teacher in kept["teachers"].values():
        teacher["given"] = 3
    file.write_text(json.dumps(kept))
    found = diagnose(run.folder)
    assert "diagnose the opened run" in found.skipped["the teachers"]
    assert str(diagnose(run)) == whole  # the open run examines them anew, and keeps that
    assert "the teachers" not in diagnose(run.folder).skipped


def test_a_check_that_fails_is_not_hidden(tiny_problem, monkeypatch):
    def broken(_evidence):
        raise ValueError("a fault of the check")

    monkeypatch.setitem(CHECKS, "broken", broken)
    with pytest.raises(ValueError, match="a fault of the check"):
        diagnose(Run(tiny_problem(), "distillation", steps=2).advance(1))


def test_logarithms_of_probabilities_are_a_warning_beside_logits_and_a_note_among_themselves():
    log = {"given": measured(level_most=1e-6)}
    beside = judge(with_teacher(healthy(), **log))
    assert [(f.name, f.grade) for f in beside] == [("normalised_answers", "warning")]
    assert [dict(attempt.changes) for attempt in beside[0].attempts] == [{}, {"targets": "standardised"}]
    everyone = healthy()
    seen = {name: {**found, **log} for name, found in everyone.examination["teachers"].items()}
    everyone = dataclasses.replace(everyone, examination={"teachers": seen})
    assert [(f.name, f.grade) for f in judge(everyone)] == [("normalised_answers", "note")] * 2
    assert judge(with_teacher(healthy(teachers=1), **log))[0].grade == "note"
    flat = judge(with_teacher(healthy(teachers=1), given=measured(sums=1e-6, low=0.0)))
    assert flat[0].grade == "warning"
    assert ".log()" in flat[0].attempts[0].code
    assert judge(with_teacher(healthy(), given=measured(sums=1e-6, low=-0.1))).found == ()  # they only add up to 1


def test_shared_labels_bring_two_more_checks():
    good = healthy(shared=True)
    assert judge(good).found == ()
    assert "teachers_disagree" not in judge(good).skipped
    one = good.logits("teacher 0")
    bad = with_arrays(good, logits__teacher_1=4 * np.roll(one, 1, axis=1), logits__teacher_0=4 * one)
    unlabelled = dataclasses.replace(bad, snapshots=[dataclasses.replace(s, labels=None) for s in bad.snapshots])
    assert judge(unlabelled).names[0] == "teachers_disagree"
    assert judge(bad).names[0] == "labels_permuted"  # the cause comes first where labels tell it
    same = with_arrays(good, logits__teacher_1=one)
    assert judge(same).names[0] == "same_teacher_twice"


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_survives_what_is_missing(name):
    good, check, said = healthy(), CHECKS[name], []
    for evidence in (
        Evidence(),
        dataclasses.replace(good, rows=()),
        dataclasses.replace(good, rows=good.rows[:1]),
        dataclasses.replace(good, snapshots=()),
        dataclasses.replace(good, examination=None),
        dataclasses.replace(good, steps=None),
        with_arrays(good, **{n.replace("/", "__"): None for n in good.last.arrays if not n.startswith("logits")}),
        healthy(samples=1),
        healthy(samples=2),
        healthy(teachers=5),
        healthy(teachers=1),
        with_arrays(good, **{n.replace("/", "__"): np.full_like(a, np.nan) for n, a in good.last.arrays.items()}),
        with_arrays(good, **{n.replace("/", "__"): np.zeros_like(a) for n, a in good.last.arrays.items()}),
    ):
        try:
            for finding in check(evidence):
                assert isinstance(finding, Finding)
                assert finding.score == finding.score
        except CannotCheck as reason:
            said.append(str(reason))
    assert all(len(reason) > 10 for reason in said)


def test_five_teachers_and_few_samples_are_no_fault():
    assert judge(healthy(teachers=5)).warnings == ()
    assert judge(healthy(samples=1)).warnings == ()
    assert judge(healthy(samples=4)).warnings == ()


def test_the_same_evidence_gives_the_same_findings():
    evidence = BAD["dominating_term"](healthy())
    assert judge(evidence).to_dict() == judge(evidence).to_dict()


def test_a_consequence_is_a_note_that_names_its_cause():
    evidence = with_teacher(healthy(), given=measured(mismatch=0.9, information=0.001, spread=0.01))
    evidence = with_teacher(evidence, alternatives={"standardised": measured(mismatch=0.01)})
    findings = judge(evidence)
    assert findings.names[:2] == ("wrong_preprocessing", "says_nothing")
    assert findings[1].grade == "note"
    assert findings[1].because == findings[0].title
    # another teacher that says nothing is not explained by it
    other = {**evidence.examination["teachers"]["teacher 1"], "given": measured(information=0.001, spread=0.01)}
    seen = {**evidence.examination["teachers"], "teacher 1": other}
    both = judge(dataclasses.replace(evidence, examination={"teachers": seen}))
    assert [f.subject for f in both.warnings] == ["teacher 0", "teacher 1"]


def test_thresholds_have_reasons_and_severities_grow():
    for name, threshold in THRESHOLDS.items():
        assert len(threshold.reason) > 30, name
        sides = [threshold.warning * f for f in (0.01, 0.1, 1, 10, 100)]
        grades = [threshold.severity(v) for v in sides]
        assert grades == sorted(grades, reverse=not threshold.above)
        assert threshold.severity(threshold.warning) == 0.5
        assert threshold.grade(threshold.warning) == "warning"
        assert threshold.grade(float("nan")) == "fine"
        if threshold.note is not None:
            assert threshold.grade(threshold.note) == "note"


def test_findings_read_well_everywhere_and_escape_names():
    attempt = Attempt("Weigh it less.", {"mmd_weight": 0.1, "bandwidths": (0.1, 1.0)}, at=0)
    finding = Finding("x", "<script>alert(1)</script>", "warning", 1.0, {"<b>": "<i>"}, "why", (attempt,))
    findings = Findings((finding,), {"x": "1"}, {"y": "<none>"}, "run")
    page = findings._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert (
        attempt.command("runs/a b")
        == "ka-explore fork 'runs/a b' try --at 0 --set mmd_weight=0.1 --set bandwidths=0.1,1"
    )
    assert attempt.python() == 'fork = run.fork("try", at=0, mmd_weight=0.1, bandwidths=(0.1, 1.0))\nfork.advance(None)'
    assert "WARNING" in str(findings)
    assert json.loads(json.dumps(findings.to_dict()))["findings"][0]["name"] == "x"
    frame = findings.to_pandas()
    assert list(frame["name"]) == ["x"]
    assert len(Findings(()).to_pandas()) == 0
    with pytest.raises(InputError, match="no option mends"):
        Attempt("Rebuild.", code="Teacher(…)").fork(None, "x")


def test_wrong_things_are_refused():
    with pytest.raises(InputError, match="diagnose takes"):
        diagnose(3)
    with pytest.raises(InputError, match="no run in"):
        diagnose("/nowhere/at/all")


def test_judging_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from ka_explore.diagnosis import judge, Evidence\n"
        "print(judge(Evidence()).summary)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No warning" in done.stdout


def test_numbers_against_slow_references():
    generator = np.random.default_rng(1)
    z = generator.normal(size=(50, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    mean = p.mean(axis=0)
    by_hand = -sum(v * math.log(v) for v in mean) + sum(v * math.log(v) for row in p for v in row) / 50
    assert information(z) == pytest.approx(by_hand)
    assert information(np.tile(z[:1], (9, 1))) == pytest.approx(0)
    assert left_over(z, z) == pytest.approx(0)
    assert left_over(z, np.tile(np.log(mean), (50, 1))) == pytest.approx(1)  # the mean answer: nothing learned


# What the diagnosis measures is what the probes say


def evidence_of(findings, threshold):
    return next(f.evidence for f in findings.judged if f.threshold == threshold)


def test_effective_rank_and_dead_channels_are_the_probes():
    evidence = healthy()
    findings, last = judge(evidence), evidence.last
    said = evidence_of(findings, "collapsed_rank")
    for net, rank in PROBES["effective_rank"](last).values.items():
        assert said[f"effective rank of {net}"] == rank
    ranks = [PROBES["effective_rank"](last, f"feature/{t}").values[f"{t}/last"] for t in last.teachers]
    assert said["effective rank of the teachers' features (median)"] == np.median(ranks)
    found = {f.title.partition(" of the channels of ")[2]: f for f in findings.judged if f.threshold == "dead_channels"}
    for kind, where in (("common", "common space, {}"), ("feature", "{}")):
        for name, share in PROBES["dead_channels"](last, kind).values.items():
            assert found[f"{where.format(name)} are dead: the same for every image."].value == share


def test_cka_and_gradients_are_the_probes():
    evidence = healthy()
    first, last = evidence.snapshots
    both = {f"feature/student/{s.step}": s.arrays["feature/student/last"] for s in (first, last)}
    cka = PROBES["cka"](dataclasses.replace(last, arrays=both)).values[0, 1]
    findings = judge(with_rows(unlearned(evidence), {"soft": slow}))
    assert (
        evidence_of(findings, "not_learned")["student's feature: moved since the first snapshot (1 − CKA)"] == 1 - cka
    )
    pulled = {f.subject: f.value for f in judge(evidence).judged if f.threshold == "dominating_gradient"}
    ratios = PROBES["gradient_ratio"](last).values
    assert pulled == {term: ratio for term, ratio in ratios.items() if term != "soft"}


def test_examining_a_layer_measures_as_the_probes_do():
    from ka_explore.diagnosis.examine import layer_numbers

    evidence = healthy()
    rows, logits = evidence.last.arrays["feature/teacher 0/last"].copy(), evidence.logits("teacher 0")
    rows[:, :4] = 1.0
    last = dataclasses.replace(evidence.last, arrays={"feature/teacher 0/last": rows})
    found = layer_numbers(rows, logits)
    assert found["rank"] == pytest.approx(PROBES["effective_rank"](last, "feature/teacher 0").values["teacher 0/last"])
    assert found["silent"] == PROBES["dead_channels"](last, "feature/teacher 0").values["teacher 0/last"] == 0.25


def test_what_a_method_takes_of_a_teacher_is_what_it_declares():
    spoilt = BAD["too_early_layer"](healthy())
    for taken, grade in (({}, "note"), ({"teacher 0": ["first"]}, "warning"), ({"teacher 0": ["last"]}, None)):
        examination = {**spoilt.examination, "layers_taken": taken}
        grades = {f.name: f.grade for f in judge(dataclasses.replace(spoilt, examination=examination))}
        assert grades.get("too_early_layer") == grade


def test_a_method_that_learns_from_true_labels_or_in_one_step_is_not_behind_its_teachers():
    oracle = with_rows(unlearned(healthy()), {"cross_entropy": slow})
    declared = {"soft_terms": {"joint": "cross_entropy"}, "uses_labels": True}
    oracle = dataclasses.replace(oracle, about={**oracle.about, **declared})
    merged = with_rows(unlearned(healthy()), {"soft": slow, "correlation": slow}, 1)
    for evidence in (oracle, merged):
        assert "step by step" in judge(evidence).skipped["not_learned"]
