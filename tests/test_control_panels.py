"""Laws of what can be changed at a desk: a control says its option, a fork has the past, what is deleted comes back."""

import gc
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ka_explore import InputError, Run, StoreError
from ka_explore.config import options_of
from ka_explore.methods import METHODS
from ka_explore.panels import branches, findings
from ka_explore.panels.branch import Branch
from ka_explore.panels.branches import Branches, delete, keep, keep_named, open_more, rename, show_or_hide, undo
from ka_explore.panels.desk import Desk
from ka_explore.panels.findings import Findings
from ka_explore.panels.forking import PANELS, read
from ka_explore.panels.what_if import WhatIf, control_of, slider_range
from ka_explore.store import Store

STEPS = 12


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Any:
    return tiny_problem(images=30, shape=(1, 8, 8), names=["one, the first", "two"])


@pytest.fixture
def make_run(problem, tmp_path) -> Callable[..., Run]:
    """A run in a folder that stays, or in a temporary one, advanced to a step."""

    def made(name: str = "base", *, to: int = 6, kept: bool = True, method: str = "common_feature", **options) -> Run:
        folder = tmp_path / "runs" / name if kept else None
        told = {"steps": STEPS, "batch_size": 8, "checkpoint_every": 4, "snapshot_every": 6} | options
        return Run(problem, method, name=name, folder=folder, **told).advance(to, progress=False)

    return made


@pytest.fixture
def desk_of(problem) -> Iterator[Callable[..., Desk]]:
    """Desks that are closed at the end."""
    made: list[Desk] = []

    def desk(*runs: Run | Path) -> Desk:
        parts = [Branch(run) if isinstance(run, Run) else Branch(folder=run) for run in runs]
        made.append(Desk(parts, problem))
        return made[-1]

    yield desk
    for each in made:
        each.close()


def wait(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The value of a condition once it holds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)
    return found


def rows(run: Run | Branch | Path) -> list[dict[str, Any]]:
    """All recorded rows without how long they took."""
    store = Store(run) if isinstance(run, Path) else run.store
    return [{k: v for k, v in row.items() if k != "seconds"} for row in Store(store.folder).rows()]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# Controls


@pytest.mark.parametrize("method", METHODS)
def test_a_control_says_its_default_exactly_and_it_comes_back(method):
    kind = METHODS[method].Config
    for option in options_of(kind).values():
        control = json.loads(json.dumps(control_of(option)))
        value = getattr(kind().replace(**read(kind, {option.name: control["default"]})), option.name)
        assert value == option.default, option.name
        assert type(value) is type(option.default), option.name
        if control["kind"] == "choice":
            assert control["default"] in control["choices"]


@pytest.mark.parametrize("method", METHODS)
def test_a_slider_reaches_the_default_and_every_value_in_force_and_no_forbidden_one(method):
    kind = METHODS[method].Config
    for option in options_of(kind).values():
        wanted = [option.default]
        if option.kind in (int, float) and not option.choices and option.high:
            wanted += [option.kind(option.high), option.kind(option.low or 1)]
        ends = slider_range(option, wanted)
        if ends is None:
            assert option.kind not in (int, float) or option.choices or option.low == option.high, option.name
            continue
        assert ends["low"] < ends["high"], option.name
        for value in (v for v in wanted if v is not None):
            assert ends["low"] <= value <= ends["high"] or (ends["zero"] and value == 0), option.name
        for end in (ends["low"], ends["high"], *([0] if ends["zero"] else [])):
            kind().replace(**{option.name: option.kind(end)})


