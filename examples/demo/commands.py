"""Spoken commands to a home or car assistant, generated from `wordings.txt`: the demo's data.

1. An utterance is a *frame* ("don't {other}, {do}") around a *wording* of its intent ("turn on {light}"), with *slots*
   filled in, as heard by a speech recogniser or as typed (`noise`).
2. Its label is the requested intent, wherever it is in the sentence: frames also name a second intent, which is
   negated, withdrawn, or somebody else's to do. No single word decides.
3. The splits differ in wordings, frames and slot values: each dev and test utterance has at least one that the train
   split lacks. `FRESH` sets how often each kind is new.

`python -m examples.demo.commands FOLDER` writes train.tsv, dev.tsv and test.tsv.
"""

from __future__ import annotations

import functools
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.demo import noise
from gearshift.errors import InputError

SPLITS = ("train", "dev", "test")

Lines = dict[str, tuple[str, ...]]
"""Split -> lines that only this split has."""

SHORTEST_WORDS, LONGEST_WORDS = 3, 30
"""Bounds on the words of an utterance, which is otherwise made again: too little to tell from, or too much for one
breath."""

SLIP_SHARE = 0.08
"""Share of the slots that may slip in which the speaker names a wrong value first."""

NEAREST_SHARE = 0.6
"""Share of two-intent sentences whose other intent is easily confused with the label."""

TYPED_SHARE = 0.35
"""Share of utterances that are typed; the rest is spoken."""

ATTEMPTS = 2000
"""Number of duplicate utterances in a row after which the grammar counts as exhausted."""


@dataclass(frozen=True)
class Fresh:
    """Shares, from 0 to 1, of a split's lines that are its own instead of the train split's."""

    wording: float
    frame: float
    slot: float


FRESH = {"train": Fresh(0, 0, 0), "dev": Fresh(0.5, 0.3, 0.3), "test": Fresh(0.4, 0.3, 0.3)}


@dataclass(frozen=True)
class Utterance:
    """A sentence and the intent that it requests."""

    text: str
    intent: str


@dataclass
class Intent:
    """Wordings of one intent."""

    near: tuple[str, ...]
    """Intents that are easily confused with it, nearest first."""
    do: Lines = field(default_factory=dict)
    """Imperatives."""
    says: Lines = field(default_factory=dict)
    """Whole sentences that request the intent without naming it."""
    short: Lines = field(default_factory=dict)
    """Rest of an imperative after the nearest neighbour was named."""


@dataclass
class Frame:
    """Sentences around a command."""

    weight: float
    lines: Lines = field(default_factory=dict)


@dataclass
class Slot:
    """Values that a name in braces stands for."""

    slips: bool
    """Whether a speaker may name a wrong value first."""
    lines: Lines = field(default_factory=dict)


@dataclass(frozen=True)
class Grammar:
    """Contents of `wordings.txt`, by name."""

    intents: dict[str, Intent]
    frames: dict[str, Frame]
    slots: dict[str, Slot]


