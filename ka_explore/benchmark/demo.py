"""The demonstration: two noisy teachers, no label, and a student that outperforms them; table, figure and report."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ka_explore.benchmark.trial import Trial, table, trial
from ka_explore.errors import InputError
from ka_explore.run.run import Run
from ka_explore.run.store import replace_file, to_json, writing

PROBLEM, OPTIONS = "mnist", {"preset": "noisy_teachers"}


def demo(folder: Path, *, seeds: int = 3, jobs: int = 1) -> Trial:
    """Run the trial on the default problem, print what came out, and write figure and report.

    Raises InputError when the folder holds other things than an earlier demo.
    """
    say = sys.stdout.write
    if folder.exists() and not (folder.is_dir() and all(ours(path) for path in folder.iterdir())):
        raise InputError(f"{folder} holds other things than an earlier demo: choose another with --folder.")
    begun = time.process_time()
    say(
        "Two teachers were trained on digits 0-4 and 5-9, 400 images each, three labels in ten wrong.\n"
        "A smaller student learns all ten digits from 1 666 other images without any label.\n"
        f"{seeds} seeds, four methods; teachers are trained on first use and kept.\n\n"
    )
    runs = folder / f"runs-{time.strftime('%Y%m%d-%H%M%S')}"
    result = trial(PROBLEM, options=OPTIONS, seeds=range(seeds), folder=runs, jobs=jobs, snapshot_every=50)
    say(table(result) + "\n\n")
    line = result.rows()[0]
    say(
        f"On its own digits each teacher has learned wrong labels; the student, which saw none, is better there by "
        f"{100 * line.above_teachers.mean:.1f} points in the mean of both ({line.above_teachers.positive} of "
        f"{line.above_teachers.count} seeds).\n"
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
        f"ka-explore fork {first} no-mmd --at 100 --set mmd_weight=0",
        f"ka-explore compare {first} {first.parent / 'no-mmd'}",
        f"ka-explore diagnose {first}",
        "ka-explore trial mnist --option preset=few_images --seeds 3      good teachers, but only 100 images",
        "ka-explore methods common_feature                                every option, with its source",
        "make lab                                                         notebooks",
    ]
