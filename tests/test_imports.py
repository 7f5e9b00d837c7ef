"""Who may import whom: the layers of the package, and what a plain import must not bring."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
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


def imports(path: Path, *, at_import: bool = False, hints: bool = True) -> set[str]:
    """The modules a file imports, ``from ka_explore import x`` as ``ka_explore.x`` where that is a module.

    With ``at_import`` only those at the top of the file, none that a function imports when it is called; without
    ``hints`` none that are for type checkers.
    """

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if not hints and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
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


def others(path: Path) -> set[str]:
    tops = {name.split(".")[0] for name in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"ka_explore"}


def below(*names: str) -> list[Path]:
    """The files of modules and folders by name."""
    return [path for path in FILES if any(name_of(path) == n or name_of(path).startswith(n + ".") for n in names)]


def check(path: Path, allowed: set[str]) -> None:
    """Every import of ours is one of these, or below one of these."""
    strange = {name for name in ours(path) if not any(name == a or name.startswith(a + ".") for a in allowed)}
    assert not strange, f"{name_of(path)} must not import {', '.join(sorted(strange))}"


def test_the_walk_finds_imports_everywhere():
    assert "ka_explore.report" in ours(PACKAGE / "cli/viewing.py")
    assert "ka_explore.report" not in imports(PACKAGE / "cli/viewing.py", at_import=True)
    assert "pandas" in imports(PACKAGE / "probes/results.py")
    assert "pandas" in imports(PACKAGE / "probes/results.py", at_import=True)
    assert "pandas" not in imports(PACKAGE / "probes/results.py", at_import=True, hints=False)
    assert "ka_explore.methods.base" in ours(PACKAGE / "run/run.py")
    assert len(FILES) > 30


def test_the_house_has_at_most_a_dozen_rooms():
    inside = {p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"} - {"__init__.py", "__main__.py"}
    assert len(inside) <= 12, sorted(inside)


NUMBERS = ("errors", "probes", "run.snapshot")  # what works on a saved folder, without torch
# Who may import whom, a room or a module a line; the longest name that fits a file says. Nothing else may be named.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "problem": ("errors", "problem"),
    "problem.progress": (),
    "problem.folders": (),
    "methods": ("errors", "problem", "methods"),
    "run": ("errors", "problem", "methods", "run", "toy"),
    "run.snapshot": ("errors",),
    "run.store": ("errors", "run.snapshot", "run.files", "run.making", "run.schema"),
    "run.schema": ("errors", "run.files", "run.making", "run.snapshot"),
    "run.files": ("errors",),
    "run.making": ("errors", "run.files"),
    "run.stopping": ("errors",),
    "run.rng": (),
    "run.reproduce": ("methods",),
    "run.lock": (),
    "probes": NUMBERS,
    "probes.results": ("errors",),
    "probes.logits": (),
    "probes.axes": (*NUMBERS, "run.schema", "run.store"),
    "probes.films": (*NUMBERS, "problem.folders"),
    "probes.jobs": (*NUMBERS, "problem.progress"),
    "diagnosis": (*NUMBERS, "diagnosis"),
    "diagnosis.findings": (*NUMBERS, "diagnosis", "run"),
    "diagnosis.examine": (*NUMBERS, "diagnosis", "problem", "run"),
    "diagnosis.trained": (*NUMBERS, "diagnosis", "run"),
    "diagnosis.ways": (*NUMBERS, "diagnosis", "problem"),
    "plots": ("errors", "plots", "probes.results"),
    "report": ("errors", "problem", "methods", "run", "probes", "diagnosis", "plots", "benchmark", "report", "toy"),
    "benchmark": ("errors", "problem", "methods", "run", "probes", "diagnosis", "plots", "benchmark", "report", "toy"),
    "toy": ("errors", "problem", "run.store", "toy"),
}  # fmt: skip
# Modules that look at a run itself when somebody asks, and import what that takes only then.
WHEN_ASKED = {"diagnosis": ("run", "diagnosis.examine", "diagnosis.trained")}
LIBRARIES: dict[str, set[str]] = {
    "methods": {"torch", "jaxtyping", "numpy", "scipy"},
    "run.snapshot": {"numpy", "jaxtyping"},
    "run.schema": {"numpy"},
    "run.files": {"filelock"},
    "run.making": set(),
    "run.reproduce": set(),
    "probes": {"numpy", "jaxtyping", "sklearn", "threadpoolctl", "umap", "scipy", "pandas"},
    "probes.results": {"numpy", "pandas"},
    "diagnosis": {"numpy", "scipy", "pandas"},
    "plots": {"numpy", "matplotlib", "PIL"},
}


def rule_of(module: str, rules: Iterable[str]) -> str | None:
    """The longest of these names that is the module's or of a room around it."""
    name = module.removeprefix("ka_explore.")
    fitting = [rule for rule in rules if name == rule or name.startswith(rule + ".")]
    return max(fitting, key=len, default=None)


