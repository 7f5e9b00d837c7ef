"""An exported student answers as it did in its run, bit for bit, loads without its code, and runs none."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from ka_explore import InputError, Preprocess, Problem, Run, StoreError, Student
from ka_explore.run.export import (
    STANDARD,
    build_module,
    describe_module,
    export_program,
    export_student,
    load_student,
)
from ka_explore.run.files import MACHINE


def trained(problem: Problem, method: str = "distillation", **options) -> Run:
    return Run(problem, method, **{"steps": 3, "batch_size": 16} | options).advance(None)


def changed(folder, **parts) -> None:
    path = folder / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


@pytest.fixture
def run(tiny_problem) -> Run:
    return trained(tiny_problem())


@pytest.fixture
def folder(run, tmp_path):
    return export_student(run, tmp_path / "student")


@pytest.mark.parametrize(
    "options",
    [{}, {"teachers": 3, "overlap": True}, {"teachers": 4, "tasks": 2}, {"teachers": 4, "tasks": 2, "overlap": True}],
)
def test_a_loaded_student_gives_the_scores_of_its_run_bit_for_bit(tiny_problem, tmp_path, options):
    run = trained(tiny_problem(**options))
    model = load_student(export_student(run, tmp_path))
    images = run.problem.test.images[:]
    assert torch.equal(model(images), run.predict(images))
    assert model.classes == run.problem.labels.classes
    assert model.names == run.problem.labels.names
    assert model(images).shape[1] == len(run.problem.labels.classes)
    assert (len(run.problem.labels.columns) > len(run.problem.labels.classes)) == bool(options.get("overlap"))


def test_it_is_a_plain_module_in_eval_mode_without_gradients(run, folder):
    model = load_student(folder)
    assert isinstance(model, nn.Module)
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert copy.deepcopy(model)(torch.rand(2, 3, 16, 16)).shape == (2, 6)


def test_what_is_written_says_what_it_is(run, folder):
    about = json.loads((folder / "student.json").read_text())
    assert about["classes"] == [list(pair) for pair in run.problem.labels.classes]
    assert (about["method"], about["steps"], about["uses_labels"]) == ("distillation", 3, False)
    assert about["images"]["shape"] == [3, 16, 16]
    assert sorted(path.name for path in folder.iterdir()) == ["student.json", "student.safetensors"]


def test_exporting_leaves_the_run_as_it_was(tiny_problem, tmp_path):
    run = trained(tiny_problem(), steps=6).rewind(3)
    expected = Run(run.problem, "distillation", steps=6, batch_size=16).advance(None).method.state_dict()
    export_student(run, tmp_path)
    export_student(run, tmp_path)  # over the old one
    run.advance(None)
    assert all(torch.equal(value, expected[name]) for name, value in run.method.state_dict().items())


@pytest.mark.parametrize("size", [8, (8, 10), None])
def test_preprocessing_is_kept(tiny_problem, tiny_student, tmp_path, size):
    def student(labels):
        made = tiny_student(labels, channels=1)
        made.preprocess = Preprocess(size=size, channels=1, mean=(0.4,), std=(0.3,))
        return made

    run = trained(tiny_problem(student=student))
    model = load_student(export_student(run, tmp_path))
    images = run.problem.test.images[:]
    assert model.student.preprocess == run.student.preprocess
    assert torch.equal(model(images), run.predict(images))


# Students that are no chain of standard modules


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.inner(images).sin()


def odd_chain(labels) -> Student:
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(labels.columns)))
    return Student.chain({"first": Odd()}, {"class": tail})


def function_before(labels) -> Student:
    made = odd_chain(labels)
    made.segments["first"] = nn.Conv2d(3, 4, 3)
    made.preprocess = torch.sqrt
    return made


def wrapped(labels) -> Student:
    net = nn.Sequential(Odd(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(labels.columns)))
    return Student.of(net, layers=["0.inner"], labels=labels)


@pytest.mark.parametrize("make", [odd_chain, function_before, wrapped])
def test_any_other_student_loads_with_a_fresh_one(tiny_problem, tmp_path, make):
    run = trained(tiny_problem(student=make))
    folder = export_student(run, tmp_path)
    with pytest.raises(InputError, match=r"load_student\(folder, student\)"):
        load_student(folder)
    model = load_student(folder, make(run.problem.labels))
    images = run.problem.test.images[:]
    assert torch.equal(model(images), run.predict(images))


def test_another_architecture_is_refused(tiny_problem, folder):
    with pytest.raises(StoreError, match="do not fit the student"):
        load_student(folder, odd_chain(tiny_problem().labels))


MODULES = [
    nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding="valid", bias=False), nn.Sequential(nn.ReLU(inplace=True))),
    nn.Conv2d(3, 6, (3, 1), padding=(1, 0), dilation=2, groups=3, padding_mode="reflect"),
    nn.Conv2d(3, 6, 3, padding="same"),
    nn.BatchNorm2d(3, eps=0.1, momentum=None, affine=False),
    nn.BatchNorm2d(3, track_running_stats=False),
    nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192, momentum=0.3), nn.Linear(192, 2, bias=False)),
    nn.GroupNorm(3, 3, affine=False),
    nn.LayerNorm((3, 8, 8), eps=0.1, bias=False),
    nn.LayerNorm(8, elementwise_affine=False),
    nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (4, 16))),
    nn.LeakyReLU(0.3),
    nn.PReLU(3, init=0.7),
    nn.ELU(0.5),
    nn.GELU("tanh"),
    nn.Sequential(nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.Sigmoid(), nn.Tanh(), nn.Identity()),
    nn.MaxPool2d(3, stride=2, padding=1, dilation=1, ceil_mode=True),
    nn.AvgPool2d((2, 3), padding=(0, 1), count_include_pad=False, divisor_override=5),
    nn.Sequential(nn.AdaptiveAvgPool2d((None, 3)), nn.AdaptiveMaxPool2d(2)),
    nn.Sequential(nn.Dropout(0.3), nn.Dropout2d(0.2)),
    nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
    nn.Upsample(size=(5, 7)),
    nn.ZeroPad2d((1, 2, 0, 3)),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: repr(module).replace("\n", "")[:40])
def test_every_standard_module_comes_back_from_json_the_same(module):
    module = module.eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    back = build_module(json.loads(json.dumps(describe_module(module)))).eval()
    back.load_state_dict(module.state_dict())
    assert torch.equal(back(images.clone()), module(images.clone()))
    assert repr(back).replace(", inplace=True", "") == repr(module).replace(", inplace=True", "").replace(
        "inplace=True", ""
    )


def test_every_standard_module_is_tried():
    tried = {type(part).__name__ for module in MODULES for part in module.modules()}
    assert tried == set(STANDARD)


# What goes wrong


def test_a_method_that_trains_nothing_has_nothing_to_export(tiny_problem, tmp_path):
    run = Run(tiny_problem(), "ensemble")
    for export in (export_student, export_program):
        with pytest.raises(InputError, match="nothing to export"):
            export(run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(run, tmp_path):
    (tmp_path / "file").write_text("")
    for export in (export_student, export_program):
        with pytest.raises(StoreError, match="cannot write"):
            export(run, tmp_path / "file" / "below")


def test_nothing_there_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no exported student"):
        load_student(tmp_path)


def test_damaged_files_are_a_clear_error(folder):
    for name in ("student.json", "student.safetensors"):
        whole = (folder / name).read_bytes()
        for cut in (0, 1, 7, 9, len(whole) // 2, len(whole) - 2):
            (folder / name).write_bytes(whole[:cut])
            with pytest.raises(StoreError):
                load_student(folder)
        (folder / name).write_bytes(whole)
    (folder / "student.safetensors").unlink()
    with pytest.raises(StoreError):
        load_student(folder)


def test_a_newer_version_is_refused(folder):
    changed(folder, format=2)
    with pytest.raises(StoreError, match="format 2, this version reads up to 1"):
        load_student(folder)


def test_a_description_damaged_anywhere_is_a_clear_error(folder):
    whole = json.loads((folder / "student.json").read_text())["architecture"]
    linear = {"kind": "Linear", "arguments": {"in_features": 8, "out_features": 6, "bias": True}}
    for part in (
        {},
        [],
        "x",
        3,
        whole | {"segments": {}},
        whole | {"segments": {"a": {}}},
        whole | {"segments": {"a": linear | {"arguments": {"in_features": -3, "out_features": 1}}}},
        whole | {"segments": {"a": linear | {"arguments": {"in_features": 1e400, "out_features": 1}}}},
        whole | {"segments": {"a": linear | {"arguments": {"in_features": 10**15, "out_features": 10**6}}}},
        whole | {"segments": {"a": linear | {"arguments": {"nonsense": 1}}}},
        whole | {"segments": {"a": linear | {"arguments": 3}}},
        whole | {"segments": {"a": {"kind": "Sequential"}}},
        whole | {"segments": {"a.b": linear}},
        whole | {"preprocess": {"size": -1, "channels": None, "mean": [], "std": []}},
        whole | {"preprocess": {"nonsense": 1, "size": 3}},
    ):
        changed(folder, architecture=part)
        with pytest.raises((StoreError, InputError)):
            load_student(folder)


@pytest.mark.parametrize(
    "kind", ["os.system", "system", "eval", "LazyLinear", "Module", "__import__", "", None, 3, ["Linear"]]
)
def test_a_foreign_name_in_the_description_is_refused(folder, kind, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "system", calls.append)
    architecture = json.loads((folder / "student.json").read_text())["architecture"]
    architecture["segments"]["conv1"] = {"kind": kind, "arguments": {"command": "true"}}
    changed(folder, architecture=architecture)
    with pytest.raises(StoreError, match="not a standard module"):
        load_student(folder)
    assert calls == []


# A program


@pytest.mark.parametrize("student", [None, wrapped])
def test_a_program_agrees_for_any_batch_size(tiny_problem, tmp_path, student):
    run = trained(tiny_problem(teachers=3, overlap=True, student=student))
    path = export_program(run, tmp_path / "deep" / "student.pt2")
    program = torch.export.load(path).module()
    for count in (1, 2, 5, 40):
        images = run.problem.test.images[:count]
        assert torch.allclose(program(images), run.predict(images), atol=1e-6)
    assert run.rewind(1).advance(None).done


# From strangers, and after a kill


def test_a_larger_net_than_the_weights_are_of_takes_no_room(folder):
    architecture = json.loads((folder / "student.json").read_text())["architecture"]
    wide = {"kind": "Linear", "arguments": {"in_features": 10**6, "out_features": 10**6, "bias": True}}
    changed(folder, architecture=architecture | {"segments": {"a": wide}})
    with pytest.raises(StoreError, match="no larger net"):
        load_student(folder)


@pytest.mark.parametrize("name", ["student.json", "student.safetensors"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_a_folder_or_a_device_is_a_clear_error_at_once(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(StoreError, match="cannot be read"):
        load_student(folder)


@pytest.mark.parametrize("value", ["[" * 100_000, '{"format": NaN}', '{"format": [1]}', "[]", '{"format": 1e999}'])
def test_a_description_that_is_none_is_a_clear_error(folder, value):
    (folder / "student.json").write_text(value)
    with pytest.raises(StoreError):
        load_student(folder)


@pytest.mark.parametrize("columns", [None, [], {}, [{}], [{"teacher": "a", "task": "b", "label": 3}], 5, "x", [[]]])
def test_columns_that_are_none_are_a_clear_error(folder, columns):
    changed(folder, columns=columns)
    with pytest.raises(StoreError):
        load_student(folder)


def test_what_a_dead_exporter_left_is_swept_up_and_what_a_living_one_writes_is_not(run, folder):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    parts = {pid: folder / f"{MACHINE}-{pid}-{'0' * 32}.part" for pid in (process.pid, os.getpid())}
    old, fresh, other = (folder / name for name in ("1" * 32 + ".part", "2" * 32 + ".part", "thesis.part"))
    for path in (*parts.values(), old, fresh, other):
        path.write_text("x")
    os.utime(old, (0, 0))
    export_student(run, folder)
    assert not parts[process.pid].exists()
    assert not old.exists()
    assert all(path.exists() for path in (parts[os.getpid()], fresh, other))


def test_a_program_appears_whole_or_not_at_all(run, tmp_path, monkeypatch):
    path = tmp_path / "student.pt2"
    path.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="no space left"):
        export_program(run, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
