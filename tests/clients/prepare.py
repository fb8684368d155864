"""Makes build/clients: bundles of every task and their vectors, which clients in other languages are tested with.

    python -m tests.clients.prepare

NAME.gearshift and NAME.vectors; models are random and small, but for `tiny`, the committed one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from benchmarks.graph.bundles import random_bundle
from gearshift.__main__ import main as gearshift
from gearshift.export.checks.tokens import token_vectors
from gearshift.export.embed import embed_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import SELF_TEST, TOKENIZER, Manifest, Vectors
from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.words import WordRule
from gearshift.runtime.dan.ngrams import keys
from gearshift.runtime.inference.self_test_file import WORD_ARRAYS
from gearshift.runtime.inference.spans import word_tokens
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.inference.token_vectors import write_token_vectors
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.uniform import uniform_grid
from tests.clients.characters import BY_STEP, CHARACTERS
from tests.clients.dans import KINDS, LONGEST, write_dans
from tests.clients.refused import write_refused
from tests.export.test_tasks import write_bundle
from tests.trainer.encoders import HEADS, HeadCase

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "clients"
TINY = ROOT / "tests" / "data" / "tiny.gearshift"

RULE = WordRule(
    before={"(": True, "Pi": True, '"': True, "Pd": True, "Sm": True, ".": True},
    after={".": True, ",": True, "Po": True, "So": True, ")": True},
    endings=("n't", "'s"),
    kept=frozenset({"Mr.", "km)"}),
)
"""Rule of words with something of everything."""


def _cased(lowercase: bool) -> Tokenizer:
    """BERT's kind: letters and pieces of letters alone, so that most words have several."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    added = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [
        *added,
        *letters[:22],
        *(f"##{letter}" for letter in letters),
        ".",
        ",",
        "'",
        "\u03c3",
        "##\u03c3",
        "\u6f22",
    ]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.add_special_tokens(added)
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def _plain(manifest: Manifest) -> Manifest:
    return manifest


def _with_words(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, tagging=Tagging(RULE, Scheme("IOB2")))


def _unanswerable(manifest: Manifest) -> Manifest:
    pool = tuple(dataclasses.replace(entry, null_threshold=0.25) for entry in manifest.pool)
    return dataclasses.replace(manifest, pool=pool)


def _with_prompt(manifest: Manifest) -> Manifest:
    width = manifest.space.shape.hidden
    return dataclasses.replace(manifest, vectors=Vectors(width, True, prompt="query: "))


CASES: dict[str, tuple[HeadCase, Callable[[Manifest], Manifest], bool]] = {
    "multi-label": (HeadCase("multi-label-classification", 5), _plain, True),
    "regression": (HEADS["regression"], _plain, False),
    "token": (HEADS["token classification"], _plain, True),
    "words": (HEADS["token classification"], _with_words, True),
    "question": (HEADS["question answering"], _plain, True),
    "unanswerable": (HEADS["question answering"], _unanswerable, False),
    "embedding": (HEADS["embedding, mean"], _with_prompt, True),
}
"""Name -> head of a bundle, what its manifest has beside it, and whether its tokenizer makes text lower case."""


TWELVE = "twelve"
"""Name of a bundle of the demo's size: twelve subnets of MiniLM-L6, of random weights and a short word table."""

SHAPE = EncoderShape(6, 384, 12, 1536, 200, 512, 2)

BLOCK = 1 << 12


def write_characters(path: Path) -> None:
    """Write what the parts of BERT's tokenizers make of every character between two letters, as hashes of blocks."""
    texts = [f"a{chr(code)}b" for code in CHARACTERS]
    blocks = [texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK)]
    hashes = {
        step: [hashlib.sha256("\n".join(map(of, block)).encode()).hexdigest() for block in blocks]
        for step, of in BY_STEP.items()
    }
    path.write_text(json.dumps(hashes, indent=1))


ALPHABETS = (
    "abcdefghij ABC ,.'!?-",
    "\u00e9\u00f1\u00fc\u00df\u0130\u01c4\ufb01\u1e9e\u00bd e\u0301\u0323\u0302\u0327 \u1100\u1161\u11ab",
    "\u03a3\u03c3\u03c2\u0391 \u0416\u0451 \u05e9\u05c1\u05b8 \u0627\u0651 \u0915\u093c\u094d \u0e33 \u302e\u302a",
    "\u6f22\u5b57\U00020bb7\u3042\u30a2\u304c\u3099\uff21\uff0c\u3002 \U0001f600\U0001f44d\U0001f3fd\u200d\ufe0f",
    "\x00\x01\x07\t\n\r\x1c\x85\xa0\xad\u200b\u2028\u3000\ufeff\ufffd\ue000 a",
)
"""Characters that random texts are made of, one text of several of these."""