@pytest.mark.parametrize("path", [path for path in FILES if rule_of(name_of(path), ALLOWED)], ids=name_of)
def test_a_room_imports_only_what_is_below_it(path):
    module = name_of(path)
    allowed = ALLOWED[str(rule_of(module, ALLOWED))]
    asked = WHEN_ASKED.get(module.removeprefix("ka_explore."), ())
    check(path, {f"ka_explore.{name}" for name in (*allowed, *asked)})
    early = {name for name in imports(path, at_import=True) if any(name == f"ka_explore.{a}" for a in asked)}
    assert not early - {f"ka_explore.{a}" for a in allowed}, f"{module} imports {early} before anybody asks"


@pytest.mark.parametrize("path", [path for path in FILES if rule_of(name_of(path), LIBRARIES)], ids=name_of)
def test_a_room_uses_only_the_libraries_that_it_is_for(path):
    allowed = LIBRARIES[str(rule_of(name_of(path), LIBRARIES))]
    if name_of(path) in {f"ka_explore.diagnosis.{own}" for own in ("examine", "trained", "ways")}:
        allowed = allowed | {"torch", "jaxtyping"}
    assert others(path) <= allowed, name_of(path)


def test_only_the_places_meant_for_it_know_plotting_and_widgets():
    for path in FILES:
        module = name_of(path)
        if "matplotlib" in others(path):
            assert module.startswith(
                ("ka_explore.plots", "ka_explore.report", "ka_explore.benchmark.demo", "ka_explore.panels")
            )
        if {"ipywidgets", "anywidget", "IPython", "traitlets"} & others(path):
            assert module.startswith("ka_explore.panels")


PANELS = ("player", "points", "history", "tables", "samples", "what_if", "branches", "findings")


@pytest.mark.parametrize("path", [PACKAGE / "panels" / f"{name}.py" for name in PANELS], ids=name_of)
def test_panels_never_know_each_other(path):
    mine = name_of(path)
    strange = {f"ka_explore.panels.{name}" for name in (*PANELS, "workbench", "static")} - {mine}
    assert not strange & imports(path)


def test_what_is_below_the_panels_does_not_know_them():
    for path in FILES[1:]:  # all but the table of public names
        if not name_of(path).startswith("ka_explore.panels"):
            assert not any(name.startswith("ka_explore.panels") for name in imports(path, at_import=True)), path


def test_imports_make_no_circle():
    """Type hints included; the package's own file, which names everything for type checkers, is asked without."""
    arrows = {
        name_of(path): {n for n in imports(path, at_import=True, hints=path.parent != PACKAGE) if n in MODULES}
        for path in FILES
    }
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
import ka_explore, ka_explore.cli, ka_explore.benchmark.evaluate, ka_explore.run.export
from ka_explore.probes import PROBES
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("old", "new"), ka_explore.MOVED.items())
def test_an_old_module_name_is_the_new_module_and_says_so(old, new):
    sys.modules.pop(f"ka_explore.{old}", None)
    with pytest.warns(FutureWarning, match=f"ka_explore.{old} is ka_explore.{new} since"):
        module = importlib.import_module(f"ka_explore.{old}")
    assert module is importlib.import_module(f"ka_explore.{new}")
    assert module.__spec__.name == f"ka_explore.{new}"
