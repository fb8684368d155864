"""Errors in a sentence on its way to the assistant: heard by a speech recogniser, or typed.

No error touches a word that decides the request (`DECISIVE`), so the label stays right.
"""

from __future__ import annotations

import random
import re

DECISIVE = frozenset({
    "no", "not", "never", "don't", "didn't", "needn't", "shouldn't", "isn't", "on", "off", "up", "down",
    "in", "out", "open", "close", "closed", "shut", "lock", "unlock", "locked", "unlocked", "start",
    "stop", "set", "cancel", "next", "previous", "before", "after", "last",
})  # fmt: skip
"""Words that stay unchanged: without one of them the sentence may request something else."""

HESITATIONS = ("uh", "um", "er", "hmm", "uhm")
"""Fillers that may stand between any two words."""

OPENERS = (*HESITATIONS, "well", "so", "you know", "so yeah", "oh", "ok", "right then", "listen up")
"""Fillers that may stand first."""

DROPPED = frozenset({
    "a", "an", "the", "to", "at", "of", "my", "is", "are", "for", "me", "please",
    "it's", "i'm", "there's",
})  # fmt: skip
"""Short words that a recogniser misses."""

HEARD_AS = {
    "lights": "lites", "light": "lite", "hall": "haul", "right": "write", "for": "four", "to": "two",
    "would": "wood", "wait": "weight", "way": "weigh", "weather": "whether", "time": "thyme", "need": "knead",
    "write": "right", "mum": "mom", "hear": "here", "by": "buy", "buy": "bye", "flour": "flower", "bread": "bred",
    "heating": "heeding", "song": "sung", "alarm": "a larm", "volume": "vole um", "vacuum": "vac you m",
    "timer": "time her", "navigate": "navy gate", "parking": "par king", "window": "win dough", "text": "texts",
    "route": "root", "road": "rode", "message": "massage", "camera": "camra", "music": "you sick", "news": "nooks",
    "robot": "row bot", "temperature": "temper chure", "kitchen": "kit chen", "bedroom": "bed room",
    "somewhere": "some where", "forecast": "four cast", "degrees": "de grease", "minutes": "minute", "read": "reed",
    "could you": "kudja", "want to": "wanna", "going to": "gonna", "give me": "gimme", "let me": "lemme",
    "have to": "hafta", "living room": "livingroom", "front door": "frontdoor", "half past": "halfpast",
    "car park": "carpark", "wake me": "wakeme", "make it": "makeit", "i need": "ineed", "turn the": "tern the",
    "the heat": "the heed", "please": "pleas", "thermostat": "thermo stat", "louder": "loud her",
}  # fmt: skip
"""Phrase -> text that a recogniser writes instead: homophones, words split in two, words run together."""

KEY_NEIGHBOURS = {
    "a": "qsz", "b": "vgn", "c": "xdv", "d": "sfe", "e": "wrd", "f": "dgr", "g": "fht", "h": "gjy", "i": "uok",
    "j": "hku", "k": "jli", "l": "ko", "m": "nk", "n": "bmh", "o": "ipl", "p": "ol", "q": "wa", "r": "etf",
    "s": "adw", "t": "ryg", "u": "yij", "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xa",
}  # fmt: skip
"""Letters beside each letter on a QWERTY keyboard."""

SHORTEST_MISTYPED = 4
"""Letters of the shortest word that gets a typing error: shorter ones become another word too easily."""


def heard(sentence: str, rng: random.Random, *, filler_share: float = 0.4, error_share: float = 0.35) -> str:
    """Return the sentence as a speech recogniser writes it: small letters, no punctuation, fillers, some errors."""
    text = re.sub(r"[,.?!](?=\s|$)", "", sentence)
    if rng.random() < error_share:
        text = _misheard(text, rng)
        if rng.random() < 0.4:
            text = _drop_short_word(text, rng)
    if rng.random() < filler_share:
        text = _with_filler(text, rng)
    return text


def typed(sentence: str, rng: random.Random, *, error_share: float = 0.5) -> str:
    """Return the sentence as somebody types it: punctuation, mostly a capital, sometimes a mistyped word or two."""
    text = sentence
    while rng.random() < error_share:
        text = _with_typing_error(text, rng)
        error_share /= 2
    if rng.random() < 0.1:  # last, so that `DECISIVE` words are still words when letters go wrong
        text = _without_a_space(text, rng)
    if rng.random() < 0.6:
        text = text[0].upper() + re.sub(r"\bi\b", "I", text[1:])
    asks = re.match(r"(could|can|would|will|what|who|how|where|is|any|are|do|did|should|why)\b", sentence)
    return text + rng.choice(("?", "?", "") if asks else (".", "", "", "!"))


def _misheard(text: str, rng: random.Random) -> str:
    """Replace one phrase of `HEARD_AS`, if there is one; else drop a short word."""
    found = [phrase for phrase in HEARD_AS if re.search(rf"\b{phrase}\b", text)]
    if not found:
        return _drop_short_word(text, rng)
    phrase = rng.choice(found)
    return re.sub(rf"\b{phrase}\b", HEARD_AS[phrase], text, count=1)


def _drop_short_word(text: str, rng: random.Random) -> str:
    words = text.split()
    places = [place for place, word in enumerate(words) if word in DROPPED]
    if not places:
        return text
    del words[rng.choice(places)]
    return " ".join(words)


def _with_filler(text: str, rng: random.Random) -> str:
    """Insert a filler at the start, or between two words."""
    words = text.split()
    place = 0 if rng.random() < 0.5 else rng.randrange(len(words))
    filler = rng.choice(HESITATIONS if place else OPENERS)
    return " ".join([*words[:place], filler, *words[place:]])


def _with_typing_error(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    places = [
        place
        for place, word in enumerate(words)
        if len(word) >= SHORTEST_MISTYPED and word.isalpha() and word.lower() not in DECISIVE
    ]
    if not places:
        return text
    place = rng.choice(places)
    words[place] = _mistyped(words[place], rng)
    return " ".join(words)


def _without_a_space(text: str, rng: random.Random) -> str:
    """Run two words together."""
    words = text.split(" ")
    at = rng.randrange(1, len(words))
    return " ".join([*words[: at - 1], words[at - 1] + words[at], *words[at + 1 :]])


def _mistyped(word: str, rng: random.Random) -> str:
    """Swap two letters of the word, drop one, double one or replace one by a neighbouring key; the first letter
    stays."""
    at = rng.randrange(1, len(word) - 1)
    match rng.choice(("swap", "drop", "double", "neighbour")):
        case "swap":
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case "drop":
            return word[:at] + word[at + 1 :]
        case "double":
            return word[:at] + word[at] + word[at:]
        case _:
            return word[:at] + rng.choice(KEY_NEIGHBOURS.get(word[at].lower(), word[at])) + word[at + 1 :]