@functools.cache
def grammar() -> Grammar:
    """Read the grammar in `wordings.txt`."""
    read = Grammar({}, {}, {})
    target: Intent | Frame | Slot | None = None
    for line in Path(__file__).with_name("wordings.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("  "):
            assert target is not None, f"wordings.txt: {line!r} stands before any header"
            _add_lines(target, line)
            continue
        kind, name, *rest = line.split()
        if kind == "intent":
            target = read.intents[name] = Intent(near=tuple(rest[1:]))
        elif kind == "frame":
            target = read.frames[name] = Frame(weight=float(rest[0]))
        else:
            target = read.slots[name] = Slot(slips=rest == ["slips"])
    return read


def _add_lines(target: Intent | Frame | Slot, line: str) -> None:
    head, _, values = line.strip().partition(": ")
    split, _, kind = head.partition(" ")
    if isinstance(target, Intent):
        lines: Lines = getattr(target, kind or "do")
    else:
        lines = target.lines
    lines[split] = tuple(value.strip() for value in values.split(" | "))


INTENTS: tuple[str, ...] = tuple(grammar().intents)


def generate(*, train: int = 6000, dev: int = 600, test: int = 1500, seed: int = 0) -> dict[str, list[Utterance]]:
    """Generate utterances by split ("train", "dev", "test"): all intents in each, in counts that differ by one at most.

    The same sizes and seed give the same utterances. No two have the same text, within a split or across.
    The test split is the same whatever the sizes of the others.
    Raises InputError for a size that leaves an intent out, or that exceeds the grammar.
    """
    sizes = {"test": test, "dev": dev, "train": train}  # test first: it must not depend on the others
    for split, size in sizes.items():
        if size < len(INTENTS):
            raise InputError(f"{split}: expected at least {len(INTENTS)} utterances, one per intent, got {size}")
    seen: set[str] = set()
    made = {split: _generate_split(split, size, seed, seen) for split, size in sizes.items()}
    return {split: made[split] for split in SPLITS}


def write(folder: Path, splits: dict[str, list[Utterance]]) -> None:
    """Write `<split>.tsv` into `folder`: UTF-8, a header `sentence<tab>label`, no quoting."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, utterances in splits.items():
        rows = ["sentence\tlabel", *(f"{utterance.text}\t{utterance.intent}" for utterance in utterances)]
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")


def _generate_split(split: str, size: int, seed: int, seen: set[str]) -> list[Utterance]:
    """Generate `size` utterances whose plain texts are not in `seen`, and add them there."""
    rng = random.Random(f"{seed} {split}")
    speaker = _Speaker(split, rng)
    order = rng.sample(INTENTS, len(INTENTS))
    utterances = []
    for index in range(size):
        intent = order[index % len(order)]
        for _ in range(ATTEMPTS):
            text = speaker.utterance(intent)
            plain = " ".join(re.findall(r"[\w']+", text.lower()))
            if plain not in seen and SHORTEST_WORDS <= len(plain.split()) <= LONGEST_WORDS:
                break
        else:
            raise InputError(f"{split}: the grammar has no {size} different utterances; ask for fewer")
        seen.add(plain)
        utterances.append(Utterance(text, intent))
    rng.shuffle(utterances)
    return utterances


class _Speaker:
    """Speaker of the sentences of one split."""

    def __init__(self, split: str, rng: random.Random) -> None:
        self.split = split
        self.fresh = FRESH[split]
        self.rng = rng
        self.grammar = grammar()
        self.own_picks = 0
        """Number of lines of this split alone that `pick` has taken."""

    def utterance(self, intent: str) -> str:
        """Return a sentence that requests the intent, as it reaches the assistant, with a line of the split's own."""
        self.own_picks = 0
        sentence = self.sentence(intent)
        while self.split != "train" and not self.own_picks:
            sentence = self.sentence(intent)
        deliver = noise.typed if self.rng.random() < TYPED_SHARE else noise.heard
        return deliver(sentence, self.rng)

    def sentence(self, intent: str) -> str:
        """Return a sentence that requests the intent, before any error."""
        wordings = self.grammar.intents[intent]
        frames = self.grammar.frames
        name = self.rng.choices(list(frames), [frame.weight for frame in frames.values()])[0]
        if (name == "pair" and not wordings.short) or (name == "says" and not wordings.says):
            name = "negation" if name == "pair" else "plain"
        other = wordings.near[0]
        if name != "pair" and self.rng.random() > NEAREST_SHARE:
            other = self.rng.choice([other for other in INTENTS if other != intent])
        elif name != "pair":
            other = self.rng.choice(wordings.near)
        parts = {
            "do": lambda: self.fill(self.pick(wordings.do, self.fresh.wording), slips=True),
            "says": lambda: self.fill(self.pick(wordings.says, self.fresh.wording), slips=True),
            "short": lambda: self.pick(wordings.short, self.fresh.wording),
            "other": lambda: self.fill(self.pick(self.grammar.intents[other].do, self.fresh.wording), slips=False),
        }
        frame = self.pick(frames[name].lines, self.fresh.frame)
        text = re.sub(r"\{(\w+)\}", lambda m: parts[m[1]]() if m[1] in parts else m[0], frame)
        return re.sub(r",(,|$)", r"\1", self.fill(text, slips=False))

    def fill(self, text: str, *, slips: bool) -> str:
        """Return the text with its [parts] kept or dropped, and its slots filled."""
        text = re.sub(r"\[(.*?)\]", lambda m: m[1] if self.rng.random() < 0.5 else "", text)
        return re.sub(r"\{(\w+)\}", lambda m: self.value(self.grammar.slots[m[1]], slips=slips), text)

    def value(self, slot: Slot, *, slips: bool) -> str:
        """Return a value of the slot; now and then a wrong one first, followed by the right one."""
        right = self.pick(slot.lines, self.fresh.slot)
        if not (slips and slot.slips) or self.rng.random() > SLIP_SHARE:
            return right
        wrong = self.rng.choice([value for value in slot.lines["train"] if value != right])
        slip = self.pick(self.grammar.frames["slip"].lines, self.fresh.frame)
        return slip.format(wrong=wrong, right=right)

    def pick(self, lines: Lines, fresh: float) -> str:
        """Return one of the split's own lines with probability `fresh`, else one of the train split's."""
        own = self.rng.random() < fresh and self.split in lines
        self.own_picks += own
        return self.rng.choice(lines[self.split if own else "train"])


def main(arguments: Sequence[str]) -> int:
    """Write the default data into the named folder."""
    if len(arguments) != 1:
        print("usage: python -m examples.demo.commands FOLDER", file=sys.stderr)
        return 2
    splits = generate()
    write(Path(arguments[0]), splits)
    print(", ".join(f"{split}: {len(utterances)}" for split, utterances in splits.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
