"""Laws of the tree of branches: names, copies that stay, and what is deleted comes back."""

import gc
import shutil
from pathlib import Path
from typing import Any

import pytest

from ka_explore import InputError, Run, StoreError
from ka_explore.panels import handling
from ka_explore.panels.branch import Branch
from ka_explore.panels.branches import Branches
from ka_explore.panels.handling import delete, keep, keep_named, open_more, rename, show_or_hide, undo
from ka_explore.panels.session import Session
from tests.panels.conftest import STEPS, files, rows, wait


@pytest.fixture
def family(make_run, desk_of) -> Session:
    """base → child → grandchild, and another fork of base; the grandchild is active."""
    session = desk_of(make_run(to=8))
    session.fork({"mmd_weight": 0.0}, name="child", at=4).result(20)
    session.play(6).result(20)
    session.fork({"soft_weight": 2.0}, name="grandchild", at=5).result(20)
    session.fork({"learning_rate": 0.01}, name="other", of="base", at=0).result(20)
    session.activate("grandchild")
    return session


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
    seen = {name: bool(branch.steps_seen()) for name, branch in family.branches.items()}
    assert sum(seen.values()) >= 3  # all that have steps; a fork at 0 perhaps
    wait(lambda: {line["name"]: line["agreement"] is not None for line in panel.tree} == seen)
    for line in panel.tree:
        if seen[line["name"]]:
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
    before = list(family.branches.items()), family.shown, family.active, family.viewed_step
    kept = {other.folder: files(other.folder) for other in family.branches.values()}
    for name, branch in list(family.branches.items()):
        delete(family, name).result(20)
        assert name not in family.branches
        assert name not in family.shown
        assert family.active in family.shown
        assert not branch.folder.exists()
        assert files(branch.folder.parent / ".deleted" / branch.folder.name) == kept[branch.folder]
        undo(family).result(20)
        assert (list(family.branches.items()), family.shown, family.active, family.viewed_step) == before
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
    session = desk_of(make_run(steps=5000))
    session.fork({"mmd_weight": 0.0}, name="child").result(20)
    child = session.branches["child"]
    session.play()
    wait(lambda: child.run.step > 8)
    delete(session, "child").result(20)
    wait(lambda: not session.busy)
    stood = child.run.step
    assert session.active == "base"
    undo(session).result(20)
    assert (session.active, child.run.step, len(rows(child))) == ("child", stood, stood)


def test_the_last_branch_stays(make_run, desk_of):
    session = desk_of(make_run())
    with pytest.raises(InputError, match="last branch"):
        delete(session, "base")
    panel = Branches(session)
    session.receive({"do": "delete", "name": "base"})
    assert "last branch" in wait(lambda: panel.said.get("error"))


@pytest.mark.slow
def test_a_temporary_branch_goes_when_it_cannot_come_back_any_more(make_run, desk_of, monkeypatch):
    monkeypatch.setattr(handling, "UNDO", 0.3)
    session = desk_of(make_run("base", kept=False))
    folder = session.fork({"mmd_weight": 0.0}, name="child").result(20).folder
    panel = Branches(session)
    session.receive({"do": "delete", "name": "child"})
    wait(lambda: panel.said.get("deleted") == "child")
    assert folder.exists()
    wait(lambda: not panel.said.get("deleted"))
    wait(lambda: gc.collect() is not None and not folder.exists())
    with pytest.raises(InputError, match="nothing to bring back"):
        undo(session)


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
    session = desk_of(make_run("base", kept=False))
    branch = session.branch
    temporary, before = branch.folder, files(branch.folder)
    target = keep_named(session, "base").result(20)
    assert target == Path("runs/base")
    assert files(tmp_path / target) == before == files(temporary)
    assert branch.kept
    assert not branch.run.temporary
    session.play(9).result(20)
    straight = make_run("straight", to=9)
    assert rows(tmp_path / target) == rows(straight)
    assert Run.open(target, problem).step == 8  # its last checkpoint
    with pytest.raises(InputError, match="kept already"):
        keep_named(session, "base")


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
    session = desk_of(make_run("base", kept=False))
    assert keep_named(session, "base").result(20) == Path("runs/base 2")
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
    session = desk_of(make_run("base"))
    panel = Branches(session)
    folder = tmp_path / "runs"
    make_run("more")
    strange = tiny_problem(images=30, shape=(1, 8, 8), names=["x", "y"])
    Run(strange, "distillation", folder=folder / "strange", steps=2)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("{")
    session.receive({"do": "open", "folder": str(folder)})
    note = wait(lambda: panel.said.get("note"))
    assert list(session.branches) == ["base", "more"]
    assert "added more" in note
    for reason in ("strange: it has other teachers (x, y)", "base: it is open already", "damaged:"):
        assert reason in note
    assert session.branches["more"].run is None
    with pytest.raises(InputError, match="other teachers"):
        open_more(session, folder / "strange").result(20)
    for nothing in ("", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="folder"):
            open_more(session, nothing)
