"""The demo's data: what the splits promise, and that labels follow the command that is meant."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from examples.demo import commands, noise
from examples.demo.commands import INTENTS, SPLITS, Lines, Utterance, generate, grammar, write
from gearshift.errors import InputError

Splits = dict[str, list[Utterance]]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return generate()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Splits without errors and corrected slots, so that every wording stands as it was written."""
    monkeypatch.setattr(commands, "SLIP_SHARE", 0)
    monkeypatch.setattr(noise, "typed", lambda sentence, rng: sentence)
    monkeypatch.setattr(noise, "heard", lambda sentence, rng: sentence)
    return generate(train=3000, dev=600, test=900)


def all_lines() -> list[tuple[str, Lines]]:
    read = grammar()
    wordings = [(name, lines) for name, i in read.intents.items() for lines in (i.do, i.says, i.short)]
    return [
        *wordings,
        *((name, frame.lines) for name, frame in read.frames.items()),
        *((name, slot.lines) for name, slot in read.slots.items()),
    ]


def pattern(text: str) -> re.Pattern[str]:
    """Return what a wording or a slot value looks like in a sentence, whatever its slots hold."""
    optional = re.sub(r"\\\[(.*?)\\\]", r"(?:\1)?", re.escape(text))

    def values(match: re.Match[str]) -> str:
        slot = grammar().slots[match[1]]
        return "(?:" + "|".join(re.escape(value) for lines in slot.lines.values() for value in lines) + ")"

    return re.compile(r"(?<!\w)" + re.sub(r"\\\{(\w+)\\\}", values, optional) + r"(?!\w)")


def plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))


def test_the_default_sizes_are_those_of_the_demo(splits: Splits) -> None:
    assert {split: len(utterances) for split, utterances in splits.items()} == {
        "train": 6000,
        "dev": 600,
        "test": 1500,
    }
    assert tuple(splits) == SPLITS


