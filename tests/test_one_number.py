"""One name, one number: every place that tells a number of one run is read, and they are held against each other."""

import json
import re

import numpy as np
import pytest

from ka_explore import Run, toy
from ka_explore.benchmark.evaluate import compare
from ka_explore.cli import main
from ka_explore.diagnosis import diagnose
from ka_explore.panels.branch import Branch
from ka_explore.panels.history import History
from ka_explore.panels.pairs import pairs_in_words
from ka_explore.panels.points import Points
from ka_explore.panels.session import Session
from ka_explore.panels.tables import Tables
from ka_explore.plots import draw, draw_terms
from ka_explore.probes import PROBES
from ka_explore.probes.results import as_matrix
from ka_explore.report import write_report
from tests.panels.conftest import Screen

pytestmark = pytest.mark.xdist_group("one_number")  # one run and one report for all of them

TEACHERS = ("digits 0-4", "digits 5-9")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run that aligns a little, so that no number is another's by chance."""
    folder = tmp_path_factory.mktemp("one") / "run"
    weights = {"paired_weight": 1.0, "mmd_weight": 0.5}
    made = Run(toy.digits(), folder=folder, steps=60, snapshot_every=20, form="clouds", **weights)
    return made.advance_to_end(progress=False)


@pytest.fixture(scope="module")
def entry(run):
    """What Python says of the run, which all else must say."""
    return compare([run]).entries[0]


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> dict[str, dict[str, dict[str, str]]]:
    """The tables of a report: by the first words of the head, by row, by column."""
    file = tmp_path_factory.mktemp("page") / "page.md"
    write_report([run], file, kind="md")
    tables, head = {}, None
    for line in file.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("\\", "") for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            head = None
        elif head is None:
            head = cells
            tables[head[0]] = tables.get(head[0], {})
        elif set("".join(cells)) - set("-: "):
            tables[head[0]][cells[0]] = dict(zip(head[1:], cells[1:], strict=True))
    return tables


@pytest.fixture
def session(run):
    opened = Session([Branch(run)])
    yield opened
    opened.close()


@pytest.fixture
def said(run, capsys):
    """What a command prints of the run's folder."""

    def ask(*arguments: str) -> str:
        main([arguments[0], str(run.folder), *arguments[1:]])
        return capsys.readouterr().out

    return ask


def percents(shares) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]


def test_accuracies_and_pairs_are_those_of_compare_in_table_command_and_report(run, entry, page, said):
    shares = [*entry.joint.values(), *entry.within.values(), *entry.agreement.values(), *entry.pairs.values()]
    assert len(set(shares)) == len(shares)  # none could stand for another
    frame = compare([run]).to_pandas().loc["run"]
    groups = {"joint": entry.joint, "within": entry.within, "agreement": entry.agreement, "pairs found": entry.pairs}
    for group, values in groups.items():
        assert [f"{frame[group, name]:.1f}" for name in values] == percents(values.values())
    (told,) = json.loads(said("compare", "--json"))["runs"]
    assert [v for part in ("joint", "within", "agreement", "pairs") for v in told[part].values()] == shares
    line = said("compare").splitlines()[2]
    assert re.split(r"\s{2,}", line)[3 : 3 + len(shares)] == percents(shares)
    names = [*(f"joint ({t})" for t in entry.joint), *(f"within {t}" for t in TEACHERS)]
    names += [*(f"agrees with {t}" for t in TEACHERS), *(f"pairs found, {t}" for t in TEACHERS)]
    assert [page["run"]["run"][name] for name in names] == percents(shares)


def test_pairs_found_are_the_same_in_probe_caption_command_report_and_diagnosis(run, entry, page, said, session):
    found = PROBES["pairs_found"](run.snapshot())
    assert {t: found.values[f"{t} at 1"] for t in TEACHERS} == entry.pairs
    panel = Points(session)
    last = Screen(panel).frames()[run.step]
    for teacher, share in entry.pairs.items():
        assert f"{teacher}: {100 * share:.1f} %" in pairs_in_words(last)
    assert f"of {len(run.snapshot().index)}" in pairs_in_words(last)
    printed = {re.split(r"\s{2,}", line)[0]: line for line in said("probe", "pairs_found").splitlines()}
    (told,) = (table for head, table in page.items() if head.startswith("pairs found"))
    for name, share in found.values.items():
        assert f"{share:.4g}" in printed[name]
        assert told[name]["value"] == f"{share:.3g}"
    (aligned,) = (finding for finding in diagnose(run).judged if finding.name == "not_aligned")
    assert aligned.evidence.items() >= {f"pairs found, {t}": share for t, share in entry.pairs.items()}.items()


def test_tables_of_the_probe_set_are_the_probes_own_and_say_of_which_images(run, page, said, session):
    panel = Tables(session)
    snapshot, screen, read = run.snapshot(), Screen(panel), set()
    for name in ("mmd", "reconstruction_error", "gradient_ratio", "gradient_size", "gap"):
        probed = PROBES[name](snapshot)
        table = as_matrix(probed)
        if table is not None and name in {choice["key"] for choice in panel.choices}:
            panel.request(choose=name)
            panel.settle()
            np.testing.assert_array_equal(screen.frames()[run.step]["values"], np.float32(table.values))
            read.add(f"{name} in the panel")
        rows = {str(row[0]): row[1] for row in probed.table()[1]}
        for head in (head for head in page if head.startswith(probed.title)):
            for what, cells in page[head].items():
                if not what.startswith("by chance"):
                    assert next(iter(cells.values())) in {f"{rows.get(what, np.nan):.3g}", "–"}, (head, what)
                    read.add(f"{name} in the report")
    assert read >= {"mmd in the panel", "gap in the report"}, read
    assert f"N = {len(snapshot.index)} images of the probe set" in PROBES["mmd"](snapshot).note
    assert f"{PROBES['mmd'](snapshot).values[-1, 0]:.4g}" in said("probe", "mmd")


def test_terms_are_of_the_step_s_batch_in_history_panel_and_picture_which_say_so(run, session):
    row = run.history()[-1]
    panel = History(session)
    assert f"loss {row['loss']:.3g} after step {run.step}" in panel.summary()
    for term, value in row["terms"].items():
        assert f"{term} {value:.3g}" in panel.summary()
    weighed = sum(row["weights"][term] * value for term, value in row["terms"].items())
    assert row["loss"] == pytest.approx(weighed, rel=1e-5)  # the terms are unweighted, the weights beside them
    assert "unweighted, of each step's batch" in draw_terms(run.history()).get_ylabel()


def test_gradients_of_the_diagnosis_are_the_median_of_the_probe_s_over_the_steps(run):
    judged = diagnose(run).judged
    (finding,) = (f for f in judged if (f.threshold, f.subject) == ("dominating_gradient", "mmd"))
    (told,) = (value for name, value in finding.evidence.items() if "median over steps" in name)
    snapshots = [run.store.load_snapshot(step) for step in run.store.snapshot_steps()]
    ratios = {snapshot.step: PROBES["gradient_ratio"](snapshot).values["mmd"] for snapshot in snapshots}
    assert told == pytest.approx(np.median([*ratios.values()]))  # so short a run has no steps to leave out
    assert list(finding.result.y["mmd"]) == pytest.approx([*ratios.values()])  # and these its figure draws
    assert draw(PROBES["gradient_ratio"](run.snapshot())).get_title().endswith(f"step {run.step}")
