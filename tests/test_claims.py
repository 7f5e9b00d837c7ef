"""What the documentation claims of the methods, over eight seeds; and the table that shows it."""

import pytest

from ka_explore import METHODS, InputError, Run, compare, toy
from ka_explore.benchmark import tables
from ka_explore.benchmark.tables import METHODS_AND_BASELINES, SECTIONS, Section, section
from ka_explore.benchmark.trial import DEFAULT, Candidate, Spread, table, trial

BY_LABEL = {candidate.label: candidate for candidate in METHODS_AND_BASELINES}
A, B, PAIRED, C = (label for label in BY_LABEL if label.startswith(("A:", "B:", "B in", "C:")))
CONSISTENT = "distillation, consistent targets (ours)"
TEMPERATURES = [label for label in BY_LABEL if label.startswith("distillation, temperature")]


def over_seeds(preset: str, labels: list[str]):
    return trial(
        "mnist", options={"preset": preset}, candidates=[BY_LABEL[label] for label in labels], seeds=range(8), jobs=2
    )


@pytest.mark.slow
def test_with_noisy_teachers_students_outperform_them_and_consistent_targets_outperform_temperatures():
    result = over_seeds("noisy_teachers", [A, B, "distillation", *TEMPERATURES, CONSISTENT])
    for label in (A, B, "distillation"):
        line = result.line(label)
        assert line.above_teachers.mean >= 0.03, table(result)
        assert line.above_teachers.positive == 8, table(result)
        assert set(line.above_each) == {"digits 0-4", "digits 5-9"}
        for teacher, above in line.above_each.items():
            assert above.mean > 0, (label, teacher, table(result))
    best = max(result.line(label).joint.mean for label in ("distillation", *TEMPERATURES))
    assert result.line(CONSISTENT).joint.mean >= best + 0.05, table(result)


@pytest.mark.slow
def test_with_few_images_paired_features_outperform_soft_targets_at_any_temperature():
    result = over_seeds("few_images", [PAIRED, "distillation", *TEMPERATURES])
    paired = [e.joint["class"] for e in result.entries[PAIRED].values()]
    for label, least in (("distillation", 0.05), *((label, 0.02) for label in TEMPERATURES)):
        plain = [e.joint["class"] for e in result.entries[label].values()]
        gain = Spread.of([a - b for a, b in zip(paired, plain, strict=True)])
        assert gain.mean >= least, table(result)


@pytest.mark.slow
def test_on_a_shared_task_the_adaptive_student_outperforms_its_teachers_and_their_mean():
    mean = "ensemble, mean of logits"
    result = trial("shared_digits", candidates=[BY_LABEL[C], BY_LABEL[mean]], seeds=range(2), jobs=2)
    adaptive, logits = result.line(C), result.line(mean)
    assert adaptive.joint.mean > logits.joint.mean, table(result)
    assert all(above.smallest > 0 for above in adaptive.above_each.values()), table(result)


def test_the_page_has_every_method_and_says_what_does_not_apply(monkeypatch):
    short = [Candidate(f"short {c.label}", c.method, c.form, {"steps": 8, "batch_size": 8}) for c in DEFAULT[:2]]
    merging = Candidate("merging", "permutation_merging")
    monkeypatch.setattr(tables, "METHODS_AND_BASELINES", (*short, merging))
    monkeypatch.setitem(SECTIONS, "tiny", Section("tiny", "digits", {"unlabelled": 40}))
    page = section("tiny", seeds=(0, 1))
    assert page.startswith("## tiny\n\n| method")
    assert "within digits 5-9" in page
    assert all(candidate.label in page for candidate in short)
    assert "- merging: permutation_merging takes" in page
    with pytest.raises(InputError, match="unknown table 'huge'"):
        section("huge", seeds=(0,))


def test_the_table_has_every_method():
    assert {c.method for c in METHODS_AND_BASELINES} == set(METHODS)


@pytest.mark.slow
def test_several_tasks_have_a_column_each():
    result = trial(
        "sprites", tasks=("shape", "colour"), options={"unlabelled": 40},
        candidates=[Candidate("short", "distillation", None, {"steps": 2})], seeds=(0,),
    )  # fmt: skip
    text = table(result, each=True)
    assert "joint shape" in text
    assert "joint size" not in text


@pytest.mark.slow
def test_differences_are_paired_by_seed():
    result = trial("digits", candidates=DEFAULT, seeds=(3, 1), jobs=1, progress=False)
    for candidate in DEFAULT:
        line = result.line(candidate.label)
        joint = [result.entries[candidate.label][seed].joint["class"] for seed in (3, 1)]
        plain = [result.entries["distillation"][seed].joint["class"] for seed in (3, 1)]
        assert line.joint.mean == pytest.approx(sum(joint) / 2)
        if line.gain is not None:
            gains = [a - b for a, b in zip(joint, plain, strict=True)]
            assert line.gain == Spread.of(gains)
            assert line.gain.smallest == min(gains)
        assert line.uses_labels == (candidate.method == "oracle")
    assert "oracle (true labels)" in table(result)


def test_a_comparison_is_a_table_too():
    problem = toy.digits(unlabelled=80)
    runs = [Run(problem, "distillation", steps=4).advance(None), Run(problem, "ensemble")]
    comparison = compare(runs)
    table_ = comparison.to_pandas()
    assert list(table_.index[:2]) == ["distillation", "ensemble"]
    assert table_.loc["distillation", ("joint", "class")] == pytest.approx(
        100 * comparison.entries[0].joint["class"], abs=0.05
    )
    assert table_.loc["ensemble", ("joint", "class")] == table_.loc["teachers side by side", ("joint", "class")]
    assert table_.loc["ensemble", ("agreement", "digits 0-4")] == 100