RANDOM_TEXTS = 1500


def write_random(path: Path) -> None:
    """Write random texts with their ids and places by a tokenizer that knows letters alone, and number and sum of the
    keys of their n-grams."""
    source, tokenizer = random.Random(0), _cased(lowercase=True)
    rows = []
    for _ in range(RANDOM_TEXTS):
        alphabet = "".join(source.sample(ALPHABETS, source.randint(1, 3))) + "[SEP][UNK"
        text = "".join(source.choices(alphabet, k=source.randint(1, 30)))
        if text.strip():
            made = tokenizer.encode(text)
            ngrams = keys(text, LONGEST)
            of_all = [len(ngrams), f"{int(ngrams.sum(dtype=np.uint64)):x}"]
            rows.append({"text": text, "ids": made.ids, "places": made.offsets, "keys": of_all})
    path.write_text(json.dumps(rows))


def prepare(build: Path = BUILD) -> None:
    """Fill `build`, in place of what was there."""
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    write_characters(build / "characters.json")
    write_random(build / "random.json")
    shutil.copytree(TINY, build / "tiny.gearshift")
    for name, (head, change, lowercase) in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            made = write_bundle(Path(scratch), "BERT", head).path
            _seal(made, change, lowercase)
            shutil.copytree(made, build / f"{name}.gearshift")
    write_refused(build)
    embed(build)
    write_dans(build, TINY)
    random_bundle(build / f"{TWELVE}.gearshift", SHAPE, uniform_grid(SHAPE), layers_per_stage=SHAPE.layers)
    _seal(build / f"{TWELVE}.gearshift", _plain, True)
    for name in ("tiny", TWELVE, *CASES, *KINDS):
        if gearshift(["vectors", str(build / f"{name}.gearshift"), "-o", str(build / f"{name}.vectors")]):
            raise SystemExit(f"{name}: no vectors")


def embed(build: Path) -> None:
    """Make `embedded`: the folder that an app ships of the committed bundle, with its vectors."""
    embed_bundle(open_bundle(build / "tiny.gearshift"), build / "embedded.gearshift")
    (build / "embedded.gearshift" / "vectors").rename(build / "embedded.vectors")


def _seal(folder: Path, change: Callable[[Manifest], Manifest], lowercase: bool) -> None:
    """Give a bundle another tokenizer, self-tests of tokens and words, and the manifest that goes with them."""
    _cased(lowercase).save(str(folder / TOKENIZER))
    manifest = change(open_bundle_of(folder).manifest)
    manifest = dataclasses.replace(manifest, pool=tuple(e for e in manifest.pool if e.precision != "fp16"))
    for name in ("fp16.onnx", "fp16.weights"):
        (folder / name).unlink(missing_ok=True)
    bundle = Bundle(folder, manifest, hash="", known=True)
    write_token_vectors(folder, token_vectors(bundle))
    if manifest.tagging is not None:
        _add_words(folder, bundle)
    write_manifest(folder, manifest)


def open_bundle_of(folder: Path) -> Bundle:
    """Open a bundle whose tokenizer was exchanged: its manifest is written anew."""
    raw = Manifest.from_content((folder / "manifest.json").read_bytes(), folder)
    write_manifest(folder, raw)
    return open_bundle(folder)


def _add_words(folder: Path, bundle: Bundle) -> None:
    texts = ("Mr. Ono isn't in (3.5 km) far.", "U.S. and so on...")
    encoder = TextEncoder(bundle)
    rows: list[tuple[list[int], list[list[int]]]] = []
    for text in texts:
        encoded = encoder.encode([text])
        (split,), (encoding,) = encoded.splits, encoded.encodings
        assert split is not None
        tokens = word_tokens(encoding, split.joined_places)
        places = [[-1 if one is None else one, *place] for one, place in zip(tokens, split.places, strict=True)]
        rows.append((encoding.ids, places))
    ids = np.full((len(rows), max(len(row) for row, _ in rows)), -1, np.int64)
    placed = np.full((len(rows), max(len(places) for _, places in rows), 3), -1, np.int64)
    for number, (row, places) in enumerate(rows):
        ids[number, : len(row)] = row
        placed[number, : len(places)] = places
    with np.load(folder / SELF_TEST) as arrays:
        kept: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    kept |= dict(zip(WORD_ARRAYS, (np.array(texts), ids, placed), strict=True))
    np.savez_compressed(folder / SELF_TEST, allow_pickle=False, **kept)


def main() -> int:
    """0; raises on failure, since this is for tests alone."""
    torch.set_num_threads(1)
    prepare()
    return 0


if __name__ == "__main__":
    sys.exit(main())
