"""What the documentation claims of the methods is what ``make claims`` found; and how it and its tables are made."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean as mean

import nbformat
import numpy as np
import pytest

from ka_explore import METHODS, InputError, Run, compare, toy
from ka_explore.benchmark import claims, tables
from ka_explore.benchmark import trial as trials
from ka_explore.benchmark.rows import MARKED, plain, quoted
from ka_explore.benchmark.tables import (
    EQUAL,
    LONGER,
    METHODS_AND_BASELINES,
    PUBLISHED,
    SECTIONS,
    Section,
    section,
)  # fmt: skip
from ka_explore.benchmark.trial import DEFAULT, Candidate, Spread, Trial, table, trial

ROOT = Path(__file__).parents[1]
A, B, PAIRED, C = "A: common feature learning", "B: layer-wise, in stages", "B in one stage, paired", "C: adaptive"
CONSISTENT = "distillation, consistent targets (ours)"
MERGING = "permutation merging"
CLOUDS, OLD = "A, the published terms at a tenth", "find {}, {} and {} % of pairs"


@pytest.fixture(scope="session")
def found() -> dict[str, Trial]:
    """What ``make claims`` found, by section."""
    return claims.read(ROOT / claims.FILE)


def joint(result: Trial, label: str) -> list[float]:
    """Joint accuracy by seed."""
    return [sum(e.joint.values()) / len(e.joint) for e in result.entries[label].values()]


def gain(result: Trial, label: str, other: str) -> Spread:
    """How much higher the joint accuracy is than another's, paired."""
    return Spread.of([a - b for a, b in zip(joint(result, label), joint(result, other), strict=True)])


def distillations(result: Trial) -> list[str]:
    """Distillation at every temperature there is."""
    return [label for label in result.entries if label == "distillation" or label.startswith("distillation, temp")]


# What the file says


def test_every_method_of_a_section_is_in_the_file(found):
    assert set(found) == set(SECTIONS)
    for name, result in found.items():
        part = SECTIONS[name]
        assert result.seeds == tuple(range(part.seeds))
        assert {*result.entries, *result.refused} == {c.label for c in part.candidates}
        assert (result.problem, result.options) == (part.problem, dict(part.options))
        kept = json.loads((ROOT / "docs" / "claims.json").read_text())["sections"][name]["candidates"]
        assert kept == plain(
            {c.label: {"method": c.method, "form": c.form, "options": c.options} for c in part.candidates}
        )


def test_readme_and_docs_have_the_tables_of_the_file(found):
    tables_, quotes = claims.blocks(found), set()
    for page in claims.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert quoted(text, "claims", tables_) == text, f"{page} differs from docs/claims.json: make claims"
        quotes |= {name for _, kind, name, _ in MARKED.findall(text) if kind == "claims"}
    assert quotes >= set(tables_)


