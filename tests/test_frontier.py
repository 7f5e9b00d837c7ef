"""What alignment costs is what ``make frontier`` found: docs, tables and the picture's positions."""

from pathlib import Path
from statistics import fmean

import pytest

from ka_explore.benchmark import frontier
from ka_explore.benchmark.frontier import PROBLEMS, SETTINGS, measured, tables
from ka_explore.benchmark.rows import MARKED, quoted
from ka_explore.benchmark.trial import BASELINE, Candidate
from ka_explore.report.frontier import draw_frontier

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    return frontier.read(ROOT / frontier.FILE)


def test_the_file_has_every_setting_of_every_problem(found):
    assert list(found) == list(PROBLEMS)
    for name, result in found.items():
        assert (result.problem, dict(result.options)) == (PROBLEMS[name][0], dict(PROBLEMS[name][1]))
        assert list(result.entries) == [*(c.label for c in SETTINGS), BASELINE]
        assert result.seeds == tuple(range(frontier.SEEDS))


def test_docs_have_the_tables_of_the_file(found):
    page = (ROOT / frontier.PAGE).read_text(encoding="utf-8")
    assert {name for _, kind, name, _ in MARKED.findall(page) if kind == "frontier"} == {*PROBLEMS}
    assert quoted(page, "frontier", tables(found)) == page, "docs/methods.md differs from the file: make frontier"
    assert "](frontier.png)" in page


def test_marks_stand_where_the_numbers_say(found):
    figure = draw_frontier({name: measured(result) for name, result in found.items()})
    for ax, result in zip(figure.axes, found.values(), strict=True):
        drawn = [tuple(container.lines[0].get_xydata()[0]) for container in ax.containers]
        own, plain = ([fmean(result.entries[c][s].joint.values()) for s in result.seeds] for c in ("default", BASELINE))
        pairs = fmean(fmean(result.entries["default"][s].pairs.values()) for s in result.seeds)
        assert drawn[0] == pytest.approx((100 * pairs, 100 * (fmean(own) - fmean(plain))))
        assert len(drawn) == len(SETTINGS)
    (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == [candidate.label for candidate in SETTINGS]


def test_rows_that_are_there_are_not_run_again(tmp_path, monkeypatch):
    short = {"steps": 4, "batch_size": 8}
    monkeypatch.setattr(frontier, "PROBLEMS", {"tiny": ("digits", {"unlabelled": 40})})
    monkeypatch.setattr(frontier, "SETTINGS", (Candidate("short", "common_feature", None, short),))
    monkeypatch.setattr(frontier, "SEEDS", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    page = "<!-- frontier: tiny -->\n<!-- end -->\n"
    (tmp_path / frontier.PAGE).write_text(page, encoding="utf-8")
    frontier.main(["--folder", "rows", "--jobs", "1"])
    written = (tmp_path / frontier.PAGE).read_text(encoding="utf-8")
    assert "| short " in written
    assert (tmp_path / frontier.PICTURE).stat().st_size > 1000
    monkeypatch.setattr("ka_explore.benchmark.trial.Run", None)  # would be an error
    frontier.main(["--folder", "rows", "--jobs", "1"])
    assert (tmp_path / frontier.PAGE).read_text(encoding="utf-8") == written
