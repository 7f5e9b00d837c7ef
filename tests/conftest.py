"""Shapes checked, a cache of our own, one thread, and tiny problems made by hand.

The builders stand here as fixtures that return functions, because files of this folder cannot import each other.
"""

import hashlib
import os
import shutil
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def has_shape(hint: Any) -> bool:
    """Whether an annotation names the shape of an array somewhere."""
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(has_shape, typing.get_args(hint)))


def check_shapes(function: Any) -> Any:
    """The type checker of the import hook: it looks at what has a shape and leaves the rest to mypy.

    With all annotations checked, a test that hands in a number for a text would meet beartype's message and
    never the library's own.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if has_shape(hint)}
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True))


def where_shapes_are(*, typechecker: Any) -> Callable[[Any], Any]:
    """The hook's decorator for what has a shape to check: at every call of every function it doubled a test's time."""
    decorate = jaxtyping_decorator(typechecker=typechecker)
    return lambda found: decorate(found) if any(map(has_shape, found.__annotations__.values())) else found


# The hook takes its checker by the name of a module; it must stand before the first import of ka_explore.
jaxtyping_decorator, jaxtyping.jaxtyped = jaxtyping.jaxtyped, where_shapes_are
sys.modules["ka_explore_shapes"] = types.ModuleType("ka_explore_shapes")
sys.modules["ka_explore_shapes"].check = check_shapes
jaxtyping.install_import_hook("ka_explore", "ka_explore_shapes.check")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from ka_explore import Labelled, LabelSpace, Pool, Problem, Student, Teacher, toy  # noqa: E402
from ka_explore.problem.pool import Images  # noqa: E402
from ka_explore.toy import efficientnet  # noqa: E402
from ka_explore.toy import problems as toy_problems  # noqa: E402

torch.set_num_threads(1)


# The session


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory) -> Iterator[Path]:
    """Trained teachers and their answers go to a folder of the tests; KA_EXPLORE_TEST_CACHE names one to keep."""
    kept = os.environ.get("KA_EXPLORE_TEST_CACHE")
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    folder = Path(kept) if kept else shared / "cache" if shared else tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KA_EXPLORE_CACHE", str(folder))
        patch.setenv("NUMBA_CACHE_DIR", str(folder / "compiled"))  # also where a test has a cache of its own
        yield folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where everything is installed (KA_EXPLORE_NO_SKIP=1) a skipped test is a failure; a slow one gives a reason."""
    return hurried(item, refused((yield)))