def test_readme_and_docs_say_what_the_file_says(found):
    readme, docs = (" ".join((ROOT / page).read_text(encoding="utf-8").split()) for page in claims.PAGES)
    noisy, few, plenty, shared, sprites = (
        found[n] for n in ("noisy_teachers", "few_images", "plenty", "shared_digits", "sprites")
    )

    def points(spread: Spread) -> str:
        sign = "−" if spread.mean < 0 else "+"
        return f"{sign}{abs(100 * spread.mean):.1f} ± {100 * spread.deviation:.1f}"

    def loss(result: Trial, label: str, other: str = "distillation") -> Spread:
        return gain(result, other, label)

    differences = [points(gain(result, A, "distillation")) for result in (noisy, few, plenty)]
    equal, published = (points(loss(noisy, c.label))[1:] for c in (EQUAL, PUBLISHED))
    assert "{} points on noisy_teachers, {} on few_images, {} on plenty".format(*differences) in readme
    for label, words in (
        (A, "{} % of pairs found on noisy_teachers, {} % on few_images, {} % on plenty"),
        (CLOUDS, OLD),
    ):
        shares = [100 * result.line(label).pairs.mean for result in (noisy, few, plenty)]
        assert words.format(*(f"{share:.0f}" for share in shares)) in readme
    cost = points(loss(shared, A))[1:]
    assert f"It costs {cost} on `shared_digits`" in readme
    assert f"{cost} points on shared_digits, where the student is short" in docs
    assert f"At equal weights they lose {equal} points; at the published code's" in readme
    assert f"a student from scratch loses {published}." in readme

    notebook = nbformat.read(ROOT / "notebooks" / "00_five_minutes.ipynb", as_version=4)
    told = " ".join(" ".join(cell.source for cell in notebook.cells).split())
    below, above = (gain(result, A, "distillation") for result in (noisy, few))
    assert f"over eight seeds common feature learning is {points(below)[1:]} points *below* distillation" in told
    assert f"{points(above)[1:]} *above* (README" in told

    def from_best(result: Trial) -> float:
        return 100 * (mean(joint(result, CONSISTENT)) - max(mean(joint(result, d)) for d in distillations(result)))

    def short(value: float) -> str:
        return f"{abs(value):.1f}"

    assert f"stands {short(from_best(noisy))} points above distillation at its best temperature on noisy" in docs
    assert (
        f", {short(from_best(few))} below it on few_images ({points(loss(few, CONSISTENT))[1:]} below the same" in docs
    )
    assert (
        f", {short(from_best(plenty))} below it on plenty ({points(gain(plenty, CONSISTENT, 'distillation'))[1:]}"
        in docs
    )
    costs = [short(100 * loss(result, CONSISTENT).mean) for result in (shared, sprites)]
    assert "and cost {} and {} points".format(*costs) in docs
    above, below = gain(shared, C, LONGER.label).mean, loss(sprites, C, LONGER.label).mean
    assert f"{short(100 * above)} points above on shared_digits, {short(100 * below)} below on sprites" in docs


def test_with_noisy_teachers_students_outperform_them_and_consistent_targets_outperform_temperatures(found):
    result = found["noisy_teachers"]
    for label in (A, B, "distillation"):
        line = result.line(label)
        assert line.above_teachers.mean >= 0.03, table(result)
        assert line.above_teachers.positive == 8, table(result)
        assert set(line.above_each) == {"digits 0-4", "digits 5-9"}
        for teacher, above in line.above_each.items():
            assert above.mean > 0, (label, teacher, table(result))
    best = max(result.line(label).joint.mean for label in distillations(result))
    assert result.line(CONSISTENT).joint.mean >= best + 0.05, table(result)


def test_with_few_images_paired_features_outperform_soft_targets_at_any_temperature(found):
    result = found["few_images"]
    for label in distillations(result):
        least = 0.05 if label == "distillation" else 0.02
        assert gain(result, PAIRED, label).mean >= least, table(result)


def test_on_a_shared_task_the_adaptive_student_outperforms_its_teachers_and_their_mean(found):
    result = found["shared_digits"]
    adaptive, logits = result.line(C), result.line("ensemble, mean of logits")
    assert adaptive.joint.mean > logits.joint.mean, table(result)
    assert all(above.smallest > 0 for above in adaptive.above_each.values()), table(result)


def test_a_seed_that_is_run_again_lies_within_the_spread_of_the_file(found):
    part, known = SECTIONS["four_teachers"], found["four_teachers"]
    chosen = [c for c in part.candidates if c.label in ("distillation", CONSISTENT, MERGING)]
    again = trial(part.problem, options=part.options, candidates=chosen, seeds=(0,))
    for candidate in chosen:
        one, spread = again.line(candidate.label), known.line(candidate.label)
        for new, old in ((one.joint, spread.joint), (one.within, spread.within)):
            assert abs(new.mean - old.mean) <= 2 * old.deviation, (candidate.label, new, old)  # its own seed always is


# How it is made


