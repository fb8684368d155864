"""Texts of the self-test of a tokenizer: what people write anywhere, and the words of its own vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKENIZER
from gearshift.runtime.inference.text import Text, TextEncoder
from gearshift.runtime.inference.token_vectors import TokenVector
from gearshift.runtime.inference.words import Words

WRITTEN = (
    "turn the lights off",
    "The quick brown Fox JUMPS over 13 lazy dogs, doesn't it?",
    "ALL CAPITALS AND iPhone camelCase snake_case kebab-case",
    "U.S.A. and e.g. Mr. O'Neill's 'quoted' \"words\" -- (brackets) [square] {curly} <angle>",
    "it's isn't we'll they've I'm you'd rock'n'roll",
    "1234567890 3.14159 1,000,000 -5 +7 50% $9.99 1/2 2+2=4 1e-9 0xFF 12:30 2024-02-29 v1.2.3",
    "!!! ??? ... ,,, ;;; ::: --- ___ *** /// \\\\\\ ||| ~~~ ``` ^^^ @@@ ### $$$ %%% &&&",
    "mail me@example.com or see https://www.example.com/a_b?c=d&e=f#g, C:\\dir\\file.txt @user #tag",
    (
        "caf\u00e9 na\u00efve \u00fcber \u00c5ngstr\u00f6m \u0141\u00f3d\u017a \u010desk\u00fd fa\u00e7ade "
        "\u00d1and\u00fa stra\u00dfe"
    ),
    "cafe\u0301 nai\u0308ve u\u0308ber A\u030angstro\u0308m e\u0302\u0323",
    "\u1e9e\u0130\u0131\u01c6\ufb01\ufb02\u00bd\u00b2\u2075\u2122\u2460\u3392\uff21\uff22\uff43\uff11\uff12",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430 \u0438 \u0439\u043e\u0434",
    (
        "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03ba\u03cc\u03c3\u03bc\u03b5 "
        "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2"
    ),
    (
        "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd "
        "\u0645\u0631\u062d\u0628\u0627\u064b \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663"
    ),
    (
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e "
        "\u0935\u0923\u0915\u094d\u0915\u092e\u094d "
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e01\u0e33"
    ),
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\u8bf7\u628a\u706f\u5173\u6389\uff01",
    "\u6771\u4eac\u306f\u3068\u3066\u3082\u5927\u304d\u3044\u30ab\u30bf\u30ab\u30ca \uff76\uff85 \u304c\u3099\u3071",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "mixed \u6f22\u5b57 and words\u6f22word \u30c6\u30b9\u30c8test",
    (
        "\U0001f600 \u2764\ufe0f \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 "
        "\U0001f1e9\U0001f1ea ok\U0001f602ok \u263a"
    ),
    (
        "\u201ccurly\u201d \u2018single\u2019 \u00abguillemets\u00bb \u2013 en \u2014 em \u2026 \u2022 "
        "bullet \u20ac \u00a3 \u00a5 \u00a7 \u00b0 \u00d7 \u00f7 \u2260 \u221e \u2192"
    ),
    "  leading, trailing and   several  blanks  ",
    "tab\there\nline\r\nend\x0bvertical\x0cform\u00a0fixed\u2003wide\u3000ideographic\u2028separator",
    "zero\u200bwidth\u200djoin\u2060er\ufeff soft\u00adhyphen \u202eoverride\u202c con\x01trol\x07 \x7f replaced\ufffd",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z 0 1 2 3 4 5 6 7 8 9",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis floccinaucinihilipilification",
    "Donaudampfschifffahrtsgesellschaftskapit\u00e4n Rindfleischetikettierungs\u00fcberwachungsaufgaben",
    "xkcdqwzj zzyzx brrrrr aaaaaaaaaaaaaaaa hmmmmmmm loooool",
    "x" * 99 + " y",
    "x" * 100 + " y",
    "x" * 101 + " y",
    "ab" * 150 + " z",
    "\u00e9" * 60 + " \u6f22" * 30,
    (
        "[CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> <mask> <pad> <unk> <|endoftext|> [unused1] ##ing \u2581word "
        "\u0120word </w>"
    ),
    ".",
    "-",
    "a",
    "\u6f22",
    "\U0001f600",
    "0",
)
"""Texts of one line, or of whatever a line should not hold. No character is younger than Unicode 9, so that tables of
several versions agree."""

PAIRS = (
    ("where is it?", "It is in the kitchen, behind the door."),
    ("Is it on?", "x"),
    ("\u54ea\u91cc?", "caf\u00e9 \U0001f600 isn't 3.5"),
)

WORDS = (
    ("Karl-Anna", "isn't", "in", "the", "U.S.", ",", "(3.5", "km)"),
    ("caf\u00e9", "\U0001f600", "\u6f22\u5b57", "http://a.b/c?d", "x" * 120),
    ("one two", "  three  ", "four."),
)
"""Words that a caller gives for token classification."""

SAMPLED = 512
"""Tokens of the vocabulary, evenly spaced, of which each has a text with it; a small vocabulary has all."""

PER_TEXT = 8
"""Words of the vocabulary in one text."""

LONGEST = 64
"""Characters of the longest token of the vocabulary that gets a word."""

LONG = "over and over again, until it is too long, "
"""Text of ten words, that is repeated until it is longer than the model reads."""

BEFORE = ("", *"abcdefghijklmnopqrstuvwxyz0.")
"""Characters that are tried before the rest of a word, for a token that stands inside of words alone."""


def token_vectors(bundle: Bundle) -> list[TokenVector]:
    """Return texts with the tokens that the tokenizer of a bundle makes of them.

    Pairs and words that are given are among them where the task takes these. Texts that the encoder refuses, such as
    some without blanks between words, are left out.
    """
    manifest, encoder = bundle.manifest, TextEncoder(bundle)
    long = LONG * (1 + manifest.max_length // 10)
    texts: list[Text] = [*WRITTEN, *vocabulary_texts(bundle), long]
    texts += [Words(words) for words in WORDS] if manifest.tags else [*PAIRS, ("short", long), (long, "short")]
    found = []
    for text in texts:
        try:
            found.append(TokenVector.of(text, encoder, manifest))
        except InputError:
            continue
    return found


def vocabulary_texts(bundle: Bundle) -> list[str]:
    """Return texts of words in which tokens of the whole vocabulary stand, and its added tokens."""
    tokenizer = Tokenizer.from_file(str(bundle.path / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    ids = sorted(number for token, number in tokenizer.get_vocab().items() if token not in added)
    step = max(1, -(-len(ids) // SAMPLED))
    words = [*_words(tokenizer, ids[::step]), *sorted(added)[:SAMPLED]]
    return [" ".join(words[start : start + PER_TEXT]) for start in range(0, len(words), PER_TEXT)]


def _words(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[str]:
    """Yield a word for each token that some word has."""
    for number in ids:
        stem = tokenizer.decode([number]).strip().removeprefix("##")
        if not stem or "\ufffd" in stem or len(stem) > LONGEST:
            continue
        words = (before + stem for before in BEFORE)
        found = next((word for word in words if number in tokenizer.encode(word, add_special_tokens=False).ids), None)
        if found is not None:
            yield found
