"""Who may import whom: the layers of the package, and what a plain import must not bring."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ka_explore

PACKAGE = Path(ka_explore.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
HEAVY = (
    "matplotlib", "ipywidgets", "sklearn", "umap", "pandas", "timm", "torchvision", "transformers", "mlxtend", "joblib",
    "jinja2", "IPython", "anywidget", "threadpoolctl",
)  # fmt: skip


def name_of(path: Path) -> str:
    """``ka_explore.probes.embedding`` of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_import: bool = False) -> set[str]:
    """The modules a file imports, ``from ka_explore import x`` as ``ka_explore.x`` where that is a module.

    With ``at_import`` only those that run when the file is imported; never those for type checkers.
    """

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    found = set()
    for node in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found


MODULES = {name_of(path) for path in FILES}


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "ka_explore"}


def others(path: Path, *, at_import: bool = False) -> set[str]:
    tops = {name.split(".")[0] for name in imports(path, at_import=at_import)}
    return tops - set(sys.stdlib_module_names) - {"ka_explore"}


def below(*names: str) -> list[Path]:
    """The files of modules and folders by name."""
    return [path for path in FILES if any(name_of(path) == n or name_of(path).startswith(n + ".") for n in names)]


def check(path: Path, allowed: set[str]) -> None:
    """Every import of ours is one of these, or below one of these."""
    strange = {name for name in ours(path) if not any(name == a or name.startswith(a + ".") for a in allowed)}
    assert not strange, f"{name_of(path)} must not import {', '.join(sorted(strange))}"


def test_the_walk_finds_imports_everywhere():
    assert "ka_explore.report" in ours(PACKAGE / "cli/looking.py")
    assert "ka_explore.report" not in imports(PACKAGE / "cli/looking.py", at_import=True)
    assert "pandas" in imports(PACKAGE / "results.py")
    assert "pandas" not in imports(PACKAGE / "results.py", at_import=True)
    assert "ka_explore.method" in ours(PACKAGE / "run.py")
    assert len(FILES) > 30


@pytest.mark.parametrize("module", ["ka_explore.results", "ka_explore.snapshot"])
def test_results_and_snapshots_are_numpy(module):
    (path,) = below(module)
    check(path, {"ka_explore.errors"})
    assert others(path, at_import=True) <= {"numpy"}
    assert others(path) <= {"numpy", "pandas"}


@pytest.mark.parametrize("path", below("ka_explore.probes"), ids=name_of)
def test_probes_work_on_snapshots_alone_without_torch(path):
    check(path, {f"ka_explore.{name}" for name in ("snapshot", "results", "errors", "logits", "probes")})
    assert others(path, at_import=True) <= {"numpy", "jaxtyping"}
    assert others(path) <= {"numpy", "jaxtyping", "sklearn", "threadpoolctl", "umap", "scipy"}


@pytest.mark.parametrize("path", below("ka_explore.diagnosis"), ids=name_of)
def test_a_diagnosis_judges_numbers_without_torch(path):
    allowed = {"snapshot", "results", "errors", "logits", "diagnosis"}
    inside = (
        {"store", "examine", "run"}
        if name_of(path) in ("ka_explore.diagnosis", "ka_explore.diagnosis.findings")
        else set()
    )
    check(path, {f"ka_explore.{name}" for name in allowed | inside})
    assert not {f"ka_explore.{name}" for name in inside} & imports(path, at_import=True)
    assert others(path, at_import=True) <= {"numpy"}
    assert others(path) <= {"numpy", "scipy", "pandas"}


@pytest.mark.parametrize("path", below("ka_explore.methods"), ids=name_of)
def test_methods_know_nothing_of_runs_disks_or_pictures(path):
    allowed = (
        "method",
        "methods",
        "losses",
        "student",
        "teachers",
        "layers",
        "labels",
        "pool",
        "problem",
        "config",
        "errors",
        "fold",
    )
    check(path, {f"ka_explore.{name}" for name in allowed})
    assert others(path) <= {"torch", "jaxtyping", "numpy", "scipy"}


@pytest.mark.parametrize("path", below("ka_explore.plots"), ids=name_of)
def test_plots_know_results_and_nothing_else(path):
    check(path, {"ka_explore.results", "ka_explore.errors", "ka_explore.plots"})
    assert others(path) <= {"numpy", "matplotlib"}