def test_the_same_seed_gives_the_same_utterances_and_another_seed_others() -> None:
    first, again, other = (generate(train=90, dev=60, test=60, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_test_split_does_not_depend_on_the_other_sizes() -> None:
    assert generate(train=90, dev=60, test=60)["test"] == generate(train=600, dev=30, test=60)["test"]


def test_there_are_24_to_30_intents_and_their_neighbours_exist() -> None:
    assert 24 <= len(INTENTS) <= 30
    for name, intent in grammar().intents.items():
        assert intent.near, name
        assert set(intent.near) <= set(INTENTS) - {name}, name


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_all_intents_equally_often(splits: Splits, split: str) -> None:
    counts = Counter(utterance.intent for utterance in splits[split])
    assert set(counts) == set(INTENTS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_no_text_is_there_twice_even_with_other_capitals_and_punctuation(splits: Splits) -> None:
    texts = [plain(utterance.text) for utterances in splits.values() for utterance in utterances]
    assert len(texts) == len(set(texts))


def test_texts_have_no_tabs_line_breaks_braces_or_outer_spaces(splits: Splits) -> None:
    for utterances in splits.values():
        for utterance in utterances:
            assert re.fullmatch(r"[^\s{}\[\]]+( [^\s{}\[\]]+)*", utterance.text), utterance


def test_lengths_vary_from_a_few_words_to_thirty(splits: Splits) -> None:
    lengths = [len(plain(utterance.text).split()) for utterance in splits["train"]]
    assert (min(lengths), max(lengths) <= 30) == (3, True)
    assert sum(4 <= length <= 25 for length in lengths) > 0.95 * len(lengths)


@pytest.mark.parametrize(("name", "lines"), all_lines())
def test_no_two_splits_share_a_wording_frame_or_slot_value(name: str, lines: Lines) -> None:
    listed = [text for texts in lines.values() for text in texts]
    assert set(lines) <= set(SPLITS), name
    held_out = [text for split in ("dev", "test") for text in lines.get(split, ())]
    assert len(held_out) == len(set(held_out)), name
    assert not set(held_out) & set(lines.get("train", ())), name
    assert not listed or lines.get("train"), name


def test_held_out_wordings_and_slot_values_do_not_occur_in_train(clean: Splits) -> None:
    train = "\n".join(utterance.text for utterance in clean["train"])
    read = grammar()
    pools = [lines for i in read.intents.values() for lines in (i.do, i.says, i.short)]
    pools += [slot.lines for slot in read.slots.values()]
    held_out = [text for lines in pools for split in ("dev", "test") for text in lines.get(split, ())]
    assert len(held_out) > 200
    assert [text for text in held_out if pattern(text).search(train)] == []


def test_every_test_utterance_has_words_that_train_does_not_put_so(clean: Splits) -> None:
    read = grammar()
    pools = [lines for i in read.intents.values() for lines in (i.do, i.says, i.short)]
    pools += [slot.lines for slot in read.slots.values()]
    fresh = [pattern(text) for lines in pools for text in lines.get("test", ())]
    for frames in read.frames.values():
        for frame in frames.lines["test"]:
            around = ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", frame.rstrip(",")))
            fresh.append(re.compile(around))
    for utterance in clean["test"]:
        assert any(look.search(utterance.text) for look in fresh), utterance


def test_test_wordings_of_each_intent_occur_in_test(clean: Splits) -> None:
    for name, intent in grammar().intents.items():
        said = "\n".join(utterance.text for utterance in clean["test"] if utterance.intent == name)
        assert any(pattern(text).search(said) for text in intent.do["test"]), name


NEGATED = re.compile(
    r"^(?:please )?(?:don't|do not) (?P<other>.+?), (?:just )?(?P<do>.+)$"
    r"|^rather than (?P<other2>.+?), (?P<do2>.+)$|^(?P<do3>.+?) rather than (?P<other3>.+)$"
)


@pytest.mark.parametrize("split", SPLITS)
def test_a_negated_command_is_labelled_by_the_clause_that_is_affirmed(clean: Splits, split: str) -> None:
    """Judged by the imperatives alone, read back from the text."""
    imperatives = {
        name: [pattern(text) for texts in intent.do.values() for text in texts]
        for name, intent in grammar().intents.items()
    }
    seen = 0
    for utterance in clean[split]:
        match = NEGATED.match(utterance.text)
        parts = match.groupdict() if match else {}
        other = parts.get("other") or parts.get("other2") or parts.get("other3")
        do = parts.get("do") or parts.get("do2") or parts.get("do3")
        if not other or not do:
            continue
        says = {name for name, looks in imperatives.items() if any(look.fullmatch(do) for look in looks)}
        denies = {name for name, looks in imperatives.items() if any(look.fullmatch(other) for look in looks)}
        if says and denies:
            seen += 1
            assert utterance.intent in says, utterance
            assert utterance.intent not in denies, utterance
    assert seen >= 10


def test_sentences_name_a_second_intent_often_enough_that_no_single_word_decides(clean: Splits) -> None:
    both = [u for u in clean["train"] if re.search(r"\bdon't\b|\bdo not\b|\bnot\b|no wait|i mean|asked", u.text)]
    assert 0.15 < len(both) / len(clean["train"]) < 0.5


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_too_small_for_all_intents_is_refused(split: str) -> None:
    with pytest.raises(InputError, match=rf"^{split}: expected at least {len(INTENTS)} utterances"):
        generate(**{"train": 60, "dev": 60, "test": 60, split: len(INTENTS) - 1})


def test_more_utterances_than_the_grammar_can_make_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ATTEMPTS", 1)
    with pytest.raises(InputError, match="no 1500 different utterances; ask for fewer"):
        generate()


def test_files_have_a_header_and_one_unquoted_row_per_utterance(tmp_path: Path) -> None:
    splits = generate(train=60, dev=30, test=30)
    write(tmp_path / "new" / "folder", splits)
    for split, utterances in splits.items():
        lines = (tmp_path / "new" / "folder" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "sentence\tlabel"
        assert [tuple(line.split("\t")) for line in lines[1:]] == [(u.text, u.intent) for u in utterances]


def test_the_program_writes_the_default_data(tmp_path: Path, splits: Splits) -> None:
    assert commands.main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"train.tsv", "dev.tsv", "test.tsv"}
    assert len((tmp_path / "test.tsv").read_text(encoding="utf-8").splitlines()) == len(splits["test"]) + 1


def test_the_program_without_a_folder_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main([]) == 2
    assert "usage: python -m examples.demo.commands FOLDER" in capsys.readouterr().err


SENTENCE = "don't turn the heating up, turn it off in the living room before you unlock the front door"


@pytest.mark.parametrize("deliver", [noise.heard, noise.typed])
def test_no_error_touches_a_word_that_decides(deliver: object) -> None:
    assert callable(deliver)
    for seed in range(300):
        words = re.findall(r"[\w']+", deliver(SENTENCE, random.Random(seed)).lower())
        joined = "".join(words)  # a missing space keeps the letters
        for word in ("don't", "up", "off", "before", "unlock"):
            assert word in joined, (seed, words)


def test_errors_are_there_but_not_in_every_sentence() -> None:
    changed = [noise.typed(SENTENCE, random.Random(seed)).rstrip(".!").lower() != SENTENCE for seed in range(300)]
    assert 0.3 < sum(changed) / len(changed) < 0.8
