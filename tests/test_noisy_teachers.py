"""The claim of the default problem, over eight seeds: within its own classes each noisy teacher is outperformed."""

import pytest

from ka_explore import Run, compare, toy
from ka_explore.trial import DEFAULT, Spread, table, trial

COMMON_FEATURE = next(candidate for candidate in DEFAULT if candidate.method == "common_feature")


@pytest.mark.slow
def test_the_student_outperforms_its_teachers():
    result = trial("mnist", options={"preset": "noisy_teachers"}, candidates=[COMMON_FEATURE], seeds=range(8), jobs=2)
    line = result.line(COMMON_FEATURE.label)
    assert line.above_teachers.mean >= 0.03, table(result)
    assert line.above_teachers.positive == 8, table(result)
    assert set(line.above_each) == {"digits 0-4", "digits 5-9"}
    for teacher, above in line.above_each.items():
        assert above.mean > 0, (teacher, table(result))


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
    table_ = comparison.frame()
    assert list(table_.index[:2]) == ["distillation", "ensemble"]
    assert table_.loc["distillation", ("joint", "class")] == pytest.approx(
        100 * comparison.entries[0].joint["class"], abs=0.05
    )
    assert table_.loc["ensemble", ("joint", "class")] == table_.loc["teachers side by side", ("joint", "class")]
    assert table_.loc["ensemble", ("agreement", "digits 0-4")] == 100
