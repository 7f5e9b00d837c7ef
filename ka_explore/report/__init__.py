"""Runs written up: one self-contained page with everything there is to see, or Markdown with its figures beside it.

`facts` says what stands in tables, `chapters` what is told of a run, `space` draws the embeddings, `images` the worst
samples, `page` and the templates say what it all looks like.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ka_explore.errors import InputError, brief, check_known
from ka_explore.problem.progress import progress_bar
from ka_explore.report.chapters import SECTIONS, chapter_of
from ka_explore.report.compared import comparison_section
from ka_explore.report.demonstration import demo_figure
from ka_explore.report.facts import accuracy_section, again_section, problem_section, runs_section
from ka_explore.report.page import file_name, html_page, markdown_page, pictures_of
from ka_explore.report.parts import Chapter
from ka_explore.report.run_report import RunReport, names_of
from ka_explore.report.stored import StoredRun
from ka_explore.run.files import path_of
from ka_explore.run.store import Store, replace_file, writing

if TYPE_CHECKING:
    from ka_explore.run.run import Run

__all__ = ["demo_figure", "write_report"]


def write_report(
    runs: "Sequence[Run | Store]",
    output: str | Path,
    *,
    kind: Literal["html", "md"] = "html",
    embedding: Literal["pca", "tsne", "umap"] = "pca",
    progress: bool | None = False,
) -> Path:
    """Write a report of runs of one problem.

    Args:
        runs: at least one, each told of as it is at its cursor; of a `Store` what is stored is told, without torch.
        output: the file; Markdown puts its figures in a folder beside it.
        kind: ``html`` is one file that needs no network; ``md`` is Markdown.
        embedding: how features are drawn besides PCA, which is always there; t-SNE and UMAP take seconds to minutes.
        progress: whether a bar is shown; None shows it in a notebook and on a terminal.

    The axes of a run's pictures, and what the diagnosis finds of its teachers, are kept in the run's folder, where it
    can be written.

    Raises InputError for no run, runs of different problems or an unknown word, StoreError when the file cannot be
    written.
    """
    if not isinstance(runs, Sequence) or not all(isinstance(run, Store) or hasattr(run, "store") for run in runs):
        raise InputError(f"expected a list of runs, write_report([run], …), got {brief(runs)}.")
    if not runs:
        raise InputError("nothing to report: give at least one run.")
    check_known("format", kind, ("html", "md"))
    check_known("embedding", embedding, ("pca", "tsne", "umap"))
    told = [StoredRun(run) if isinstance(run, Store) else run for run in runs]
    first_run = told[0]
    for run in told[1:]:
        if run.store.about["fingerprints"] != first_run.store.about["fingerprints"]:
            two = f"runs {first_run.name!r} and {run.name!r}"
            raise InputError(f"{two} are of different problems: write a report of each.")
    output = path_of(output)
    with writing(output.parent):  # before the work, as it takes no time
        output.parent.mkdir(parents=True, exist_ok=True)
    names = names_of(told)
    with progress_bar(len(told) * len(SECTIONS) + 1, "report", unit="section", show=progress) as bar:
        first = [problem_section(first_run), runs_section(told, names), accuracy_section(told, names)]
        bar.update()
        reports = [RunReport(run, name, embedding, told) for run, name in zip(told, names, strict=True)]
        if len(told) > 1:
            first.append(comparison_section(reports))
        parts = [chapter_of(run_report, bar, titled=len(told) > 1) for run_report in reports]
    chapters = [Chapter("", first), *parts, Chapter("", [again_section(told, names, output)])]
    page = " · ".join(names), lead_of(told), chapters
    text = html_page(*page) if kind == "html" else markdown_page(*page, write_figures(chapters, output))
    with writing(output.parent):
        replace_file(output, lambda file: file.write(text.encode(errors="backslashreplace")))
    return output


def lead_of(runs: "Sequence[Run | StoredRun]") -> str:
    """What the page is about, in a sentence."""
    names = [teacher["name"] for teacher in runs[0].store.about["teachers"]]
    methods = ", ".join(dict.fromkeys(str(run.store.about["method"]) for run in runs))
    count = f"{len(runs)} runs" if len(runs) > 1 else "one run"
    teachers = f"{len(names)} frozen teachers ({', '.join(names)})"
    return f"Knowledge amalgamation: {teachers}, one student, {count} of {methods}."


def write_figures(chapters: Sequence[Chapter], output: Path) -> dict[int, str]:
    """Every picture as a file in a folder beside the page; their addresses by the pictures' ``id``."""
    beside = file_name(output.with_suffix("").name) + "-figures"
    addresses: dict[int, str] = {}
    with writing(output.parent):
        (output.parent / beside).mkdir(exist_ok=True)
        for number, picture in enumerate(pictures_of(chapters), start=1):
            addresses[id(picture)] = f"{beside}/{number:02d}-{file_name(picture.name)}.{picture.kind}"
            (output.parent / addresses[id(picture)]).write_bytes(picture.data)
    return addresses
