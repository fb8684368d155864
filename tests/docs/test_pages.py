"""README and all pages under docs/: commands parse, Python compiles, links and anchors lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gearshift.__main__ import parse
from tests.docs.pages import PAGES, README, ROOT, SHELLS, Page

COMMANDS = next(page for page in PAGES if page.name == "docs/commands.md")
LINKS = [(page, link) for page in PAGES for link in page.links]
LINES = [(page, words) for page in PAGES for words in page.commands("gearshift")]
LAUNCHED = [
    (page, words[words.index("gearshift") + 1 :])
    for page in PAGES
    for words in page.shell()
    if words[0] in ("accelerate", "torchrun", "python") and "gearshift" in words
]


def told(value: object) -> str:
    """Name of a parameter."""
    return value.name if isinstance(value, Page) else " ".join(value) if isinstance(value, list) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=told)
def test_every_block_of_code_is_closed_and_of_a_known_language(page: Page) -> None:
    assert set(page.languages) <= {"python", "toml", "json", "", *SHELLS}
    assert len(re.findall(r"^```", page.text, re.M)) == 2 * len(page.languages)


@pytest.mark.parametrize("page", PAGES, ids=told)
def test_python_compiles(page: Page) -> None:
    for block in page.code("python"):
        compile(block, page.name, "exec")


def test_the_python_of_the_engine_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (engine,) = (page for page in PAGES if page.name == "docs/engine.md")
    for block in engine.code("python"):
        exec(compile(block, engine.name, "exec"), {"__name__": "__main__"})
        assert capsys.readouterr().out


def test_there_are_commands_to_check() -> None:
    assert {words[0] for _, words in LINES} >= {"train", "export", "verify", "run", "trim", "prune", "search"}
    assert LAUNCHED


@pytest.mark.parametrize(("page", "words"), LINES + LAUNCHED, ids=told)
def test_every_command_parses(page: Page, words: list[str]) -> None:
    assert callable(parse(words).command)


@pytest.mark.parametrize("name", re.findall(r"^\| `gearshift ([\w-]+)` \|", COMMANDS.text, re.M))
def test_every_command_of_the_table_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: gearshift {name}")


def test_the_table_of_commands_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    helped = re.findall(r"^    ([\w-]+)\s{2,}\S", capsys.readouterr().out, re.M)
    assert re.findall(r"^\| `gearshift ([\w-]+)` \|", COMMANDS.text, re.M) == helped


def test_every_target_of_make_exists() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {word for page in PAGES for words in page.commands("make") for word in words if "=" not in word}
    named |= {name for page in PAGES for name in re.findall(r"`make\s+([\w-]+)", page.text)}
    assert named >= {"demo", "test"}
    assert named <= set(targets)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=told)
def test_every_link_leads_to_a_file_and_to_a_heading(page: Page, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    assert target.exists()
    assert target.is_relative_to(ROOT)
    if anchor:
        assert anchor in Page(target).anchors


def test_every_path_of_a_command_that_lies_in_the_repository_exists() -> None:
    folders = ("tests/", "examples/", "benchmarks/")
    words = {word for page in PAGES for line in page.shell() for word in line if word.startswith(folders)}
    assert words
    assert [word for word in sorted(words) if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=told)
def test_pictures_say_what_they_show(page: Page) -> None:
    assert [alt for alt in re.findall(r"!\[([^\]]*)\]\(", page.text) if len(alt.split()) < 4] == []


def test_the_picture_of_the_idea_is_shown_in_light_and_dark() -> None:
    assert "docs/idea.svg" in README.links
    picture = (ROOT / "docs" / "idea.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in picture
    assert "<title" in picture and "<desc" in picture


def test_a_heading_becomes_the_anchor_that_github_makes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# CPU or GPU?\n\n```bash\n# no heading\n```\n\n## `tables.json` of a search\n")
    assert Page(page).anchors == {"cpu-or-gpu", "tablesjson-of-a-search"}
