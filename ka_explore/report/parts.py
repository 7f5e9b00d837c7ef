"""What a page is made of: chapters of sections of parts; what they look like is said in the templates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

MISSING = "–"
NUMBER = re.compile(rf"[-−+]?[\d.,]*\d(e[-+]?\d+)?( %)?|{MISSING}")


@dataclass(frozen=True)
class Words:
    """A paragraph, not yet escaped; `quiet` and `missing` say what their tones are for."""

    text: str
    tone: Literal["plain", "quiet", "missing"] = "plain"


def quiet(text: str) -> Words:
    """How to read what follows."""
    return Words(text, "quiet")


def missing(text: str) -> Words:
    """What is not there, and how to get it."""
    return Words(text, "missing")


@dataclass(frozen=True)
class Table:
    """Rows of text under a head as long as they; some, by their places, stand out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()

    @property
    def numbers(self) -> frozenset[int]:
        """Places of the columns of numbers, which stand to the right; never the first."""
        columns = enumerate(zip(*self.rows, strict=True))
        numbers = (i for i, cells in columns if set(cells) != {MISSING} and all(map(NUMBER.fullmatch, cells)))
        return frozenset(numbers) - {0}


@dataclass(frozen=True)
class Picture:
    """A figure, called by what it shows, also as a file; its width in pixels on a screen, 0 for the whole column."""

    name: str
    data: bytes
    kind: Literal["png", "svg"]
    caption: str = ""
    width: int = 0


@dataclass(frozen=True)
class Film:
    """Frames that can be scrubbed.

    The fragment is HTML that is safe as it stands (see `ka_explore.plots.film`); the still shows a few frames side by
    side, for paper, Markdown, and where scripts are off.
    """

    fragment: str
    still: Picture
    caption: str = ""


@dataclass(frozen=True)
class Exhibit:
    """An image of the pool and what is said of it, by who says it."""

    picture: Picture
    title: str
    said: Mapping[str, str]


@dataclass(frozen=True)
class Gallery:
    """Images beside one another."""

    exhibits: Sequence[Exhibit]


@dataclass(frozen=True)
class Code:
    """Code or commands to copy."""

    text: str


@dataclass(frozen=True)
class Card:
    """Something with a grade and a title that stands by itself: a finding."""

    grade: str
    title: str
    parts: "Sequence[Part]"


@dataclass(frozen=True)
class Folded:
    """More of it, for who wants to see it; open on paper."""

    title: str
    parts: "Sequence[Part]"


Part = Words | Table | Picture | Film | Gallery | Code | Card | Folded


@dataclass(frozen=True)
class Section:
    """A title and what stands under it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Chapter:
    """Sections under a title of their own; without a title they stand by themselves."""

    title: str
    sections: Sequence[Section]
