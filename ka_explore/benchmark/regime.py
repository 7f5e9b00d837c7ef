"""The published regime for real: teachers and student start from ImageNet weights and learn at the published rates.

``python -m ka_explore.benchmark.regime`` (``make regime``) runs what is missing, writes ``docs/regime.json``, and from
it the published picture and a section of ``docs/methods.md``; a test compares them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ka_explore import toy
from ka_explore.benchmark.claims import rounded
from ka_explore.benchmark.evaluate import labelled, mark, references, teacher_answers
from ka_explore.benchmark.rows import kept_rows, markdown, quoted, write_json
from ka_explore.benchmark.trial import BASELINE, Candidate, Spread, name_of, percent, points
from ka_explore.probes.alignment import pairs_found
from ka_explore.probes.embedding import published, spaces
from ka_explore.probes.results import Points
from ka_explore.run.environment import computing, environment
from ka_explore.run.run import Run

FILE, PICTURE, PAGE = Path("docs/regime.json"), Path("docs/regime.png"), Path("docs/methods.md")
SEEDS = 3
STEPS = (150, 900)  # when accuracies are marked: early, and at the end
SPACES = {"feature": "own features", "common": "common space"}
# Rates of Luo's code: five times the student's for the common space, a tenth of both from the half on.
RATES = {"learning_rate": 1e-4, "schedule": "step", "batch_size": 32}
MEETING = RATES | {"common_rate": 5.0}
CANDIDATES = (
    Candidate(BASELINE, "distillation", None, RATES),
    Candidate("A as published", "common_feature", "code", MEETING),
    Candidate("A as in KamalEngine", "common_feature", "kamal", MEETING),
    Candidate("A, the default (ours)", "common_feature", None, MEETING | {"width": 128}),
)
PICTURED = ("A as published", "A, the default (ours)")  # at the first seed

Row = dict[str, Any]


def regime(
    folder: Path | None,
    *,
    seeds: int = SEEDS,
    jobs: int = 1,
    steps: tuple[int, int] = STEPS,
    candidates: Sequence[Candidate] = CANDIDATES,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Row]:
    """By name, what was asked and found: a row a candidate and seed, and one a seed of the teachers themselves.

    Rows that the folder has are not run again. The ``steps`` are when accuracies are marked; the last ends a run. The
    ``options`` are those of `toy.pretrained`.
    """
    # The teachers' rows come first: they train the teachers, whom all others find kept.
    every = [(None, seed) for seed in range(seeds)] + [(c, seed) for seed in range(seeds) for c in candidates]
    asked = {
        name_of(candidate, seed): {
            "candidate": candidate and asdict(candidate),
            "seed": seed,
            "steps": list(steps),
            "options": dict(options or {}),
            "drawn": candidate is not None and seed == 0 and candidate.label in PICTURED,
        }
        for candidate, seed in every
    }
    found = kept_rows(folder, asked, row, jobs=jobs, title="regime")
    return {name: {**asked[name], **found[name]} for name in asked}


def row(
    *,
    candidate: Mapping[str, Any] | None,
    seed: int,
    steps: Sequence[int],
    options: Mapping[str, Any],
    drawn: bool,
) -> Row:
    """Joint accuracy at every step and, at the end, pairs found in each space; None: what the teachers reach."""
    with computing(threads=1):
        problem = toy.pretrained(seed=seed, **options)
        if candidate is None:
            return asdict(references(problem))
        settings: dict[str, Any] = {
            "steps": steps[-1],
            "checkpoint_every": steps[-1],
            "snapshot_every": 0,
            "threads": 1,
        }
        run = Run(problem, candidate["method"], seed=seed, form=candidate["form"], **settings, **candidate["options"])
        answers, joint = teacher_answers(problem), {}
        for step in steps:
            run.advance(step - run.step, progress=False)
            joint[str(step)] = mark(problem, run.predict(labelled(problem).images[:]), answers).joint["class"]
        snapshot = run.snapshot()
        there = [space for space in SPACES if space in spaces(snapshot)]
        return {
            "joint": joint,
            "images": len(snapshot.index),
            "pairs": {space: pairs_found(snapshot, space, (1,)).values for space in there},
            "pictures": {space: as_plain(published(snapshot, space)) for space in there if drawn},
            "seconds": round(sum(row["seconds"] for row in run.history()), 1),
        }


def as_plain(drawn: Points) -> Row:
    """A picture as JSON has it: what is needed to draw it again."""
    plain = {field.name: getattr(drawn, field.name) for field in fields(drawn) if field.name != "pairs"}
    plain["xy"] = drawn.xy.round(3)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


def from_plain(plain: Mapping[str, Any]) -> Points:
    """The picture that `as_plain` told, also from JSON."""
    arrays = {name: np.array(plain[name]) for name in ("xy", "group", "sample", "label")}
    texts = {name: tuple(plain[name]) for name in ("groups", "labels", "axes")}
    return Points(**{**plain, **arrays, **texts})


def by_candidate(found: Mapping[str, Row]) -> dict[str, list[Row]]:
    """The rows of every candidate by label, seed by seed."""
    told: dict[str, list[Row]] = {}
    for one in found.values():
        if one["candidate"] is not None:
            told.setdefault(one["candidate"]["label"], []).append(one)
    return told


def table(found: Mapping[str, Row]) -> str:
    """The rows as a Markdown table; accuracies and pairs in percent, differences in points, ± one deviation."""
    told = by_candidate(found)
    teachers = [one for one in found.values() if one["candidate"] is None]
    steps = told[BASELINE][0]["joint"]
    head = ["method"]
    for step in steps:
        head += [f"joint accuracy, step {step}", "minus distillation, paired"]
    head += [f"pairs found in {words}" for words in SPACES.values()]
    lines = []
    for label, rows in told.items():
        line = [label]
        for step in steps:
            joint = [one["joint"][step] for one in rows]
            gain = [mine - one["joint"][step] for mine, one in zip(joint, told[BASELINE], strict=True)]
            line += [percent(Spread.of(joint)), "–" if label == BASELINE else points(Spread.of(gain))]
        lines.append(line + [spread([one["pairs"].get(space, {}) for one in rows]) for space in SPACES])
    for label, what in (("teachers side by side", "ensemble"), ("teachers, routed by the true class", "routed")):
        lines.append([label, "–", "–", spread([one[what] for one in teachers]), *["–"] * (len(head) - 4)])
    return markdown(head, lines)


def spread(shares: Sequence[Mapping[str, float]]) -> str:
    """Mean over teachers or tasks, seed by seed, as a cell; a dash where there is none."""
    return percent(Spread.of([fmean(one.values()) for one in shares])) if all(shares) else "–"


def section(found: Mapping[str, Row]) -> str:
    """What the page says of it: how it was done, the table, the picture."""
    told = by_candidate(found)
    first = told[BASELINE][0]
    last = list(first["joint"])[-1]
    above, below = (label for label in told if told[label][0]["drawn"])
    return f"""## `pretrained`, the published regime

