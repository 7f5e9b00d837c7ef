"""The demonstration leaves alone what it did not make, and goes on over what it left unfinished."""

import pytest

from ka_explore import InputError, Run
from ka_explore.benchmark import demo as demonstration
from ka_explore.benchmark.trial import DEFAULT, Candidate, trial
from ka_explore.probes.alignment import pairs_found
from ka_explore.report import demo_figure


@pytest.fixture
def short(monkeypatch):
    """The demonstration on the smallest problem."""
    monkeypatch.setattr(demonstration, "PROBLEM", "digits")
    monkeypatch.setattr(demonstration, "OPTIONS", {"unlabelled": 80})

    def few_steps(problem, **options):
        assert options["folder"] is not None
        assert options.pop("candidates") == demonstration.METHODS
        candidates = [type(c)(c.label, c.method, None, {} if c.method == "ensemble" else {"steps": 8}) for c in DEFAULT]
        return trial(problem, candidates=candidates, **options)

    monkeypatch.setattr(demonstration, "trial", few_steps)


@pytest.mark.slow
def test_table_figure_report_and_what_to_try_next(short, tmp_path, capsys):
    (tmp_path / "demo/runs-left-by-an-interrupted-one").mkdir(parents=True)
    result = demonstration.demo(tmp_path / "demo", seeds=2)
    out = capsys.readouterr().out
    assert "oracle (true labels)" in out
    assert "ka-explore fork" in out
    assert result.seeds == (0, 1)
    assert (tmp_path / "demo/demo.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "demo/report.html").read_text()
    assert "<h1>" in page
    assert "--folder &#39;runs/common feature learning&#39; --seed 0" in page  # a command that can be pasted
    assert (tmp_path / "demo/demo.json").exists()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="other things"):
        demonstration.demo(tmp_path)


def test_every_term_lies_within_its_picture(tmp_path):
    short = [Candidate(c.label, c.method, c.form, {"steps": 6, "batch_size": 8}) for c in DEFAULT[:2]]
    result = trial("digits", candidates=short, seeds=(0,), folder=tmp_path, snapshot_every=3)
    figure = demo_figure(Run.open(tmp_path / "common-feature-learning-0"), result)
    (terms,) = (ax for ax in figure.axes if ax.get_title() == "terms of the loss")
    low, high = terms.get_ylim()
    drawn = [line for line in terms.lines if len(line.get_ydata()) > 2]
    assert len(drawn) == 5
    assert all(low <= value <= high for line in drawn for value in line.get_ydata() if value == value)


def test_the_picture_has_the_share_of_pairs_before_and_after(tmp_path):
    short = [Candidate(c.label, c.method, c.form, {"steps": 6, "batch_size": 8}) for c in DEFAULT[:2]]
    result = trial("digits", candidates=short, seeds=(0,), folder=tmp_path, snapshot_every=3)
    run = Run.open(tmp_path / "common-feature-learning-0")
    figure = demo_figure(run, result)
    for ax, step in zip(figure.axes, (0, 6), strict=False):
        found = pairs_found(run.store.load_snapshot(step), neighbours=(1,)).values
        assert ax.get_title() == f"common space: {50 * sum(found.values()):.0f} % of pairs found, step {step}"
    (pairs,) = (ax for ax in figure.axes if ax.get_title() == "pairs found")
    assert [line.get_xydata()[-1, 1] for line in pairs.lines[:2]] == pytest.approx([100 * v for v in found.values()])
