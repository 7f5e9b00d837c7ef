"""A real JupyterLab in a real Chromium, alone in the world: its own folders, and no host but this machine."""

import ast
import ctypes
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/extensionmanager-extension/plugin": {"enabled": False},
}
HERE = "127.0.0.1"


def folder_of_ipykernel6() -> Path:
    """Where ipykernel 6 lies, which the second kernel puts before the version of this environment."""
    return Path(os.environ.get("KA_EXPLORE_IPYKERNEL6") or Path(sys.prefix) / "ipykernel6")


def end_with_parent() -> None:
    """Let the process that calls this be terminated when its parent dies, even by a kill (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


class Server:
    """A JupyterLab server whose settings, data and notebooks lie in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.runtime = folder / "runtime"
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind((HERE, 0))
            port = free.getsockname()[1]
        self.address = f"http://{HERE}:{port}"
        self.log = folder / "server.log"
        for name, settings in SETTINGS.items():
            file = folder / "settings" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))
        # The debugger asks every kernel for its state and writes an error when the kernel restarts meanwhile.
        config = folder / "config" / "jupyter" / "labconfig" / "page_config.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/debugger-extension": True}}))
        self.notebooks.mkdir(parents=True)
        if folder_of_ipykernel6().is_dir():
            self.add_kernel("ipykernel6", folder_of_ipykernel6())
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--LabApp.expose_app_in_browser=True",
            f"--ServerApp.ip={HERE}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.notebooks}", "--ServerApp.allow_root=True",
            "--ServerApp.terminals_enabled=False", "--ServerApp.shutdown_no_activity_timeout=3600",
            "--LabApp.extension_manager=readonly", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"JupyterLab did not start within 60 s; it said:\n{self.log.read_text()}")
            time.sleep(0.1)

    def environment(self) -> dict[str, str]:
        """The variables of the server and its kernels: every folder for settings and data is the server's own."""
        own = {
            "HOME": "home",
            "XDG_CONFIG_HOME": "config",
            "XDG_DATA_HOME": "data",
            "XDG_CACHE_HOME": "cache",
            "XDG_STATE_HOME": "state",
            "JUPYTER_CONFIG_DIR": "config/jupyter",
            "JUPYTER_DATA_DIR": "data/jupyter",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
            "MPLCONFIGDIR": "matplotlib",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG", "PYTEST"))}
        return kept | {name: str(self.folder / place) for name, place in own.items()} | {"JUPYTER_TOKEN": self.token}

    def add_kernel(self, name: str, before: Path) -> None:
        """Add a kernel that takes modules from a folder before those of this environment."""
        path = os.pathsep.join(filter(None, (str(before), os.environ.get("PYTHONPATH"))))
        launcher = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel = {"argv": launcher, "display_name": name, "language": "python", "env": {"PYTHONPATH": path}}
        file = self.folder / "data" / "jupyter" / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(kernel))

    def ask(self, path: str, method: str = "GET") -> Any:
        """The answer of the server's API."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.address}/api/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def answers(self) -> bool:
        """Whether the server is up."""
        try:
            self.ask("status")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def stop(self) -> None:
        """End the server and every kernel it still has."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class KernelClient:
    """A second connection to a kernel, beside the browser's.

    It speaks over plain sockets, because playwright's event loop already runs in the thread of the tests. Where the
    kernel has subshells (ipykernel 7) it asks on one, and so gets an answer while a cell runs.
    """

    def __init__(self, connection_file: Path):
        import zmq
        from jupyter_client.session import Session

        found = json.loads(connection_file.read_text())
        self.session = Session(key=found["key"].encode(), signature_scheme=found["signature_scheme"])
        self.context = zmq.Context()
        self.sockets = {}
        for channel in ("shell", "control"):
            self.sockets[channel] = self.context.socket(zmq.DEALER)
            self.sockets[channel].linger = 0
            self.sockets[channel].connect(f"tcp://{found['ip']}:{found[f'{channel}_port']}")
        about = self.ask("control", "kernel_info_request", {}, 30)
        self.subshell = None
        if "kernel subshells" in about.get("supported_features", []):
            self.subshell = self.ask("control", "create_subshell_request", {}, 30)["subshell_id"]

    def ask(self, channel: str, kind: str, content: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The content of the kernel's reply; TimeoutError after ``timeout`` seconds."""
        message = self.session.msg(kind, content)
        if channel == "shell" and self.subshell is not None:
            message["header"]["subshell_id"] = self.subshell
        self.session.send(self.sockets[channel], message)
        deadline = time.monotonic() + timeout
        while self.sockets[channel].poll(max(0, 1000 * (deadline - time.monotonic()))):
            _, reply = self.session.recv(self.sockets[channel])
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"]
        raise TimeoutError(f"The kernel did not answer {kind} within {timeout} s.")

    def value(self, expression: str, timeout: float) -> Any:
        """The value of an expression that JSON can say."""
        content = {
            "code": "",
            "silent": True,
            "store_history": False,
            "allow_stdin": False,
            "user_expressions": {"value": f"__import__('json').dumps({expression})"},
        }
        reply = self.ask("shell", "execute_request", content, timeout)
        found = reply.get("user_expressions", {}).get("value", reply)
        if found.get("status") != "ok":
            raise ValueError(f"{expression}: {found.get('ename')}: {found.get('evalue')}")
        return json.loads(ast.literal_eval(found["data"]["text/plain"]))

    def close(self) -> None:
        """Give the subshell and the sockets back."""
        if self.subshell is not None:
            content = {"subshell_id": self.subshell}
            self.session.send(self.sockets["control"], self.session.msg("delete_subshell_request", content))
        self.context.destroy(linger=200)


class Lab:
    """One notebook in JupyterLab, with a page and a kernel of its own."""

    def __init__(self, browser: Any, server: Server, *, width: int = 1280, height: int = 800):
        self.server = server
        self.name = uuid.uuid4().hex[:8]
        self.file = server.notebooks / f"{self.name}.ipynb"
        self.errors: list[str] = []
        self.expected: list[str] = []  # parts of errors that the test provokes
        self.elsewhere: list[str] = []
        self.client: KernelClient | None = None
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", self.heard)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))
        self.page.on("request", lambda request: self.asked(request.url))
        self.page.on("websocket", lambda connection: self.asked(connection.url))

    def heard(self, message: Any) -> None:
        """Keep an error of the console."""
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def asked(self, url: str) -> None:
        """Keep an address that is not this machine's."""
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != HERE:
            self.elsewhere.append(url)

    # The notebook

    def open(self, cells: Sequence[str] = (), *, kernel: str = "python3", file: Path | None = None) -> "Lab":
        """Write a notebook of code cells, or copy one, and open it with its kernel ready."""
        import nbformat

        if file is None:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
            notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
            nbformat.write(notebook, self.file)
        else:
            self.file.write_bytes(file.read_bytes())
        # A workspace of its own, so that nothing of another test is restored.
        place = f"lab/workspaces/{self.name}/tree/{self.file.name}"
        self.page.goto(f"{self.server.address}/{place}?token={self.server.token}")
        self.wait_until_ready()
        return self

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Wait until the notebook is on the page and its kernel has answered."""
        self.wait_for(
            "name => { const panel = window.jupyterapp?.shell.currentWidget;"
            " return panel?.context?.path === name && panel.context.isReady && panel.isVisible"
            " && panel.sessionContext.isReady && panel.sessionContext.session?.kernel?.connectionStatus === 'connected'"
            " && ['idle', 'busy'].includes(panel.sessionContext.session.kernel.status); }",
            self.file.name,
            timeout,
        )

    def wait_for(self, condition: str, argument: Any = None, timeout: float = 30) -> Any:
        """Wait until a condition in JavaScript holds; its value."""
        return self.page.wait_for_function(condition, arg=argument, timeout=1000 * timeout).json_value()

    def do(self, script: str, argument: Any = None, timeout: float = 60) -> None:
        """Do what a JavaScript function of (app, panel, argument) says, and wait until it is done."""
        self.start(script, argument)
        self.wait(timeout)

    def start(self, script: str, argument: Any = None) -> None:
        """Begin what a JavaScript function of (app, panel, argument) says, without waiting."""
        self.page.evaluate(
            f"argument => {{ const app = window.jupyterapp; window.started = {{}}; const mine = window.started;"
            f" Promise.resolve(({script})(app, app.shell.currentWidget, argument))"
            f".then(() => {{ mine.done = true; }}, error => {{ mine.done = true; mine.error = String(error); }}); }}",
            argument,
        )

    def wait(self, timeout: float = 60) -> None:
        """Wait until what was begun last (a cell, a restart) is done."""
        self.wait_for("() => window.started.done", timeout=timeout)
        error = self.page.evaluate("window.started.error ?? null")
        if error is not None:
            raise RuntimeError(error)

    def begin(self, index: int) -> None:
        """Start a cell and do not wait for its end; `wait` does."""
        self.start(
            "(app, panel, index) => { panel.content.deselectAll(); panel.content.activeCellIndex = index;"
            " return app.commands.execute('notebook:run-cell'); }",
            index,
        )

    def run(self, index: int, timeout: float = 60) -> None:
        """Run a cell and wait until it is done. Raises RuntimeError with the kernel's words if it failed."""
        self.begin(index)
        self.wait(timeout)
        self.look_at_outputs(index)

    def look_at_outputs(self, *indices: int) -> None:
        """Raise RuntimeError if the output of one of these cells, or of any, is an error."""
        found = self.page.evaluate(
            "indices => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.flatMap((cell, i) =>"
            " indices.length && !indices.includes(i) ? [] : (cell.toJSON().outputs ?? []).filter(output =>"
            " output.output_type === 'error').map(output => output.traceback.join('\\n')))",
            list(indices),
        )
        if found:
            raise RuntimeError("\n".join(found))

    def run_all(self, timeout: float = 120) -> None:
        """Run all cells."""
        self.do("app => app.commands.execute('notebook:run-all-cells')", timeout=timeout)
        self.look_at_outputs()

    def wait_until_idle(self, timeout: float = 60) -> None:
        """Wait until no cell runs or waits."""
        self.wait_for(
            "() => !window.jupyterapp.shell.currentWidget.content.widgets.some(cell => cell.promptNode"
            "?.textContent.includes('*')) && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
            " === 'idle'",
            timeout=timeout,
        )

    def cell(self, index: int) -> Any:
        """The element of a cell."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Any:
        """The element of a cell's output."""
        return self.cell(index).locator(".jp-Cell-outputWrapper .jp-OutputArea").first

    def add(self, source: str) -> int:
        """Add a code cell at the end; its index."""
        self.do(
            "(app, panel, source) => { panel.content.model.sharedModel.addCell("
            "{cell_type: 'code', source, metadata: {trusted: true}}); }",
            source,
        )
        return self.page.evaluate("window.jupyterapp.shell.currentWidget.content.model.cells.length - 1")

    def save(self) -> None:
        """Save the notebook."""
        self.do("(app, panel) => panel.context.save()")

    def reload(self) -> None:
        """Save the notebook and load the page again; the kernel lives on."""
        self.save()
        self.page.reload()
        self.wait_until_ready()

    def close_and_reopen(self) -> None:
        """Save the notebook, close it and open it again; the kernel lives on."""
        self.save()
        self.do("(app, panel) => panel.close()")
        self.page.locator(".jp-NotebookPanel").wait_for(state="detached")
        self.do("(app, panel, path) => app.commands.execute('docmanager:open', {path})", self.file.name)
        self.wait_until_ready()

    def set_theme(self, theme: str) -> None:
        """Change the theme, "light" or "dark"."""
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
        self.do("(app, panel, theme) => app.commands.execute('apputils:change-theme', {theme})", name)
        self.wait_for("light => document.body.dataset.jpThemeLight === light", str(theme == "light").lower())

    def screenshot(self, name: str) -> None:
        """Save a picture of the page to the folder that KA_EXPLORE_SCREENSHOTS names, if it does."""
        folder = os.environ.get("KA_EXPLORE_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    # The kernel

    def kernel_id(self) -> str:
        """The server's name of the notebook's kernel."""
        return next(found["kernel"]["id"] for found in self.server.ask("sessions") if found["path"] == self.file.name)

    def kernel_value(self, expression: str, timeout: float = 30) -> Any:
        """The value of a Python expression in the kernel, as JSON says it.

        With ipykernel 7 also while a cell runs; with ipykernel 6 it waits for the end of the cell.
        """
        if self.client is None:
            self.client = KernelClient(self.server.runtime / f"kernel-{self.kernel_id()}.json")
        return self.client.value(expression, timeout)

    def forget_client(self) -> None:
        """Close the second connection to the kernel."""
        if self.client is not None:
            self.client.close()
            self.client = None

    def restart_kernel(self) -> None:
        """Restart the kernel; the outputs stay."""
        self.forget_client()
        self.do("(app, panel) => panel.sessionContext.restartKernel()")
        self.wait_until_ready()

    def close(self) -> None:
        """Close the page and shut the kernel down."""
        self.forget_client()
        self.context.close()
        for session in self.server.ask("sessions"):
            if session["path"] == self.file.name:
                self.server.ask(f"sessions/{session['id']}", "DELETE")

    def check(self) -> None:
        """Fail if the console showed an error or another host was asked."""
        surprising = [error for error in self.errors if not any(part in error for part in self.expected)]
        assert surprising == [], "the browser's console shows errors"
        assert self.elsewhere == [], "another host was asked"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for all tests of this process."""
    pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install jupyterlab")
    started = Server(tmp_path_factory.mktemp("jupyterlab"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """One browser for all tests of this process, which have pages of their own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture
def lab(request: pytest.FixtureRequest, browser: Any, server: Server) -> Iterator[Lab]:
    """A page for one notebook; at the end no error stands in its console and no other host was asked.

    Its width and height in pixels can be given as the fixture's parameter.
    """
    width, height = getattr(request, "param", (1280, 800))
    opened = Lab(browser, server, width=width, height=height)
    yield opened
    opened.screenshot(f"{opened.name}-end")
    opened.close()
    opened.check()


@pytest.fixture(scope="module")
def shared_lab(browser: Any, server: Server) -> Iterator[Lab]:
    """A page for one notebook that the tests of a file use one after another; what each of them checks is its own."""
    opened = Lab(browser, server)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def ipykernel6() -> str:
    """The name of the kernel of ipykernel 6."""
    if not folder_of_ipykernel6().is_dir():
        folder = Path(sys.prefix) / "ipykernel6"
        pytest.skip(
            f"needs ipykernel 6 beside the installed one: pip install --no-deps --target {folder} ipykernel==6.31.0 "
            "nest-asyncio, or name its folder in KA_EXPLORE_IPYKERNEL6."
        )
    return "ipykernel6"


@pytest.fixture(params=("python3", "ipykernel6"))
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a kernel: this environment's ipykernel, then ipykernel 6."""
    return request.getfixturevalue("ipykernel6") if request.param == "ipykernel6" else request.param


@pytest.fixture(scope="session")
def bridge(browser: Any) -> Callable[..., Any]:
    """``bridge(session, *panels, dark=False, size=(1280, 800))``: panels of one session in a page, see bridge.py."""
    spec = importlib.util.spec_from_file_location("ka_explore_bridge", Path(__file__).parent / "bridge.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def open_page(session: Any, *panels: Any, dark: bool = False, size: tuple[int, int] = (1280, 800)) -> Any:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        made = module.Bridge(page, session, dark=dark)
        for panel in panels:
            made.add(panel, type(panel).__name__.lower())
        return made

    return open_page