Teachers and student are one architecture and start from the same ImageNet weights (`toy.pretrained()`), as in the
papers; all learn at the rates of the published code, 0.0001 and five times that in the common space, a tenth of both
from the half on, for {last} steps of 32 images. `make regime` keeps every number in `docs/regime.json`: mean ± standard
deviation over {len(told[BASELINE])} seeds. *Pairs found* is the share of {first["images"]} images of the pool whose
nearest point of a teacher, seen from the student's, is the same image's after {last} steps, mean of both teachers; by
chance it is {100 / first["images"]:.1f} %. *{below}* has the published width of the common space.

{table(found)}

![{above} and {below}: student and teachers in their own features and in the common space](regime.png)

*The published picture: t-SNE of student and teachers after {last} steps, seed 0, marker = net, colour = class; to the
left the nets' own features, to the right the common space. Above {above}, below {below}.*
"""


def picture(found: Mapping[str, Row]) -> list[Points]:
    """Own features and common space of the candidates that were drawn, one after the other, and the pairs in each."""
    drawn = []
    for label, (first, *_) in by_candidate(found).items():
        for space, plain in first["pictures"].items():
            note = f"{100 * fmean(first['pairs'][space].values()):.1f} % of pairs found; {plain['note']}"
            drawn.append(replace(from_plain(plain), title=f"{label}: {SPACES[space]}", note=note))
    return drawn


def write(found: Mapping[str, Row], *, file: Path = FILE, drawing: Path = PICTURE, page: Path = PAGE) -> None:
    """Keep what was found, with what it was run on, and make the picture and the page's section of it."""
    from ka_explore.plots import figure_for, save

    about = environment(torch.device("cpu")) | {"command": "make regime", "threads": 1}
    write_json({"about": about, "rows": rounded(dict(found))}, file, levels=3)
    save(figure_for(picture(read(file))), drawing)
    page.write_text(quoted(page.read_text(encoding="utf-8"), "regime", blocks(read(file))), encoding="utf-8")


def read(file: Path) -> dict[str, Row]:
    """The rows of a file by name; none if there is no file yet."""
    return dict(json.loads(file.read_text(encoding="utf-8"))["rows"]) if file.exists() else {}


def blocks(found: Mapping[str, Row]) -> dict[str, str]:
    """What the page quotes: nothing before anything was found."""
    return {"section": section(found)} if found else {}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing; write file, picture and page, or print the table of fewer seeds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/regime"), help="where rows are kept")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="only the first so many")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    chosen = parser.parse_args(arguments)
    found = regime(chosen.folder, seeds=chosen.seeds, jobs=chosen.jobs)
    if chosen.seeds == SEEDS:
        write(found)
    else:
        sys.stdout.write(f"{table(found)}\n")


if __name__ == "__main__":
    main()
