"""Every figure of README and docs is in the result file that it links; the check itself notices a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs import figures
from tests.docs.figures import Group, groups, linked, path_of, problems, wrong_figures
from tests.docs.numbers import changed, cleaned, numbers
from tests.docs.pages import PAGES, ROOT, Page

CHECKED = [page for page in PAGES if page.name != "docs/decision.md"]
"""All but the page whose numbers `test_decision_page.py` compares with what the code makes of its log."""


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.name)
def test_every_figure_is_in_the_file_it_links(page: Page) -> None:
    assert wrong_figures(page) == []


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.name)
def test_every_file_that_a_comment_names_is_linked_on_the_page(page: Page) -> None:
    named = {path_of(source) for group in groups(page) for source in group.annotation.sources}
    reachable = {(page.path.parent / link.partition("#")[0]).resolve() for link in page.links}
    assert {path.relative_to(ROOT).as_posix() for path in named - reachable} == set()


def test_nearly_every_wrong_last_digit_is_noticed() -> None:
    """Few figures are so common in their file that their neighbour is there too."""
    checked = [group for page in CHECKED for group in groups(page) if group.sources]
    tried = [(group, number) for group in checked for number in range(len(group.figures))]
    unnoticed = sum(not problems(_with_a_wrong_figure(*each)) for each in tried)
    assert len(tried) > 800
    assert unnoticed / len(tried) < 0.2


def _with_a_wrong_figure(group: Group, number: int) -> Group:
    wrong = [changed(each) if at == number else each for at, each in enumerate(group.figures)]
    return Group(group.line, wrong, group.sources, group.annotation, group.together)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of results for pages of a test."""
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    (tmp_path / "speed.md").write_text(
        "| net | ms | share |\n|---|---|---|\n| a | 1.234 | -7.5 % |\n| b | 20 | 0.999 |\n"
    )
    (tmp_path / "raw.json").write_text(json.dumps({"fast": {"share": 0.12345}, "slow": {"share": 0.5, "n": 12345}}))
    return tmp_path


def wrong(written: Path, text: str) -> list[str]:
    """Problems of a page with this text, without their places."""
    path = written / "page.md"
    path.write_text(text)
    return [line.split(": ", 1)[1] for line in wrong_figures(Page(path))]


LINK = "[speed](../benchmarks/results/speed.md)"


@pytest.mark.parametrize("said", ["1.234 ms", "1.23 ms", "1.2 ms", "7.5 %", "-7.5 %", "8 %", "99.9 %", "20 ms"])
def test_a_figure_may_be_rounded_and_a_share_told_in_percent(written: Path, said: str) -> None:
    assert wrong(written, f"It takes {said} ({LINK}).") == []


@pytest.mark.parametrize("said", ["1.235 ms", "1.24 ms", "1.3 ms", "7.6 %", "+7.5 %", "99.8 %", "21 ms", "1,234 ms"])
def test_a_wrong_figure_is_told(written: Path, said: str) -> None:
    assert wrong(written, f"It takes {said} ({LINK}).") == [f"{said.split()[0]} is not in speed.md"]


def test_the_place_of_a_wrong_figure_is_told(written: Path) -> None:
    (written / "page.md").write_text(f"# Title\n\nFine.\n\n* Fine {LINK}.\n* 3.5 ms, {LINK}.\n")
    assert wrong_figures(Page(written / "page.md")) == ["page.md:6: 3.5 is not in speed.md"]


def test_a_figure_without_a_result_file_is_told(written: Path) -> None:
    assert wrong(written, "It takes 1.2 ms.") == ["1.2 has no result file"]
    assert wrong(written, f"See {LINK}.\n\nIt takes 1.2 ms.") == ["1.2 has no result file"]