def test_sliders_are_of_sensible_length():
    options = options_of(METHODS["common_feature"].Config)
    assert slider_range(options["steps"]) == {"low": 4.0, "high": 40_000.0, "log": True, "zero": True}
    rate = slider_range(options["learning_rate"])
    assert (rate["low"], rate["high"]) == pytest.approx((3e-5, 0.3))
    assert slider_range(options["width"])["high"] <= 256
    assert slider_range(options["paired_weight"])["high"] <= 10  # its default is 0
    assert slider_range(options_of(METHODS["ensemble"].Config)["steps"]) is None  # 0 to 0


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ({"mmd_weight": 0}, 0.0),
        ({"mmd_weight": 0.30000000000000004}, 0.30000000000000004),
        ({"batch_size": 17.0}, 17),
        ({"alpha": None}, None),
        ({"bandwidths": "0.2, 1,2"}, (0.2, 1.0, 2.0)),
        ({"without": ["one, the first"]}, ("one, the first",)),
        ({"bias": True}, True),
    ],
)
def test_what_a_control_sends_is_the_typed_value(sent, value):
    kind = METHODS["common_feature"].Config
    ((name, _),) = sent.items()
    found = getattr(kind().replace(**read(kind, json.loads(json.dumps(sent)))), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("sent", [{"bandwidths": "0.2, wide"}, {"nothing": 1}, {"bandwidths": "-1"}, {"blocks": 1.5}])
def test_what_no_option_takes_is_a_clear_error(sent):
    kind = METHODS["common_feature"].Config
    with pytest.raises(InputError, match=r"expected|unknown"):
        kind().replace(**read(kind, sent))


def test_teachers_have_switches_where_the_method_can_do_without_them(make_run, desk_of):
    panel = WhatIf(desk_of(make_run("base", kept=False)))
    assert [teacher["name"] for teacher in panel.controls["teachers"]] == ["one, the first", "two"]
    assert not any(option["name"] == "without" for option in panel.controls["options"])
    oracle = WhatIf(desk_of(make_run("oracle", kept=False, method="oracle")))
    assert oracle.controls["teachers"] == []


# Forks


def forked(desk: Desk, panel: WhatIf, **message: Any) -> Branch:
    before = set(desk.branches)
    desk.receive({"do": "fork", "panel": panel.panel_id, **message})
    (name,) = wait(lambda: set(desk.branches) - before)
    wait(lambda: not panel.problem)
    return desk.branches[name]


def test_a_changed_slider_makes_a_fork_of_that_config_with_the_same_past(make_run, desk_of):
    run = make_run(to=8)
    desk = desk_of(run)
    panel = WhatIf(desk)
    past = rows(run)
    made = forked(desk, panel, changes={"mmd_weight": 0.05, "bandwidths": "1, 2"}, at=5)
    assert made.run.config_at(5) == run.config_at(5).replace(mmd_weight=0.05, bandwidths=(1.0, 2.0))
    assert made.run.config_at(4) == run.config_at(4)
    assert rows(made) == past[:5]
    assert rows(run) == past
    assert (desk.active, made.parent, made.run.step) == (made.name, ("base", 5), 5)
    assert "mmd weight 0.05" in made.name


def test_a_fork_plays_at_once_where_that_is_asked(make_run, desk_of):
    desk = desk_of(make_run(kept=False))
    made = forked(desk, WhatIf(desk), changes={"mmd_weight": 0.0}, at=6, play=True)
    wait(lambda: made.run.step == STEPS and not desk.busy)


def test_a_teacher_is_switched_off_by_name(make_run, desk_of):
    desk = desk_of(make_run(kept=False))
    made = forked(desk, WhatIf(desk), changes={"without": ["one, the first"]}, at=6)
    assert made.run.config.without == ("one, the first",)
    assert made.run.method.teaching == ("two",)


@pytest.mark.parametrize("at", [5, pytest.param(0, marks=pytest.mark.slow)])
def test_the_python_that_is_shown_makes_the_same_run_bit_for_bit(make_run, desk_of, problem, at):
    run = make_run(to=8)
    desk = desk_of(run)
    panel = WhatIf(desk)
    first = forked(desk, panel, changes={"mmd_weight": 0.0}, at=4, name='with "quotes" \\ and ä')
    desk.play(7).result(20)
    changes = {"learning_rate": 0.0123, "bandwidths": "0.5, 1", "without": ["two"]}
    desk.receive(
        {"do": "propose", "panel": panel.panel_id, "view": "v", "of": first.name, "at": at, "changes": changes}
    )
    proposal = wait(lambda: panel.proposal.get("view") and panel.proposal)
    assert proposal["errors"] == {}
    made = forked(desk, panel, changes=changes, of=first.name, at=at)
    assert made.name == proposal["name"]
    desk.play().result(20)

    short: dict[str, Any] = {"run": first.run}
    shutil.move(made.folder, made.folder.parent / "elsewhere")  # its name is wanted
    exec(proposal["code"], short)
    assert rows(short["fork"]) == rows(made.folder.parent / "elsewhere")
    whole: dict[str, Any] = {"problem": problem}
    exec(proposal["whole"], whole)
    assert rows(whole["run"]) == rows(made.folder.parent / "elsewhere")
    assert whole["run"].config == made.run.config


def test_options_that_do_not_fit_are_told_at_the_option_and_nothing_is_lost(make_run, desk_of):
    desk = desk_of(make_run())
    panel = WhatIf(desk)
    sent = {"blocks": 99, "bandwidths": "wide", "mmd_weight": 0.2}
    desk.receive({"do": "propose", "panel": panel.panel_id, "view": "v", "at": 3, "changes": sent})
    proposal = wait(lambda: panel.proposal.get("view") and panel.proposal)
    assert proposal["errors"].keys() == {"blocks", "bandwidths"}
    assert "1 to 16" in proposal["errors"]["blocks"]
    desk.receive({"do": "fork", "panel": panel.panel_id, "at": 3, "changes": {"blocks": 99}})
    problem = wait(lambda: panel.problem)
    assert problem["option"] == "blocks"
    assert "1 to 16" in problem["text"]
    assert list(desk.branches) == ["base"]
    assert desk.error == ""


def test_what_cannot_be_changed_in_mid_run_offers_the_steps_where_it_can(make_run, desk_of):
    run = make_run()
    desk = desk_of(run)
    panel = WhatIf(desk)
    past = files(run.folder)
    desk.receive({"do": "fork", "panel": panel.panel_id, "at": 6, "changes": {"blocks": 1}, "name": "less"})
    problem = wait(lambda: panel.problem)
    assert "Fork at step 0" in problem["text"]
    assert [offer["at"] for offer in problem["offers"]] == [0]
    assert (list(desk.branches), desk.error, files(run.folder)) == (["base"], "", past)
    desk.receive({"do": "fork", "panel": panel.panel_id, **problem["asked"], "at": problem["offers"][0]["at"]})
    made = wait(lambda: desk.branches.get("less"))
    assert made.run.config.blocks == 1
    wait(lambda: not panel.problem)


@pytest.mark.slow
def test_another_optimiser_is_offered_where_the_stage_begins(make_run, desk_of):
    run = make_run("components", to=10, method="adaptive")
    begins = max(start for start in run.boundaries if start < 10)
    desk = desk_of(run)
    panel = WhatIf(desk)
    desk.receive({"do": "fork", "panel": panel.panel_id, "at": 10, "changes": {"optimizer": "sgd"}})
    assert [offer["at"] for offer in wait(lambda: panel.problem)["offers"]] == [begins, 0]
    made = forked(desk, panel, changes={"optimizer": "sgd"}, at=begins)
    assert made.run.config.optimizer == "sgd"


def test_teachers_that_are_all_off_are_a_clear_error(make_run, desk_of):
    desk = desk_of(make_run())
    panel = WhatIf(desk)
    desk.receive({"do": "fork", "panel": panel.panel_id, "at": 6, "changes": {"without": ["one, the first", "two"]}})
    assert "without a teacher" in wait(lambda: panel.problem)["text"]
    assert list(desk.branches) == ["base"]


@pytest.mark.slow
def test_names_of_forks_are_free_at_the_desk_and_on_the_disk(make_run, desk_of, tmp_path):
    desk = desk_of(make_run())
    (tmp_path / "runs" / "mmd weight 0").mkdir()
    panel = WhatIf(desk)
    assert forked(desk, panel, changes={"mmd_weight": 0.0}, at=6).name == "mmd weight 0 2"
    assert forked(desk, panel, changes={"mmd_weight": 0.0}, of="base", at=6).name == "mmd weight 0 3"


# Branches


@pytest.fixture
def family(make_run, desk_of) -> Desk:
    """base → child → grandchild, and another fork of base; the grandchild is active."""
    desk = desk_of(make_run(to=8))
    desk.fork({"mmd_weight": 0.0}, name="child", at=4).result(20)
    desk.play(6).result(20)
    desk.fork({"soft_weight": 2.0}, name="grandchild", at=5).result(20)
    desk.fork({"learning_rate": 0.01}, name="other", of="base", at=0).result(20)
    desk.activate("grandchild")
    return desk


def test_the_tree_says_who_was_forked_from_whom_and_what_differs(family):
    tree = {line["name"]: line for line in Branches(family).tree}
    assert [(name, line["level"]) for name, line in tree.items()] == [
        ("base", 1), ("child", 2), ("grandchild", 3), ("other", 2)
    ]  # fmt: skip
    assert tree["child"]["changes"] == ["mmd_weight 0.1 → 0"]
    assert tree["grandchild"]["changes"] == ["soft_weight 1 → 2"]
    assert tree["other"]["changes"] == ["learning_rate 0.003 → 0.01"]
    assert (tree["grandchild"]["at"], tree["grandchild"]["recorded"], tree["grandchild"]["steps"]) == (5, 5, STEPS)
    assert [name for name, line in tree.items() if line["active"]] == ["grandchild"]


def test_the_tree_knows_how_far_branches_agree_with_their_teachers_and_not_their_accuracy(family):
    panel = Branches(family)
    wait(lambda: all(line["agreement"] is not None for line in panel.tree if line["recorded"]))
    for line in panel.tree:
        assert (line["agreement"] is None) == (line["recorded"] == 0)  # a fork at 0 was not seen yet
        if line["recorded"]:
            assert 0 <= line["agreement"] <= 1
            assert len(line["agreements"]) == 2


@pytest.mark.slow
def test_names_that_say_each_other_are_no_endless_tree(make_run, desk_of, tmp_path):
    first, second = make_run("a", to=2), make_run("b", to=2)
    first.store.amend(parent=("b", 1))
    second.store.amend(parent=("a", 1))
    tree = Branches(desk_of(first, second)).tree
    assert sorted(line["name"] for line in tree) == ["a", "b"]


def test_a_new_name_is_everywhere_and_survives_reopening(family, problem):
    folder, child = family.branches["base"].folder, family.branches["child"].folder
    before = files(child)
    panel = Branches(family)
    family.show("base", "grandchild")
    family.activate("base")
    rename(family, "base", "Grund α").result(20)
    assert list(family.branches) == ["Grund α", "child", "grandchild", "other"]
    assert (family.active, family.shown) == ("Grund α", ("Grund α", "grandchild"))
    assert family.branches["child"].parent == ("Grund α", 4)
    assert family.branches["child"].run.parent == ("Grund α", 4)
    assert family.branches["grandchild"].parent == ("child", 5)
    assert Run.open(folder, problem).name == "Grund α"
    assert Run.open(child, problem).parent == ("Grund α", 4)
    assert {k: v for k, v in files(child).items() if k != "run.json"} == {
        k: v for k, v in before.items() if k != "run.json"
    }
    wait(lambda: [line["level"] for line in panel.tree if line["name"] == "child"] == [2])
    family.play(10).result(20)  # it goes on under its new name
    made = family.fork({"mmd_weight": 0.3}, name="after", at=9).result(20)
    assert made.parent == ("Grund α", 9)


def test_names_that_are_taken_or_not_plain_are_refused(family):
    for name in ("child", "", "   ", "a/b", "..", "a:b"):
        with pytest.raises(InputError, match=r"plain|there is a branch"):
            rename(family, "base", name)
    assert list(family.branches) == ["base", "child", "grandchild", "other"]


@pytest.mark.parametrize(
    "shown",
    [
        ("base", "grandchild"),
        pytest.param(("grandchild",), marks=pytest.mark.slow),
        pytest.param(("other", "child", "grandchild"), marks=pytest.mark.slow),
    ],
)
def test_what_is_deleted_comes_back_exactly(family, shown):
    family.show(*shown)
    family.look_at(3.0)
    before = list(family.branches.items()), family.shown, family.active, family.place
    kept = {other.folder: files(other.folder) for other in family.branches.values()}
    for name, branch in list(family.branches.items()):
        delete(family, name).result(20)
        assert name not in family.branches
        assert name not in family.shown
        assert family.active in family.shown
        assert not branch.folder.exists()
        assert files(branch.folder.parent / ".deleted" / branch.folder.name) == kept[branch.folder]
        undo(family).result(20)
        assert (list(family.branches.items()), family.shown, family.active, family.place) == before
        assert {folder: files(folder) for folder in kept} == kept
        assert not (branch.folder.parent / ".deleted").exists()
    family.play(7).result(20)
    assert family.branch.run.recorded == 7


@pytest.mark.slow
def test_forks_of_a_deleted_branch_stay(family):
    delete(family, "child").result(20)
    tree = {line["name"]: line for line in Branches(family).tree}
    assert (tree["grandchild"]["from"], tree["grandchild"]["level"]) == ("child", 1)
    assert tree["grandchild"]["changes"] == ["soft_weight 1 → 2"]
    family.activate("grandchild")
    family.play(8).result(20)


def test_the_branch_that_plays_is_paused_and_then_deleted(make_run, desk_of):
    desk = desk_of(make_run(steps=5000))
    desk.fork({"mmd_weight": 0.0}, name="child").result(20)
    child = desk.branches["child"]
    desk.play()
    wait(lambda: child.run.step > 8)
    delete(desk, "child").result(20)
    wait(lambda: not desk.busy)
    stood = child.run.step
    assert desk.active == "base"
    undo(desk).result(20)
    assert (desk.active, child.run.step, len(rows(child))) == ("child", stood, stood)


def test_the_last_branch_stays(make_run, desk_of):
    desk = desk_of(make_run())
    with pytest.raises(InputError, match="last branch"):
        delete(desk, "base")
    panel = Branches(desk)
    desk.receive({"do": "delete", "name": "base"})
    assert "last branch" in wait(lambda: panel.said.get("error"))


@pytest.mark.slow
def test_a_temporary_branch_goes_when_it_cannot_come_back_any_more(make_run, desk_of, monkeypatch):
    monkeypatch.setattr(branches, "UNDO", 0.3)
    desk = desk_of(make_run("base", kept=False))
    folder = desk.fork({"mmd_weight": 0.0}, name="child").result(20).folder
    panel = Branches(desk)
    desk.receive({"do": "delete", "name": "child"})
    wait(lambda: panel.said.get("deleted") == "child")
    assert folder.exists()
    wait(lambda: not panel.said.get("deleted"))
    wait(lambda: gc.collect() is not None and not folder.exists())
    with pytest.raises(InputError, match="nothing to bring back"):
        undo(desk)


@pytest.mark.slow
def test_the_next_deletion_makes_the_one_before_final_and_undo_never_overwrites(family):
    delete(family, "other").result(20)
    delete(family, "child").result(20)
    child = family.branches.get("child")
    assert child is None
    family.fork({"mmd_weight": 0.5}, name="child", of="base", at=2).result(20)
    with pytest.raises(InputError, match="another branch 'child'"):
        undo(family).result(20)
    rename(family, "child", "late").result(20)
    with pytest.raises(InputError, match="something else"):  # its folder is called so still
        undo(family).result(20)
    assert "other" not in family.branches


def test_a_kept_branch_is_a_whole_copy_and_goes_on_in_it(make_run, desk_of, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = desk_of(make_run("base", kept=False))
    branch = desk.branch
    temporary, before = branch.folder, files(branch.folder)
    target = keep_named(desk, "base").result(20)
    assert target == Path("runs/base")
    assert files(tmp_path / target) == before == files(temporary)
    assert branch.kept
    assert not branch.run.temporary
    desk.play(9).result(20)
    straight = make_run("straight", to=9)
    assert rows(tmp_path / target) == rows(straight)
    assert Run.open(target, problem).step == 8  # its last checkpoint
    with pytest.raises(InputError, match="kept already"):
        keep_named(desk, "base")


def test_keeping_never_overwrites_and_leaves_nothing_half_done(make_run, tmp_path, monkeypatch):
    branch = Branch(make_run("base", kept=False))
    place = tmp_path / "kept"
    place.mkdir()
    with pytest.raises(InputError, match="never overwritten"):
        keep(branch, place)
    assert list(place.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        keep(branch, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StoreError, match="make room"):
        keep(branch, tmp_path / "new" / "base")
    assert list((tmp_path / "new").iterdir()) == []
    assert branch.run.temporary


@pytest.mark.slow
def test_a_name_that_is_taken_in_runs_gets_a_number(make_run, desk_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "base").mkdir(parents=True)
    desk = desk_of(make_run("base", kept=False))
    assert keep_named(desk, "base").result(20) == Path("runs/base 2")
    assert list((tmp_path / "runs" / "base").iterdir()) == []


@pytest.mark.slow
def test_the_python_of_a_branch_opens_it_or_makes_it_anew(make_run, desk_of, problem, tmp_path):
    kept, temporary = make_run("kept"), make_run("temporary", kept=False, mmd_weight=0.7, seed=3)
    tree = Branches(desk_of(kept, temporary)).tree
    there: dict[str, Any] = {}
    with pytest.raises(InputError, match="made by hand"):  # the test's problem is none of ka_explore.toy
        exec(tree[0]["code"], there)
    anew: dict[str, Any] = {"problem": problem}
    exec(tree[1]["code"], anew)
    assert rows(anew["run"])[:6] == rows(temporary)
    assert anew["run"].config == temporary.config


def test_at_most_three_are_shown_and_the_one_that_plays_always_is(family):
    panel = Branches(family)
    family.show("grandchild")
    for name in ("base", "child", "other"):
        family.receive({"do": "show", "name": name, "shown": True})
    wait(lambda: "other" in family.shown)
    assert family.shown == ("grandchild", "child", "other")
    assert "'base' is not shown" in wait(lambda: panel.said.get("note"))
    with pytest.raises(InputError, match="always shown"):
        show_or_hide(family, "grandchild", False)
    show_or_hide(family, "child", False)
    assert family.shown == ("grandchild", "other")


def test_opening_adds_what_is_of_the_same_teachers_and_says_why_not(make_run, desk_of, tiny_problem, tmp_path):
    desk = desk_of(make_run("base"))
    panel = Branches(desk)
    folder = tmp_path / "runs"
    make_run("more")
    strange = tiny_problem(images=30, shape=(1, 8, 8), names=["x", "y"])
    Run(strange, "distillation", folder=folder / "strange", steps=2)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("{")
    desk.receive({"do": "open", "folder": str(folder)})
    note = wait(lambda: panel.said.get("note"))
    assert list(desk.branches) == ["base", "more"]
    assert "added more" in note
    for reason in ("strange: it has other teachers (x, y)", "base: it is open already", "damaged:"):
        assert reason in note
    assert desk.branches["more"].run is None
    with pytest.raises(InputError, match="other teachers"):
        open_more(desk, folder / "strange").result(20)
    for nothing in ("", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="folder"):
            open_more(desk, nothing)


# Findings


def test_nothing_is_examined_unasked_and_what_is_found_is_shown(make_run, desk_of):
    run = make_run(to=8)
    desk = desk_of(run)
    panel = Findings(desk)
    assert panel.report == {}
    assert not (run.folder / "examination.json").exists()
    assert "not diagnosed" in panel.summary()
    found = panel.diagnose()
    report = wait(lambda: panel.report)
    assert [finding["title"] for finding in report["findings"]] == [finding.title for finding in found]
    assert (report["step"], report["warnings"], report["checks"]) == (8, len(found.warnings), len(found.checked))
    assert not desk.busy
    desk.play(10).result(20)
    wait(lambda: panel.now["step"] == 10)
    assert panel.report["step"] == 8


def test_a_folder_that_is_not_open_is_judged_by_what_it_holds(make_run, desk_of):
    desk = desk_of(make_run(to=8).folder)
    found = Findings(desk).diagnose()
    assert desk.branch.run is None
    assert any("not examined" in why for why in found.skipped.values())


@pytest.mark.slow
def test_evidence_is_drawn_when_it_is_asked_for(make_run, desk_of):
    desk = desk_of(make_run(to=8))
    panel = Findings(desk)
    found = panel.diagnose()
    place = next(i for i, finding in enumerate(found) if finding.result is not None)
    assert panel.pictures == {}
    desk.receive({"do": "evidence", "panel": panel.panel_id, "finding": place})
    assert wait(lambda: panel.pictures)[str(place)].startswith("data:image/png;base64,")


@pytest.mark.slow
def test_an_attempt_is_a_fork_with_its_changes_and_plays(make_run, desk_of, monkeypatch):
    from ka_explore.diagnosis import Attempt, Finding
    from ka_explore.diagnosis import Findings as Found

    attempts = (
        Attempt("less", {"mmd_weight": 0.01}, 3), Attempt("smaller", {"blocks": 1}, 6), Attempt("by hand", code="x = 1")
    )  # fmt: skip
    finding = Finding("name", "title", "warning", 1.0, {"value": 2.0, "warning from": 1.0}, attempts=attempts)
    monkeypatch.setattr(findings.diagnosis, "diagnose", lambda _: Found((finding,), {"a": "b"}, {"c": "d"}))
    desk = desk_of(make_run())
    panel = Findings(desk)
    panel.diagnose()
    shown = wait(lambda: panel.report)["findings"][0]["attempts"]
    assert shown[0]["label"] == "⎇ try: mmd_weight=0.01 at step 3"
    assert (shown[2]["label"], shown[2]["code"]) == ("", "x = 1")
    desk.receive({"do": "attempt", "panel": panel.panel_id, "of": "base", "finding": 0, "attempt": 0})
    made = wait(lambda: desk.branches.get("mmd weight 0.01"))
    assert made.run.config_at(3).mmd_weight == 0.01
    wait(lambda: made.run.step == STEPS and not desk.busy)
    desk.receive({"do": "attempt", "panel": panel.panel_id, "of": "base", "finding": 0, "attempt": 1})
    problem = wait(lambda: panel.problem)
    assert [offer["at"] for offer in problem["offers"]] == [0]
    desk.receive({"do": "fork", "panel": panel.panel_id, **problem["asked"], "at": 0})
    assert wait(lambda: desk.branches.get("blocks 1")).run.config.blocks == 1


@pytest.mark.slow
def test_a_diagnosis_that_fails_says_so_and_can_be_asked_again(make_run, desk_of, monkeypatch):
    desk = desk_of(make_run())
    panel = Findings(desk)

    def broken(_: object) -> None:
        raise InputError("the disk is gone")

    monkeypatch.setattr(findings.diagnosis, "diagnose", broken)
    desk.receive({"do": "diagnose", "panel": panel.panel_id})
    assert "the disk is gone" in wait(lambda: panel.problem)["text"]
    wait(lambda: not panel.now["examining"])
    assert not desk.busy
    monkeypatch.undo()
    panel.diagnose()
    wait(lambda: panel.report and not panel.problem)


def test_panels_of_one_desk_answer_for_themselves(make_run, desk_of):
    desk = desk_of(make_run())
    first, second = WhatIf(desk), WhatIf(desk)
    desk.receive({"do": "fork", "panel": first.panel_id, "at": 6, "changes": {"blocks": 1}})
    wait(lambda: first.problem)
    assert second.problem == {}
    assert PANELS[first.panel_id] is first
