"""Laws of what can be changed: a control says its option, and a fork has the past."""

import json
import shutil
from typing import Any

import pytest

from ka_explore import InputError
from ka_explore.methods import METHODS
from ka_explore.methods.config import options_of
from ka_explore.panels.branch import Branch
from ka_explore.panels.forking import read
from ka_explore.panels.session import Session
from ka_explore.panels.what_if import WhatIf, control_of, slider_range
from tests.panels.conftest import STEPS, files, rows, wait


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
    assert slider_range(options["classwise_weight"])["high"] <= 10  # its default is 0
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


def forked(session: Session, panel: WhatIf, **message: Any) -> Branch:
    before = set(session.branches)
    session.receive({"do": "fork", "panel": panel.panel_id, **message})
    (name,) = wait(lambda: set(session.branches) - before)
    wait(lambda: not panel.problem)
    return session.branches[name]


def test_a_changed_slider_makes_a_fork_of_that_config_with_the_same_past(make_run, desk_of):
    run = make_run(to=8)
    session = desk_of(run)
    panel = WhatIf(session)
    past = rows(run)
    made = forked(session, panel, changes={"mmd_weight": 0.05, "bandwidths": "1, 2"}, at=5)
    assert made.run.config_at(5) == run.config_at(5).replace(mmd_weight=0.05, bandwidths=(1.0, 2.0))
    assert made.run.config_at(4) == run.config_at(4)
    assert rows(made) == past[:5]
    assert rows(run) == past
    assert (session.active, made.parent, made.run.step) == (made.name, ("base", 5), 5)
    assert "mmd weight 0.05" in made.name


def test_a_fork_plays_at_once_where_that_is_asked(make_run, desk_of):
    session = desk_of(make_run(kept=False))
    made = forked(session, WhatIf(session), changes={"mmd_weight": 0.0}, at=6, play=True)
    wait(lambda: made.run.step == STEPS and not session.busy)


def test_a_teacher_is_switched_off_by_name(make_run, desk_of):
    session = desk_of(make_run(kept=False))
    made = forked(session, WhatIf(session), changes={"without": ["one, the first"]}, at=6)
    assert made.run.config.without == ("one, the first",)
    assert made.run.method.teaching == ("two",)


@pytest.mark.parametrize("at", [5, pytest.param(0, marks=pytest.mark.slow)])
def test_the_python_that_is_shown_makes_the_same_run_bit_for_bit(make_run, desk_of, problem, at):
    run = make_run(to=8)
    session = desk_of(run)
    panel = WhatIf(session)
    first = forked(session, panel, changes={"mmd_weight": 0.0}, at=4, name='with "quotes" \\ and ä')
    session.play(7).result(20)
    changes = {"learning_rate": 0.0123, "bandwidths": "0.5, 1", "without": ["two"]}
    session.receive(
        {"do": "propose", "panel": panel.panel_id, "view": "v", "of": first.name, "at": at, "changes": changes}
    )
    proposal = wait(lambda: panel.proposal.get("view") and panel.proposal)
    assert proposal["errors"] == {}
    made = forked(session, panel, changes=changes, of=first.name, at=at)
    assert made.name == proposal["name"]
    session.play().result(20)

    short: dict[str, Any] = {"run": first.run}
    shutil.move(made.folder, made.folder.parent / "elsewhere")  # its name is wanted
    exec(proposal["code"], short)
    assert rows(short["fork"]) == rows(made.folder.parent / "elsewhere")
    whole: dict[str, Any] = {"problem": problem}
    exec(proposal["whole"], whole)
    assert rows(whole["run"]) == rows(made.folder.parent / "elsewhere")
    assert whole["run"].config == made.run.config


def test_options_that_do_not_fit_are_told_at_the_option_and_nothing_is_lost(make_run, desk_of):
    session = desk_of(make_run())
    panel = WhatIf(session)
    sent = {"blocks": 99, "bandwidths": "wide", "mmd_weight": 0.2}
    session.receive({"do": "propose", "panel": panel.panel_id, "view": "v", "at": 3, "changes": sent})
    proposal = wait(lambda: panel.proposal.get("view") and panel.proposal)
    assert proposal["errors"].keys() == {"blocks", "bandwidths"}
    assert "1 to 16" in proposal["errors"]["blocks"]
    session.receive({"do": "fork", "panel": panel.panel_id, "at": 3, "changes": {"blocks": 99}})
    problem = wait(lambda: panel.problem)
    assert problem["option"] == "blocks"
    assert "1 to 16" in problem["text"]
    assert list(session.branches) == ["base"]
    assert session.error == ""


def test_what_cannot_be_changed_in_mid_run_offers_the_steps_where_it_can(make_run, desk_of):
    run = make_run()
    session = desk_of(run)
    panel = WhatIf(session)
    past = files(run.folder)
    session.receive({"do": "fork", "panel": panel.panel_id, "at": 6, "changes": {"blocks": 1}, "name": "less"})
    problem = wait(lambda: panel.problem)
    assert "Fork at step 0" in problem["text"]
    assert [offer["at"] for offer in problem["offers"]] == [0]
    assert (list(session.branches), session.error, files(run.folder)) == (["base"], "", past)
    session.receive({"do": "fork", "panel": panel.panel_id, **problem["asked"], "at": problem["offers"][0]["at"]})
    made = wait(lambda: session.branches.get("less"))
    assert made.run.config.blocks == 1
    wait(lambda: not panel.problem)


@pytest.mark.slow
def test_another_optimiser_is_offered_where_the_stage_begins(make_run, desk_of):
    run = make_run("components", to=10, method="adaptive")
    begins = max(start for start in run.boundaries if start < 10)
    session = desk_of(run)
    panel = WhatIf(session)
    session.receive({"do": "fork", "panel": panel.panel_id, "at": 10, "changes": {"optimizer": "sgd"}})
    assert [offer["at"] for offer in wait(lambda: panel.problem)["offers"]] == [begins, 0]
    made = forked(session, panel, changes={"optimizer": "sgd"}, at=begins)
    assert made.run.config.optimizer == "sgd"


def test_teachers_that_are_all_off_are_a_clear_error(make_run, desk_of):
    session = desk_of(make_run())
    panel = WhatIf(session)
    session.receive({"do": "fork", "panel": panel.panel_id, "at": 6, "changes": {"without": ["one, the first", "two"]}})
    assert "without a teacher" in wait(lambda: panel.problem)["text"]
    assert list(session.branches) == ["base"]


@pytest.mark.slow
def test_names_of_forks_are_free_at_the_desk_and_on_the_disk(make_run, desk_of, tmp_path):
    session = desk_of(make_run())
    (tmp_path / "runs" / "mmd weight 0").mkdir()
    panel = WhatIf(session)
    assert forked(session, panel, changes={"mmd_weight": 0.0}, at=6).name == "mmd weight 0 2"
    assert forked(session, panel, changes={"mmd_weight": 0.0}, of="base", at=6).name == "mmd weight 0 3"
