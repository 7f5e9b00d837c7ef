"""The page: parts become HTML or Markdown, and names from users stay text in both."""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import jinja2

from ka_explore.report.parts import Card, Chapter, Film, Folded, Gallery, Part, Picture


def html_page(title: str, lead: str, chapters: Sequence[Chapter]) -> str:
    """One page that needs nothing from anywhere."""
    return page("report.html", title=title, lead=lead, chapters=keyed(chapters))


def markdown_page(title: str, lead: str, chapters: Sequence[Chapter], figures: Mapping[int, str]) -> str:
    """The same as Markdown; ``figures`` says where each picture lies, by its ``id``."""
    text = page("report.md", title=title, lead=lead, chapters=keyed(chapters), figures=figures)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def page(template: str, **words: Any) -> str:
    """A template filled in; what goes into HTML is escaped."""
    loader, html = jinja2.PackageLoader("ka_explore.report", ""), template.endswith("html")
    environment = jinja2.Environment(loader=loader, autoescape=html, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"form": lambda part: type(part).__name__.lower(), "data_of": data_of}
    environment.filters |= {"escaped": escaped, "verbatim": verbatim, "address": id}
    return environment.get_template(template).render(**words)


def keyed(chapters: Sequence[Chapter]) -> list[dict[str, Any]]:
    """Chapters and sections with the anchors that the table of contents points to: numbers, as names are users'."""
    found = []
    for i, chapter in enumerate(chapters, start=1):
        numbered = enumerate(chapter.sections, start=1)
        sections = [{"title": one.title, "key": f"section-{i}-{j}", "parts": one.parts} for j, one in numbered]
        found.append({"title": chapter.title, "key": f"chapter-{i}", "sections": sections})
    return found


def pictures_of(chapters: Sequence[Chapter]) -> list[Picture]:
    """Every picture of the page, in order."""

    def inside(part: Part) -> list[Picture]:
        if isinstance(part, Picture):
            return [part]
        if isinstance(part, Film):
            return [part.still]
        if isinstance(part, Gallery):
            return [exhibit.picture for exhibit in part.exhibits]
        if isinstance(part, (Card, Folded)):
            return [picture for inner in part.parts for picture in inside(inner)]
        return []

    parts = [part for chapter in chapters for section in chapter.sections for part in section.parts]
    return [picture for part in parts for picture in inside(part)]


def file_name(text: str) -> str:
    """A text as part of a file's name on any system."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60]


def data_of(picture: Picture) -> str:
    """A picture as an address that holds it."""
    kind = {"png": "image/png", "svg": "image/svg+xml"}[picture.kind]
    return f"data:{kind};base64,{base64.b64encode(picture.data).decode()}"


def escaped(text: object) -> str:
    """A text as Markdown that shows it as it is, on one line: no markup, no HTML, no mathematics, no new cell."""
    line = escape(" ".join(str(text).split()), quote=False)
    line = re.sub(r"([\\`*_\[\]{}|$~#!])", r"\\\1", line)
    line = re.sub(r"\b(https?|ftp|www)([:.])", r"\1\\\2", line)  # what looks like an address stays text
    return re.sub(r"^(\s*)([-+]|\d+[.)])(?=\s)", lambda m: f"{m[1]}{m[2][:-1]}\\{m[2][-1]}", line)


def verbatim(text: str) -> str:
    """Code as Markdown: four blanks before each line; as HTML where it holds what HTML would read as its own."""
    if re.search(r"[<&]", text):
        return f"<pre><code>{escape(text, quote=False)}\n</code></pre>"
    return "\n".join("    " + line for line in text.splitlines())
