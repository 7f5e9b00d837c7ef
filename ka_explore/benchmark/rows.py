"""Experiments of many rows: each is kept as it comes, so that a kill loses the rows at hand and nothing else.

And how a page quotes what they found: between two marks that Markdown does not show.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ka_explore.problem.progress import progress_bar
from ka_explore.run.environment import environment

MARKED = re.compile(r"(<!-- (\w+): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def kept_rows(
    folder: Path | None,
    asked: Mapping[str, Mapping[str, Any]],
    work: Callable[..., Any],
    *,
    jobs: int = 1,
    title: str = "rows",
    progress: bool | None = None,
) -> dict[str, Any]:
    """By name: what ``work`` answers to what is asked, its keywords; both are JSON, if answers are kept.

    An answer is kept in the folder as ``<name>.json`` and not computed again, if it was asked the same in the same
    environment; of a changed program it knows nothing: remove the folder.
    """
    around = environment(torch.device("cpu"))
    answers = {}
    for name, keywords in asked.items():
        file = folder and folder / f"{name}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
        if found and found["asked"] == plain(keywords) and found["environment"] == around:
            answers[name] = found["answer"]
    missing = {name: keywords for name, keywords in asked.items() if name not in answers}
    with progress_bar(len(asked), title, unit="run", show=progress) as bar:
        bar.update(len(answers))
        for name, answer in computed(missing, work, jobs):
            answers[name] = answer
            if folder is not None:
                answers[name] = plain(answer)  # as it will be read
                file = folder / f"{name}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                part = file.with_suffix(".part")
                part.write_text(json.dumps({"asked": asked[name], "environment": around, "answer": answer}))
                os.replace(part, file)
            bar.update(1)
    return {name: answers[name] for name in asked}


def computed(asked: Mapping[str, Mapping[str, Any]], work: Callable[..., Any], jobs: int) -> Iterator[tuple[str, Any]]:
    """Names and answers as they come, from so many processes."""
    if jobs == 1 or len(asked) < 2:
        yield from ((name, work(**keywords)) for name, keywords in asked.items())
    else:
        from joblib import Parallel, delayed

        def one(name: str, keywords: Mapping[str, Any]) -> tuple[str, Any]:
            return name, work(**keywords)

        workers = Parallel(n_jobs=min(jobs, len(asked)), return_as="generator_unordered", batch_size=1)
        yield from workers(delayed(one)(name, keywords) for name, keywords in asked.items())


def plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return json.loads(json.dumps(value))


def write_json(value: Any, file: Path, *, levels: int) -> None:
    """Write JSON that can be read and compared: so many levels of dicts a line an item, below them one line."""

    def text(value: Any, level: int) -> str:
        if level == levels or not isinstance(value, dict) or not value:
            return json.dumps(value)
        inner = ",\n".join(f"{'  ' * (level + 1)}{json.dumps(str(k))}: {text(v, level + 1)}" for k, v in value.items())
        return f"{{\n{inner}\n{'  ' * level}}}"

    file.write_text(text(value, 0) + "\n", encoding="utf-8")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        return " | ".join([f"| {first.ljust(widths[0])}", *map(str.rjust, rest, widths[1:])]) + " |"

    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join(map(line, [head, rule, *rows]))


def quoted(page: str, kind: str, blocks: Mapping[str, str]) -> str:
    """The page with each of its blocks ``<!-- kind: name -->`` … ``<!-- end -->`` written anew, where there is one."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{blocks[found[3]]}\n{found[4]}" if found[2] == kind and found[3] in blocks else found[0]

    return MARKED.sub(block, page)
