"""Panels in a page of their own, without Jupyter: traits go to the page, messages to the session."""

import base64
import json
import time
from pathlib import Path
from string import Template
from typing import Any

PAGE = Template((Path(__file__).parent / "bridge.html").read_text(encoding="utf-8"))

# JupyterLab's colours of a dark theme
DARK = (
    "--jp-layout-color0: #111111; --jp-layout-color1: #212121; --jp-content-font-color0: #eeeeee; "
    "--jp-content-font-color2: #bbbbbb; --jp-border-color1: #616161; --jp-brand-color1: #2196f3; background: #111111;"
)
OTHERS = ("channel", "layout", "comm", "tabbable", "tooltip")  # what is not the panel's own


def packed(state: dict[str, Any]) -> dict[str, Any]:
    """A state as JSON; bytes as base64, other widgets left out."""
    out = {}
    for name, value in state.items():
        if isinstance(value, (bytes, bytearray, memoryview)):
            out[name] = {"__bytes__": base64.b64encode(bytes(value)).decode()}
        else:
            try:
                json.dumps(value)
            except TypeError:
                continue  # layout and other widgets
            out[name] = value
    return out


class Bridge:
    """Panels of one session in a playwright page (sync API).

    bridge = Bridge(page, session); bridge.add(panel, "points"); page.click(…); bridge.pump(0.5)
    Trait changes and custom messages made on other threads are handed to the page by `pump`.
    """

    def __init__(self, page: Any, session: Any, *, dark: bool = False):
        self.page, self.session, self.pending = page, session, []
        self.messages: list[dict[str, Any]] = []
        self.console: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda e: self.console.append(f"pageerror: {e}"))
        page.expose_function("toPython", self._receive)
        page.set_content(PAGE.substitute(theme=DARK if dark else "", dark="dark" if dark else ""))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.console.append(f"{message.type}: {message.text}")

    def _receive(self, text: str) -> None:
        message = json.loads(text)
        self.messages.append(message)
        self.session.receive(message)

    def add(self, panel: Any, name: str) -> None:
        state = {k: v for k, v in panel.get_state().items() if k in panel.keys and not k.startswith("_")}
        state["channel"] = "IPY_MODEL_channel"
        script = "([name, script, style, state]) => addPanel(name, script, style, state)"
        self.page.evaluate(script, [name, panel._esm, getattr(panel, "_css", ""), packed(state)])

        def changed(change: Any) -> None:
            self.pending.append(("state", name, {change["name"]: change["new"]}))

        panel.observe(changed, [name for name in panel.keys if not name.startswith("_") and name not in OTHERS])
        panel.send = lambda content, buffers=None: self.pending.append(("message", name, content, buffers or []))

    def pump(self, seconds: float = 0.0) -> None:
        """Let the page run for so long and hand it what Python changed."""
        until = time.monotonic() + seconds
        while True:
            while self.pending:
                kind, name, *rest = self.pending.pop(0)
                if kind == "state":
                    self.page.evaluate("([i, s]) => setState(i, s)", [name, packed(rest[0])])
                else:
                    buffers = [base64.b64encode(bytes(b)).decode() for b in rest[1]]
                    self.page.evaluate("([i, c, b]) => message(i, c, b)", [name, rest[0], buffers])
            if time.monotonic() >= until:
                return
            self.page.wait_for_timeout(20)