def test_a_store_does_not_know_what_runs():
    (path,) = below("ka_explore.store")
    check(path, {"ka_explore.snapshot", "ka_explore.errors"})


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        (("errors", "progress", "folders"), ()),
        (("config", "environment", "labels", "layers", "losses"), ("errors",)),
        (("fingerprint",), ()),
        (("teachers",), ("errors", "layers", "fingerprint")),
        (("student",), ("errors", "layers", "labels")),
        (("pool",), ("errors", "layers")),
        (("cache",), ("errors", "folders", "layers", "pool", "progress", "teachers")),
        (("problem",), ("errors", "labels", "layers", "pool", "student", "teachers")),
        (("balance", "fold"), ("errors",)),
        (("targets",), ("errors", "labels")),
        (("gradients",), ("method", "pool", "snapshot")),
        (
            ("method",),
            ("balance", "config", "errors", "losses", "pool", "problem", "student", "labels", "layers", "targets"),
        ),
        (("answers",), ("cache", "layers", "pool", "problem", "randomness", "targets")),
        (("randomness", "turns", "logits"), ()),
        (("state",), ("config", "errors", "method", "problem", "training")),
        (("examine",), ("environment", "layers", "logits", "pool", "problem", "teachers")),
        (("film",), ("errors", "plots", "results")),
        (("diagram",), ("errors", "method", "methods", "results", "run", "student", "teachers")),
        (("embed",), ("errors", "folders", "probes", "progress", "results", "snapshot", "store")),
        (("looking",), ("answers", "gradients", "method", "pool", "snapshot", "targets")),
    ],
)
def test_the_core_imports_downwards_only(modules, allowed):
    for module in modules:
        check(PACKAGE / f"{module}.py", {f"ka_explore.{name}" for name in allowed})


def test_only_the_places_meant_for_it_know_plotting_and_widgets():
    for path in FILES:
        module = name_of(path)
        if "matplotlib" in others(path):
            assert module.startswith(("ka_explore.plots", "ka_explore.report", "ka_explore.demo", "ka_explore.panels"))
        if {"ipywidgets", "anywidget", "IPython", "traitlets"} & others(path):
            assert module.startswith("ka_explore.panels")


PANELS = ("player", "points", "history", "tables", "samples", "what_if", "branches", "findings")


@pytest.mark.parametrize("path", [PACKAGE / "panels" / f"{name}.py" for name in PANELS], ids=name_of)
def test_panels_never_know_each_other(path):
    mine = name_of(path)
    strange = {f"ka_explore.panels.{name}" for name in (*PANELS, "workbench", "static")} - {mine}
    assert not strange & imports(path)


def test_what_is_below_the_panels_does_not_know_them():
    for path in FILES:
        if not name_of(path).startswith("ka_explore.panels"):
            assert not any(name.startswith("ka_explore.panels") for name in imports(path, at_import=True)), path


def test_imports_make_no_circle():
    arrows = {name_of(path): {n for n in imports(path, at_import=True) if n in MODULES} for path in FILES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above[above.index(module) :], module))
        if module not in done:
            for other in arrows[module]:
                visit(other, (*above, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


# What is said of a saved run where there is no torch: every probe by name, on every snapshot of a folder.
WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
from ka_explore import PROBES, Store, InputError
store, answered = Store(sys.argv[1]), set()
for step in store.snapshot_steps():
    snapshot = store.load_snapshot(step)
    for name, probe in PROBES.items():
        try:
            probe(snapshot)
        except InputError as error:
            continue
        answered.add(name)
print(*sorted(answered))
"""


def test_a_saved_run_is_probed_on_a_machine_without_torch(tiny_problem, tmp_path):
    from ka_explore import PROBES, Run

    answered = set()
    for method in ("common_feature", "adaptive"):
        folder = tmp_path / method
        run = Run(tiny_problem(overlap=True), method, steps=6, batch_size=16, folder=folder, snapshot_every=2)
        run.advance(None)
        command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answered |= set(done.stdout.split())
    assert answered == set(PROBES)


def test_a_plain_import_loads_nothing_heavy():
    code = f"""
import sys
import ka_explore, ka_explore.cli, ka_explore.evaluate, ka_explore.export
from ka_explore.probes import PROBES
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
