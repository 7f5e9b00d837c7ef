"""The published regime as an experiment: how it is made, and that docs say what ``make regime`` found."""

import json
from pathlib import Path

import numpy as np
import pytest

from ka_explore.benchmark import regime
from ka_explore.benchmark.rows import MARKED, plain, quoted
from ka_explore.benchmark.trial import Candidate
from ka_explore.toy import teaching

ROOT = Path(__file__).parents[1]
TINY = {"size": 32, "unlabelled": 20, "labelled": 10}
SHORT = [
    Candidate(c.label, c.method, c.form, c.options | {"batch_size": 4})
    for c in regime.CANDIDATES
    if c.label in ("distillation", *regime.PICTURED)
]


@pytest.fixture
def tiny(imagenet_drawn_anew, few_clothes, tmp_path, monkeypatch):
    """The experiment on nets that learn nothing, of two steps; its rows are kept."""
    monkeypatch.setattr(teaching, "train", lambda net, *_, **__: net.eval())
    return lambda: regime.regime(tmp_path / "rows", seeds=1, steps=(1, 2), candidates=SHORT, options=TINY)


@pytest.mark.slow
def test_it_goes_on_where_it_was_killed_and_fills_file_picture_and_page(tiny, tmp_path, monkeypatch):
    run, ran = regime.row, []

    def row(**asked):
        ran.append(asked["candidate"] and asked["candidate"]["label"])
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run(**asked)

    monkeypatch.setattr(regime, "row", row)
    with pytest.raises(KeyboardInterrupt):
        tiny()
    found = tiny()
    first, second, third = (c.label for c in SHORT)
    assert ran == [None, first, second, second, third]
    rows = regime.by_candidate(found)
    assert set(rows[first][0]["pairs"]) == {"feature"}
    assert set(rows[second][0]["pairs"]) == {"feature", "common"}
    assert all(0 <= share <= 1 for row in rows[third] for share in row["joint"].values())

    file, drawing, page = (tmp_path / f"regime.{ending}" for ending in ("json", "png", "md"))
    page.write_text("Before\n<!-- regime: section -->\n<!-- end -->\nafter\n")
    regime.write(found, file=file, drawing=drawing, page=page)
    text = page.read_text()
    assert regime.section(found) in text
    assert "joint accuracy, step 1 " in text
    assert "of 20 images" in text
    assert text.endswith("<!-- end -->\nafter\n")
    assert drawing.stat().st_size > 10_000
    again = regime.read(file)
    assert quoted(text, "regime", regime.blocks(again)) == text
    shown = regime.picture(again)
    assert [points.title.partition(":")[0] for points in shown] == [second, second, third, third]
    for points in shown:
        assert " % of pairs found; t-SNE, perplexity 30" in points.note
        assert points.groups == ("student", "tops", "other clothes")
        assert len(points.xy) == 60
        assert np.array_equal(points.sample, np.tile(np.arange(20), 3))


def test_gains_are_paired_by_seed():
    def row(label, seed, joint):
        candidate = {"label": label}
        return {"candidate": candidate, "seed": seed, "joint": dict(zip(("1", "2"), joint, strict=True)), "pairs": {}}

    shares = {"ensemble": {"class": 0.5}, "routed": {"class": 0.75}}
    found = {"t0": {"candidate": None, **shares}, "t1": {"candidate": None, **shares}}
    found |= {f"d{seed}": row("distillation", seed, (0.5 + 0.2 * seed, 0.6)) for seed in (0, 1)}
    found |= {f"a{seed}": row("A", seed, (0.51 + 0.2 * seed, 0.6 + 0.1 * seed)) for seed in (0, 1)}
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in regime.table(found).splitlines()]
    assert cells[2] == ["distillation", "60.0 ± 14.1", "–", "60.0 ± 0.0", "–", "–", "–"]
    assert cells[3][1:5] == ["61.0 ± 14.1", "+1.0 ± 0.0 (2 of 2)", "65.0 ± 7.1", "+5.0 ± 7.1 (1 of 2)"]
    assert cells[4] == ["teachers side by side", "–", "–", "50.0 ± 0.0", "–", "–", "–"]


def test_docs_say_what_make_regime_found_and_nothing_before():
    found, page = regime.read(ROOT / regime.FILE), (ROOT / regime.PAGE).read_text(encoding="utf-8")
    (section,) = [block for block in MARKED.finditer(page) if block[2] == "regime"]
    assert (ROOT / regime.PICTURE).exists() == bool(found)
    if not found:
        assert section[0] == "<!-- regime: section -->\n<!-- end -->"
        return
    assert quoted(page, "regime", regime.blocks(found)) == page, "docs/methods.md differs from the file: make regime"
    rows = regime.by_candidate(found)
    assert list(rows) == [candidate.label for candidate in regime.CANDIDATES]
    for candidate in regime.CANDIDATES:
        asked = [(row["seed"], row["steps"], row["candidate"]["options"]) for row in rows[candidate.label]]
        assert asked == [(seed, list(regime.STEPS), plain(candidate.options)) for seed in range(regime.SEEDS)]
    about = json.loads((ROOT / regime.FILE).read_text(encoding="utf-8"))["about"]
    assert about["command"] == "make regime"
