"""The demonstration: two teachers, a hundred images without a label, one student; table, figure and report."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ka_explore.benchmark.trial import DEFAULT, Candidate, Trial, percent, points, table, trial
from ka_explore.errors import InputError
from ka_explore.run.run import Run
from ka_explore.run.store import replace_file, to_json, writing

PROBLEM, OPTIONS = "mnist", {"preset": "few_images"}
# Half of the default's steps: with its two seeds the demonstration stays below three minutes of computing.
METHODS = tuple(Candidate(c.label, c.method, c.form, {} if c.method == "ensemble" else {"steps": 200}) for c in DEFAULT)


def demo(folder: Path, *, seeds: int = 2, jobs: int = 1) -> Trial:
    """Run the trial on the default problem, print what came out, and write figure and report.

    Raises InputError when the folder holds other things than an earlier demo.
    """
    say = sys.stdout.write
    if folder.exists() and not (folder.is_dir() and all(ours(path) for path in folder.iterdir())):
        raise InputError(f"{folder} holds other things than an earlier demo: choose another with --folder.")
    begun = time.process_time()
    say(
        "Two teachers were trained on digits 0-4 and 5-9, 400 images each.\n"
        "A smaller student learns all ten digits from 100 other images without any label.\n"
        f"{seeds} seeds, four methods; teachers are trained on first use and kept.\n\n"
    )
    runs = folder / f"runs-{time.strftime('%Y%m%d-%H%M%S')}"
    result = trial(
        PROBLEM, options=OPTIONS, candidates=METHODS, seeds=range(seeds), folder=runs, jobs=jobs, snapshot_every=25
    )
    say(table(result) + "\n\n")
    line = result.rows()[0]
    if line.pairs and line.gain:
        say(
            "Common feature learning makes the nets meet: for "
            f"{percent(line.pairs)} % of the images the teacher's point nearest to the student's is the same image's.\n"
            f"Its joint accuracy minus that of distillation, the answers alone: {points(line.gain)} points.\n"
            "The oracle learns from the true labels of the same images: a teacher's answer says more than a label.\n"
        )
    shown = [Run.open(path) for path in sorted(runs.glob("*-0")) if "ensemble" not in path.name]
    shown.sort(key=lambda run: run.store.about["method"] != "common_feature")
    with writing(folder):
        replace_file(folder / "demo.json", lambda file: file.write(to_json(result.to_dict() | {"runs": str(runs)})))
    write_pictures(folder, shown, result)
    say(f"\n{time.process_time() - begun:.0f} CPU seconds. What to look at, and to try next:\n")
    for suggestion in suggestions(folder, shown):
        say(f"  {suggestion}\n")
    return result


def ours(path: Path) -> bool:
    """Whether an earlier demo, finished or not, made this."""
    return path.name.startswith("runs-") or path.name in ("demo.json", "demo.png", "report.html")


def write_pictures(folder: Path, runs: Sequence[Run], result: Trial) -> None:
    """The figure and the report, where matplotlib is installed."""
    try:
        from ka_explore.report import demo_figure, write_report
    except ModuleNotFoundError as error:
        sys.stdout.write(f'No figure and no report: {error}. Install with: pip install "ka-explore[plots]"\n')
        return
    with writing(folder):
        demo_figure(runs[0], result).savefig(folder / "demo.png", dpi=110)
    write_report(runs, folder / "report.html", kind="html", progress=None)


def suggestions(folder: Path, runs: Sequence[Run]) -> list[str]:
    """Commands that lead on from here."""
    first = runs[0].folder
    return [
        f"{folder / 'demo.png'}  and  {folder / 'report.html'}",
        "source .venv/bin/activate                                        so that ka-explore is found",
        f"ka-explore fork {first} clouds --at 0 --set paired_weight=0 --set cross_weight=0",
        f"ka-explore compare {first} {first.parent / 'clouds'}",
        f"ka-explore diagnose {first}",
        "ka-explore trial mnist --seeds 3                                 noisy teachers, and 1 666 images",
        "ka-explore methods common_feature                                every option, with its source",
        "make lab                                                         notebooks",
    ]