def test_a_link_to_no_file_is_an_error(written: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wrong(written, "It takes 1.2 ms ([a](../benchmarks/results/none.md)).")


def test_a_table_takes_the_links_of_its_row_or_of_the_paragraph_before(written: Path) -> None:
    table = "| | ms |\n|---|---|\n| a | {} |\n"
    assert wrong(written, f"{LINK}:\n\n{table.format('1.23')}") == []
    assert wrong(written, table.format(f"1.23 {LINK}")) == []
    assert wrong(written, f"{LINK}:\n\n{table.format('1.24')}") == ["1.24 is not in speed.md"]
    assert wrong(written, table.format("1.23")) == ["1.23 has no result file"]


def test_cells_are_figures_whatever_they_look_like_and_labels_are_not(written: Path) -> None:
    assert wrong(written, f"{LINK}:\n\n| 5 | 6 |\n|---|---|\n| 7 b | 21 |\n") == ["21 is not in speed.md"]


def test_names_versions_code_and_plain_counts_are_no_figures() -> None:
    text = "int8 of MiniLM-L6 in `0.5` with onnxruntime 1.32.0, SST-2 and WNUT-17, w050-d100, 12 subnets, release 3.4.5"
    assert numbers(cleaned(text), only_figures=True) == []
    assert [each.text for each in numbers("1 to 2 %, 3 / 4 ms, 5 and more", only_figures=True)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(("by", "row", "told"), [("row", "1.23 | -7.5 %", ""), ("row", "1.23 | 20", "1.23, 20")])
def test_by_row_a_row_has_to_stand_on_one_line(written: Path, by: str, row: str, told: str) -> None:
    page = f"<!-- figures: from speed.md; by {by} -->\n| | a | b |\n|---|---|---|\n| x | {row} |\n"
    assert wrong(written, page) == ([f"no line of speed.md has all of {told}"] if told else [])


def test_by_cell_a_cell_has_to_stand_on_one_line(written: Path) -> None:
    page = "<!-- figures: from speed.md; by cell -->\n| | a | b |\n|---|---|---|\n| x | 1.23 (7.5) | {} |\n"
    assert wrong(written, page.format("20 / 1.00")) == []
    assert wrong(written, page.format("20 / 1.23")) == ["no line of speed.md has all of 20, 1.23"]


def test_a_source_may_be_kept_to_some_of_its_lines_or_keys(written: Path) -> None:
    assert wrong(written, "<!-- figures: from speed.md[| a |] -->\n1.2 ms\n") == []
    assert wrong(written, "<!-- figures: from speed.md[| b |] -->\n1.2 ms\n") == ["1.2 is not in speed.md[| b |]"]
    assert wrong(written, "<!-- figures: from raw.json[fast.share] -->\n12.3 %\n") == []
    assert wrong(written, "<!-- figures: from raw.json[slow] -->\n12.3 %\n") == ["12.3 is not in raw.json[slow]"]


def test_a_sum_is_computed_as_exactly_as_its_figures_are_printed(written: Path) -> None:
    page = "<!-- figures: from speed.md; {} -->\nIt is {}.\n"
    assert wrong(written, page.format("18.8 = 20 - 1.234", "18.8 ms")) == []
    assert wrong(written, page.format("16.2 = 20 / 1.234", "16.2 times")) == []
    assert wrong(written, page.format("17.9 = 20 - 1.234", "17.9 ms"))[0].startswith("17.9 is not 20 - 1.234")
    with pytest.raises(ValueError, match=r"^1 - 5\.5: 5\.5 is in none of the files$"):
        wrong(written, page.format("2 = 1 - 5.5", "2 ms"))


def test_a_comment_that_gives_what_is_not_printed_is_told(written: Path) -> None:
    page = "<!-- figures: set 3, 4; from speed.md; 8 = 4 + 4 -->\nIt is {} ms.\n"
    assert wrong(written, page.format("3 and 8")) == []
    assert wrong(written, page.format("8")) == ["3 of the comment is not printed"]
    assert wrong(written, page.format("3")) == ["8 of the comment is not printed"]


def test_a_unit_may_stand_on_the_next_line(written: Path) -> None:
    assert wrong(written, "It takes 3\nms.") == ["3 has no result file"]


def test_a_comment_that_cannot_be_read_is_an_error(written: Path) -> None:
    with pytest.raises(ValueError, match="found 'measured 3'"):
        wrong(written, "<!-- figures: measured 3 -->\nIt is 3 ms.\n")


def test_only_links_into_the_results_are_sources() -> None:
    assert linked(f"{LINK} [b](benchmarks/results/raw.json#x) [c](decision.md) [d](../benchmarks/results/p.png)") == [
        "speed.md",
        "raw.json",
    ]