def test_claims_go_on_where_they_were_killed_and_fill_the_pages(tmp_path, monkeypatch):
    short = [Candidate(f"short {c.label}", c.method, c.form, {"steps": 4, "batch_size": 8}) for c in DEFAULT[:2]]
    monkeypatch.setattr(tables, "METHODS_AND_BASELINES", (*short, Candidate("merging", "permutation_merging")))
    monkeypatch.setattr(claims, "SHORT", {"tiny": (short[0].label,)})
    monkeypatch.setitem(SECTIONS, "tiny", Section("tiny", "digits", {"unlabelled": 40}, seeds=3))
    run, ran = trials.row, []

    def row(**asked):
        ran.append(asked["seed"])
        if len(ran) == 6:
            raise KeyboardInterrupt
        return run(**asked)

    monkeypatch.setattr(trials, "row", row)
    with pytest.raises(KeyboardInterrupt):
        claims.claims(tmp_path, sections=["tiny"], seeds=2)
    result = claims.claims(tmp_path, sections=["tiny"], seeds=2)["tiny"]
    assert ran == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    straight = trial(
        "digits", options={"unlabelled": 40}, candidates=tables.METHODS_AND_BASELINES, seeds=(0, 1), skip_refused=True
    )
    assert joint(result, short[0].label) == joint(straight, short[0].label)
    assert (result.references, result.refused) == (straight.references, straight.refused)
    claims.write({"tiny": result}, tmp_path / "claims.json")
    kept = claims.read(tmp_path / "claims.json")
    whole = claims.blocks(kept)
    assert "- merging: permutation_merging takes" in whole["tiny"]
    page = "Before\n<!-- claims: tiny -->\nold\n<!-- end -->\nand\n<!-- claims: tiny_short -->\n\n<!-- end -->\nafter\n"
    assert quoted(page, "other", whole) == page
    filled = quoted(page, "claims", whole)
    assert whole["tiny"] in filled
    assert whole["tiny_short"] in filled
    assert filled.endswith("<!-- end -->\nafter\n")
    assert quoted(filled, "claims", whole) == filled


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


def test_differences_are_paired_by_seed():
    short = [replace(c, options={} if c.method == "ensemble" else {"steps": 20}) for c in DEFAULT]
    result = trial("digits", candidates=short, seeds=(3, 1), jobs=1, progress=False)
    for candidate in short:
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


def test_a_table_has_pairs_found_where_a_method_has_a_common_space_and_every_seed_was_asked():
    short = [replace(c, options={"steps": 4, "batch_size": 8}) for c in DEFAULT[:2]]
    result = trial("digits", options={"unlabelled": 80}, candidates=short, seeds=(0, 1), progress=False)
    label, other = (candidate.label for candidate in short)
    shares = [mean(entry.pairs.values()) for entry in result.entries[label].values()]
    assert result.line(label).pairs == Spread.of(shares)
    assert result.line(other).pairs is None
    head, _, mine, *rest = (line.split(" | ") for line in table(result).splitlines())
    column = [cell.strip() for cell in head].index("pairs found (by chance 1.2)")  # 1 of 80 images
    assert mine[column].strip() == f"{100 * mean(shares):.1f} ± {100 * Spread.of(shares).deviation:.1f}"
    assert {line[column].strip() for line in rest} == {"–"}
    kept = plain(result.to_dict())
    assert table(Trial.from_dict(kept)) == table(result)
    for name in ("pairs", "pairs_by_chance"):  # a row that was kept before there was this number
        del kept["entries"][label]["1"][name]
    assert Trial.from_dict(kept).line(label).pairs is None
    assert "pairs found" not in table(Trial.from_dict(kept))


def test_a_comparison_is_a_table_too():
    problem = toy.digits(unlabelled=80)
    runs = [Run(problem, "distillation", steps=4).advance(None), Run(problem, "ensemble")]
    assert "pairs found" not in compare(runs).to_pandas()
    comparison = compare([*runs, Run(problem, steps=4).advance(None)])
    table_ = comparison.to_pandas()
    assert np.isnan(table_.loc["ensemble", ("pairs found", "digits 0-4")])
    share = comparison.entries[2].pairs["digits 0-4"]
    assert table_.loc["common_feature", ("pairs found", "digits 0-4")] == pytest.approx(100 * share, abs=0.051)
    by_chance = table_.loc["pairs by chance, of the probe set's 80 images"]
    assert by_chance["pairs found"].tolist() == [1.2, 1.2]
    assert list(table_.index[:2]) == ["distillation", "ensemble"]
    assert table_.loc["distillation", ("joint", "class")] == pytest.approx(
        100 * comparison.entries[0].joint["class"], abs=0.05
    )
    assert table_.loc["ensemble", ("joint", "class")] == table_.loc["teachers side by side", ("joint", "class")]
    assert table_.loc["ensemble", ("agreement", "digits 0-4")] == 100
