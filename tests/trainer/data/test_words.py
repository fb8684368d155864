"""The rule of words that is learnt from tagged rows, and rows that are cut by it."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearshift.errors import DataError
from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.words import WordRule
from gearshift.trainer.data.rows import Row, Tags
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.data.words import cut_rows, learn_rule, starts_of, words_of


def row(words: str, tags: str = "") -> Row:
    listed = words.split("|")
    return Row(" ".join(listed), None, Tags(starts_of(listed), tuple(tags.split() or ["O"] * len(listed))))


def rule_of(*rows: str) -> WordRule:
    return learn_rule([row(words) for words in rows])


NEWS = (
    'Mr.|Li|of|the|U.N.|said|:|"|No|,|thanks|.|"',
    "Mr.|Berg|(|Acme|Corp.|)|gave|$|5|,|or|3.5|%|.",
    "He|ran|.",
    "Acme|Corp.|of|Karl-Anna|'s|city|is|Ann|'s|!",
)
TWEETS = ("@anna|:|I|can't|#wait|!|!|:)", "RT|@bob|:|Bob's|car|:)|...", "@eve|#yes|$5|Eve's|&|you")
BLANKS = ("I|live|in|Berlin.|", 'She|said:|"No,|thanks."', "(Really?)|Yes.")  # cut at blanks alone


@pytest.mark.parametrize(
    ("rows", "text", "words"),
    [
        (
            NEWS,
            'Mr. Wu ("Karl-Anna") of Acme Corp. has $5, i.e. 7% of the U.S.',
            'Mr.|Wu|(|"|Karl-Anna|"|)|of|Acme|Corp.|has|$|5|,|i.e.|7|%|of|the|U.S.',
        ),
        (NEWS, "Eve's dog ran.", "Eve|'s|dog|ran|."),
        (TWEETS, "@carl: Carl's $9 #now! ok :)", "@carl|:|Carl's|$9|#now|!|ok|:)"),
        (BLANKS[1:], 'He said: "Berlin."', 'He|said:|"Berlin."'),
        (
            ("turn|on|the|lights", "play|a|song"),
            "Play 'it', (now)! @eve #tag $5 50%",
            "Play|'|it|'|,|(|now|)|!|@eve|#tag|$5|50|%",
        ),
        (("张|三|在|北|京|。", "in|北|京"), "张三在北京。", "张|三|在|北|京|。"),
        (("张三|在|北京|。",), "张三 在 北京。", "张三|在|北京|。"),
        (
            ("so|cool|\U0001f600|\U0001f600", "yes|\U0001f389"),
            "Berlin\U0001f600, wow\U0001f680", "Berlin|\U0001f600|,|wow|\U0001f680",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_a_text_is_cut_as_the_words_of_training_are(rows: Sequence[str], text: str, words: str) -> None:
    assert rule_of(*rows).words(text) == words.split("|")


@pytest.mark.parametrize("rows", [NEWS, TWEETS, BLANKS[1:]], ids=["news", "tweets", "blanks"])
def test_words_that_training_has_often_stay_as_they_are(rows: Sequence[str]) -> None:
    rule = rule_of(*rows, *rows)
    for words in rows:
        assert rule.words(words.replace("|", " ")) == words.split("|")


def test_a_word_with_a_mark_that_mostly_stands_alone_is_a_slip() -> None:
    rows = [*["in|Berlin|."] * 3, *["in|Berlin."] * 2, *["by|St.|Paul|."] * 2]
    assert rule_of(*rows).kept == {"St."}


def test_words_of_languages_without_blanks_are_characters_unless_training_has_whole_ones() -> None:
    assert rule_of("plain|words").longest_ideographs == 0
    assert rule_of("张|三|in|Berlin").longest_ideographs == 0
    assert rule_of("张三|in|北京市").longest_ideographs == 3


RULE = WordRule(after={".": True, "!": True})
LABELS = {
    "IOB2": ("O", "B-x", "I-x"),
    "IOBES": ("O", "B-x", "I-x", "E-x", "S-x"),
    "BILOU": ("O", "B-x", "I-x", "L-x", "U-x"),
    "plain": ("O", "x"),
}


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("IOB2", "B-x O", "B-x I-x O"),
        ("IOB2", "I-x B-x", "I-x I-x B-x"),
        ("IOBES", "S-x S-x", "B-x E-x S-x"),
        ("IOBES", "B-x E-x", "B-x I-x E-x"),
        ("IOBES", "E-x O", "I-x E-x O"),
        ("BILOU", "U-x O", "B-x L-x O"),
        ("plain", "x O", "x x O"),
        ("plain", "O x", "O O x"),
    ],
)
def test_the_pieces_of_a_word_make_up_its_entity(name: str, tags: str, expected: str) -> None:
    (cut,) = cut_rows([row("Corp.|a", tags)], Tagging(RULE, Scheme(name)), LABELS[name])
    assert cut == row("Corp|.|a", expected)


def test_a_tag_that_training_lacks_is_not_made_up() -> None:
    tagging = Tagging(RULE, Scheme("IOB2"))
    (cut,) = cut_rows([row("Corp.|a", "B-x O")], tagging, ("O", "B-x"))
    assert cut == row("Corp|.|a", "B-x O O")
    (cut,) = cut_rows([row("Corp.|a", "B-y O")], tagging, ("O", "B-x"))  # no tag of training to begin with
    assert cut == row("Corp|.|a", "B-y I-y O")


def test_a_word_with_a_blank_inside_is_several() -> None:
    (cut,) = cut_rows([row("New York|a", "B-x O")], Tagging(RULE, Scheme("IOB2")), LABELS["IOB2"])
    assert cut == row("New|York|a", "B-x I-x O")


def test_rows_that_are_cut_need_no_cut() -> None:
    rows = [row("Corp.|a|!", "B-x O O"), row("a|b")]
    tagging = Tagging(RULE, Scheme("IOB2"))
    cut = cut_rows(rows, tagging, LABELS["IOB2"])
    assert cut_rows(cut, tagging, LABELS["IOB2"]) == cut
    assert cut[1] is rows[1]
    assert [words_of(one) for one in cut] == [["Corp", ".", "a", "!"], ["a", "b"]]


def write(folder: Path, **splits: Sequence[tuple[str, str]]) -> Path:
    for split, rows in splits.items():
        records = ({"tokens": words.split("|"), "ner_tags": tags.split()} for words, tags in rows)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def read(folder: Path) -> DataSet:
    return read_data(folder, task="token-classification")


def test_all_splits_are_cut_by_the_rule_of_the_training_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    train = [("in|Berlin|.", "O S-x O")] * 3 + [("New York|Inc.", "B-x E-x"), ("a|b|c", "B-x I-x E-x")]
    data = read(write(tmp_path, train=train, dev=[("Ann.|a", "S-x O")], test=[("Bob|a!", "O O")]))
    assert data.tagging is not None
    assert data.tagging.scheme == Scheme("IOBES")
    assert data.facts["tagging"] == data.tagging.to_dict()
    assert data.splits["train"][3] == row("New|York|Inc|.", "B-x I-x I-x E-x")
    assert data.splits["dev"] == (row("Ann|.|a", "B-x E-x O"),)
    assert data.splits["test"] == (row("Bob|a|!", "O O O"),)
    (note,) = data.notes
    assert note == "2 of 14 training words, such as 'New York', are cut as a device cuts them from a text"
    assert note in caplog.text


def test_a_rule_that_is_given_is_not_learnt(tmp_path: Path) -> None:
    folder = write(tmp_path, train=[("in|Berlin|.", "O B-x O")], dev=[("Ann.", "B-x")], test=[("Ann.", "B-x")])
    data = read_data(folder, task="token-classification", words=WordRule())
    assert data.tagging == Tagging(WordRule(), Scheme("IOB2"))
    assert data.splits["test"] == (row("Ann.", "B-x"),)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("O B-x city", r"tags: 'B-x' says where an entity begins and 'city' does not; expected one scheme"),
        ("I-x L-x S-x", r"tags: the prefixes I, L, S are of no scheme; expected those of"),
        ("o b-x i-x", r"tags: 'b-x' has a small prefix; expected capitals"),
    ],
)
def test_tags_of_no_scheme_are_refused_with_their_folder(tmp_path: Path, tags: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}: {message}"):
        read(write(tmp_path, train=[("a|b|c", tags)] * 2, dev=[("a|b|c", tags)], test=[("a|b|c", tags)]))


@pytest.mark.parametrize("word", ["", "  ", "\n"])
def test_an_empty_word_is_refused_with_its_line(tmp_path: Path, word: str) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: empty text in 'tokens'; fill it in or delete the row"):
        read(write(tmp_path, train=[(f"a|{word}", "O B-x")]))


def test_every_order_of_the_rows_has_the_same_rule() -> None:
    rules = [rule_of(*rows) for rows in itertools.permutations(NEWS)]
    assert all(rule == rules[0] for rule in rules)
