"""The rule that cuts texts into words: what people write, and that a word stays whole when it is cut again."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.errors import InputError
from gearshift.runtime.bundle.words import WordRule

RULE = WordRule(
    before={"Ps": True, "Pi": True, "So": True, '"': True, "'": True, "Po": False, "$": False},
    after={"Po": True, "Pe": True, "Pf": True, "So": True, "%": False, "Sc": True},
    endings=("n't", "'s"),
    kept=frozenset({"Mr.", ":)", "Yahoo!"}),
)
CHARACTERS = WordRule()
SEGMENTED = WordRule(longest_ideographs=2)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I live in Berlin.", "I|live|in|Berlin|."),
        ("Karl-Anna pays 3.5 or $5, 10% off", "Karl-Anna|pays|3.5|or|$5|,|10%|off"),
        ("in the U.S., said Mr. Li.", "in|the|U.S.|,|said|Mr.|Li|."),
        ("She doesn't like Anna's cat", "She|does|n't|like|Anna|'s|cat"),
        ("\u2018don\u2019t\u2019 d\u2019accord", "\u2018|don\u2019t|\u2019|d\u2019accord"),
        ('("Really?!")', '(|"|Really|?|!|"|)'),
        ("wait...what... ...and", "wait...what|...|...|and"),
        ("-5 .5 +3,2 -ish", "-5|.5|+3,2|-ish"),
        ("https://a.b/c?d=e, me@x.org; www.a.de.", "https://a.b/c?d=e|,|me@x.org|;|www.a.de|."),
        ("@anna: #tag! \u00bfqu\u00e9?", "@anna|:|#tag|!|\u00bfqu\u00e9|?"),
        ("Yahoo! buys :) now", "Yahoo!|buys|:)|now"),
        ("Berlin\U0001f600\U0001f600 ok\U0001f44d\U0001f3fd.", "Berlin|\U0001f600\U0001f600|ok|\U0001f44d\U0001f3fd|."),
        (f"us{FAMILY}! \u2764️you \U0001f1e9\U0001f1ea", f"us|{FAMILY}|!|\u2764️|you|\U0001f1e9\U0001f1ea"),
        ("several   blanks\tand\r\nlines\u00a0and\u3000more", "several|blanks|and|lines|and|more"),
        (
            "אני גר בברלין.",
            "אני|גר|בברלין|.",
        ),
        ("أنا في برلين؟", "أنا|في|برلين|؟"),
        ("हिन्दी में.", "हिन्दी|में|."),
        ("a\u200bb. \u200b", "a\u200bb|.|\u200b"),
        ("张三在北京。iPhone手机", "张|三|在|北|京|。|iPhone|手|机"),
        ("カナを読む", "カ|ナ|を|読|む"),
        ("", ""),
        (" \n ", ""),
    ],
    ids=str,
)  # fmt: skip
def test_a_text_is_cut_into_words(text: str, words: str) -> None:
    assert RULE.words(text) == (words.split("|") if words else [])


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from("aZ\u00e94.,-'\"!?()@#%$ \n\u200b\u200d️\U0001f600\U0001f3fd张三\u0301nt's:Mr)")))
@pytest.mark.parametrize(
    "rule",
    [RULE, CHARACTERS, SEGMENTED, WordRule(initials=False, endings=("'s",))],
    ids=["words", "characters", "segmented", "few"],
)
def test_words_with_blanks_between_them_are_the_same_words_again(rule: WordRule, text: str) -> None:
    words = rule.words(text)
    assert rule.words(" ".join(words)) == words
    assert all(rule.words(word) == [word] for word in words)


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_words_are_all_of_a_text_but_its_blanks(text: str) -> None:
    places = list(RULE.places(text))
    assert "".join(text[start:end] for start, end in places) == "".join(text.split())
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(places))


@pytest.mark.parametrize("text", ["?!" * 50_000, "x" * 100_000, "\U0001f600." * 50_000, "张" * 100_000, "." * 100_000])
def test_a_text_of_100_000_characters_without_a_blank_is_cut(text: str) -> None:
    """In no time; were all of the text read again for each cut, this would take hours."""
    assert "".join(RULE.words(text)) == text


def test_words_of_a_language_without_blanks_are_not_cut_where_training_had_whole_ones() -> None:
    assert SEGMENTED.words("张三 在 北京市") == ["张三", "在", "北京市"]
    assert SEGMENTED.unsegmented("in 北京") is None
    assert SEGMENTED.unsegmented("in 北京市") == "北京市"
    assert CHARACTERS.unsegmented("北京市") is None


def test_a_rule_is_kept_as_json() -> None:
    assert WordRule.from_dict(json.loads(json.dumps(RULE.to_dict()))) == RULE


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"before": {"a": 1}}, r"^words: before \(true or false by mark\): not usable"),
        ({"after": []}, r"^words: after"),
        ({"endings": [3]}, r"^words: endings \(texts\)"),
        ({"kept": [""]}, r"^words: kept \(texts\)"),
        ({"initials": "yes"}, r"^words: initials"),
        ({"longest_ideographs": -1}, r"^words: longest_ideographs"),
    ],
)
def test_a_rule_that_is_none_is_one_line(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WordRule.from_dict({**RULE.to_dict(), **changed})
