"""README and the pages under docs/, cut into what the tests look at: code, links, headings, paragraphs and tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "console", "sh")


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @property
    def name(self) -> str:
        """Path within the repository."""
        return self.path.relative_to(ROOT).as_posix() if self.path.is_relative_to(ROOT) else self.path.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def languages(self) -> list[str]:
        """Language of each fenced block, empty where none is named."""
        return re.findall(r"^```(\w*)\n.*?^```$", self.text, re.M | re.S)

    def code(self, *languages: str) -> list[str]:
        """Contents of the fenced blocks in one of these languages."""
        found = re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.M | re.S)
        return [content for language, content in found if language in languages]

    @property
    def prose(self) -> str:
        """Text with every line of a fenced block made empty, so that lines keep their numbers."""
        return re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), self.text, flags=re.M | re.S)

    @property
    def links(self) -> list[str]:
        """Targets of all links and images that are not addresses in the web."""
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", self.prose) if not link.startswith("http")]

    @property
    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub makes them."""
        titles = re.findall(r"^#+ (.*)$", self.prose, re.M)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def shell(self) -> list[list[str]]:
        """Lines of the shell blocks as words, without prompts, comments, and settings of the environment."""
        lines = [line.removeprefix("$ ") for block in self.code(*SHELLS) for line in block.splitlines()]
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in (_without_settings(line) for line in words) if line]

    def commands(self, program: str) -> list[list[str]]:
        """Arguments of each line that starts with this program, or comes behind `&&` with it."""
        return [words[1:] for words in self.shell() if words[0] == program]


def _without_settings(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    return words


def pages() -> Iterator[Page]:
    """README first, then the pages under docs/."""
    yield Page(ROOT / "README.md")
    yield from (Page(path) for path in sorted((ROOT / "docs").glob("*.md")))


PAGES = list(pages())
README = PAGES[0]