def hurried(item: pytest.Item, report: Any) -> Any:
    """The report; failed, if the test took longer than KA_EXPLORE_TEST_SECONDS and its docstring has no "Slow:"."""
    limit = float(os.environ.get("KA_EXPLORE_TEST_SECONDS", "inf"))
    said = getattr(getattr(item, "function", None), "__doc__", None) or ""
    if report.passed and report.duration > limit and "Slow:" not in said:
        report.outcome = "failed"
        report.longrepr = f'took {report.duration:.0f} s of {limit:.0f} s: make it shorter, or say why after "Slow:".'
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a file that skips itself as a whole."""
    return refused((yield))


def refused(report: Any) -> Any:
    """The report; failed, with the reason, if it was skipped where nothing may be."""
    if report.skipped and os.environ.get("KA_EXPLORE_NO_SKIP") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nNothing may be skipped here: KA_EXPLORE_NO_SKIP=1."
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium for tests of pages: named in CHROMIUM, or found."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("needs Chromium: install it (on Debian: apt-get install chromium), or give its path in CHROMIUM.")
    return found


@pytest.fixture(scope="session")
def vision_schemas() -> None:
    """Beside a torch for CPUs, torchvision (which timm needs) imports only if two of its operators are declared."""
    try:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        kept_alive.append(library)
    except RuntimeError:
        return  # the real ones are there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except ImportError:
            return


kept_alive: list[Any] = []


@pytest.fixture
def imagenet_drawn_anew(tmp_path, monkeypatch) -> Path:
    """Instead of the package with ImageNet weights, a file like its own of weights drawn anew."""
    with seeded(0), torch.no_grad():
        net = efficientnet.efficientnet_lite0(efficientnet.IMAGENET)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        net(torch.randn(16, 3, 32, 32))  # statistics under which its answers differ from image to image
    torch.save(net.state_dict(), tmp_path / "weights")
    data = (tmp_path / "weights").read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = tmp_path / "package" / "models" / f"efficientnet-lite0-{digest}.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    package = types.SimpleNamespace(submodule_search_locations=[str(tmp_path / "package")])
    monkeypatch.setattr(efficientnet, "find_spec", {efficientnet.PACKAGE: package}.get)
    monkeypatch.setattr(efficientnet, "DIGEST", digest)
    return path


@pytest.fixture
def few_clothes(monkeypatch) -> None:
    """Instead of Fashion-MNIST, 200 images of noise to learn from and 40 to mark on, named in turn."""

    def pictures(part: str) -> toy.Pictures:
        count = {"train": 200, "t10k": 40}[part]
        images = np.random.default_rng(count).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        return toy.Pictures(images, np.array(toy.CLOTHES)[np.arange(count) % len(toy.CLOTHES)])

    monkeypatch.setattr(toy_problems, "fashion_pictures", pictures)


# Tiny problems


class TokenNet(nn.Module):
    """A small transformer with a class token; its blocks put out (batch, 1 + patches, channel)."""

    def __init__(self, channels: int, labels: int, width: int = 8):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 4, stride=4)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.block1 = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
        self.block2 = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
        self.head = nn.Linear(width, labels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1)
        return {"logits": self.head(self.block2(self.block1(tokens))[:, 0])}


def conv_net(channels: int, labels: int) -> nn.Sequential:
    """Two convolutions with batch norm and ReLUs in place."""
    net = nn.Sequential()
    net.add_module("conv1", nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6)))
    net.add_module("act1", nn.ReLU(inplace=True))
    net.add_module("conv2", nn.Sequential(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10)))
    net.add_module("act2", nn.ReLU(inplace=True))
    net.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, labels)))
    return net


class VectorNet(nn.Module):
    """A perceptron; its hidden layer puts out vectors."""

    def __init__(self, channels: int, labels: int):
        super().__init__()
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Linear(16 * channels, 12)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, labels)

    def forward(self, images: Tensor) -> tuple[Tensor, str]:
        return self.head(self.drop(functional.gelu(self.hidden(self.squeeze(images))))), "and something else"


KINDS: dict[str, tuple[Callable[[int, int], nn.Module], tuple[str, ...]]] = {
    "conv": (conv_net, ("conv1", "conv2")),
    "tokens": (TokenNet, ("block1", "block2")),
    "vector": (VectorNet, ("hidden",)),
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers are those of the seed within the ``with``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def make_images(count: int = 60, shape: Sequence[int] = (3, 16, 16), seed: int = 0) -> np.ndarray:
    """Smooth random blobs, float32 in [0, 1]."""
    random = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    place, size = (
        random.uniform(0, 1, (2, count, channels, 3, 1, 1)),
        random.uniform(0.1, 0.4, (count, channels, 3, 1, 1)),
    )
    blobs = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * size**2)).sum(axis=2)
    return (blobs / blobs.max()).astype(np.float32)


def make_net(kind: str = "conv", labels: int = 3, *, channels: int = 3, seed: int = 0) -> nn.Module:
    """An untrained net whose answers differ from image to image."""
    with seeded(seed):
        net = KINDS[kind][0](channels, labels)
    with torch.no_grad():
        linear = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        linear.weight *= 10
    return net.eval()


def make_teacher(
    name: str = "one",
    kind: str = "conv",
    labels: Sequence[str] = ("a", "b", "c"),
    *,
    channels: int = 3,
    seed: int = 0,
    **options: Any,
) -> Teacher:
    """A teacher that knows nothing, of one of three architectures."""
    module = make_net(kind, max(len(labels), 1), channels=channels, seed=seed)
    return Teacher(name, module, **{"layers": KINDS[kind][1], "labels": labels} | options)


def make_student(labels: LabelSpace, *, channels: int = 3) -> Student:
    """A chain of two convolutions with one linear head a task."""
    segments = {
        "conv1": nn.Sequential(nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)),
        "conv2": nn.Sequential(nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)),
        "features": nn.ReLU(),
    }
    outputs = {task: sum(column.task == task for column in labels.columns) for task in labels.tasks}
    return Student.chain(
        segments,
        {t: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n)) for t, n in outputs.items()},
    )


def make_problem(
    teachers: int = 2,
    *,
    overlap: bool = False,
    tasks: int = 1,
    images: int = 60,
    shape: tuple[int, int, int] = (3, 16, 16),
    labels: bool = True,
    test: int = 40,
    seed: int = 0,
    probe: int = 256,
    student: Callable[[LabelSpace], Student] | None = None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> Problem:
    """A problem of two to five untrained teachers of different architecture.

    Teacher i knows three classes: its own, or, with ``overlap``, one of them the next teacher's first. With several
    tasks the teachers take turns.
    """
    channels = shape[0]
    step = 2 if overlap else 3
    made = []
    for i in range(teachers):
        own = [f"class {step * (i // tasks) + k}" for k in range(3)]
        made.append(
            make_teacher(
                names[i] if names else f"teacher {i}",
                list(KINDS)[i % len(KINDS)],
                own,
                channels=channels,
                seed=seed + i,
                task="class" if tasks == 1 else f"task {i % tasks}",
            )
        )
    space = LabelSpace.of({teacher.name: (teacher.task, teacher.labels) for teacher in made})
    random = np.random.default_rng(seed)

    def truth(count: int) -> Mapping[str, np.ndarray]:
        return {task: random.integers(0, len(space.class_names(task)), count) for task in space.tasks}

    return Problem(
        made,
        Pool(make_images(images, shape, seed), labels=truth(images) if labels else None, probe=probe),
        student or (lambda found: make_student(found, channels=channels)),
        test=Labelled(Images(make_images(test, shape, seed + 1)), truth(test)) if test else None,
        **options,
    )


@pytest.fixture(scope="session")
def blobs() -> Callable[..., np.ndarray]:
    """`make_images`."""
    return make_images


@pytest.fixture(scope="session")
def net() -> Callable[..., nn.Module]:
    """`make_net`."""
    return make_net


@pytest.fixture(scope="session")
def teacher() -> Callable[..., Teacher]:
    """`make_teacher`."""
    return make_teacher


@pytest.fixture(scope="session")
def tiny_student() -> Callable[..., Student]:
    """`make_student`."""
    return make_student


@pytest.fixture(scope="session")
def tiny_problem() -> Callable[..., Problem]:
    """`make_problem`."""
    return make_problem
