"""Settings of a sentence-transformers model beside its modules: length, letter case, prompts and similarity.

Releases differ in where they write them: the greatest length is in `sentence_bert_config.json`, or since 5.4 in the
tokenizer's config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from gearshift.errors import ModelError
from gearshift.runtime.bundle.manifest import SIMILARITIES
from gearshift.schema import read_json

SETTINGS = "config_sentence_transformers.json"
ENCODER_SETTINGS = "sentence_bert_config.json"
OLDER_ENCODER_SETTINGS = tuple(
    f"sentence_{kind}_config.json" for kind in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names of ENCODER_SETTINGS in old releases."""

UNLIMITED = 1_000_000
"""Length from which a tokenizer's limit means that there is none."""

_MODEL_TYPE = "SentenceTransformer"
_ADVICE = "download the model again"


@dataclass(frozen=True)
class SentenceSettings:
    """Settings by which an embedding model encodes a text."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    """Name of the prompt that is put before every text; None for none."""
    similarity: str = "cosine"
    """Similarity of two vectors that the model was trained for, one of SIMILARITIES."""
    max_length: int | None = None
    """Length in tokens at which texts are cut; None if it is not stated."""
    lower_case: bool = False
    """Whether texts are lower-cased before they are tokenized."""
    truncated: int | None = None
    """Count of the numbers of a vector that are kept (`truncate_dim`); None for all."""
    include_prompt: bool = True
    """Whether the pooling takes the tokens of the prompt too."""

    @property
    def prompt(self) -> str:
        """Text that is put before every text; empty for none."""
        return self.prompts[self.default_prompt] if self.default_prompt is not None else ""


def read_sentence_settings(path: Path, encoder: Path) -> SentenceSettings:
    """Read the settings in a model's directory, whose encoder's files are in `encoder`; raises ModelError."""
    given = _read(path / SETTINGS, _checked_settings) if (path / SETTINGS).is_file() else {}
    names = (ENCODER_SETTINGS, *OLDER_ENCODER_SETTINGS)
    file = next((encoder / name for name in names if (encoder / name).is_file()), None)
    own = {} if file is None else _read(file, _checked_encoder)
    if file is not None:
        _require_states(file, own)
    _check(path / SETTINGS, given)
    return SentenceSettings(
        prompts=given.get("prompts", {}),
        default_prompt=given.get("default_prompt_name"),
        similarity=given.get("similarity_fn_name") or "cosine",
        max_length=own.get("max_seq_length") or _tokenizer_limit(encoder),
        lower_case=own.get("do_lower_case", False),
        truncated=given.get("truncate_dim"),
    )


def write_sentence_settings(target: Path, settings: SentenceSettings) -> None:
    """Write settings beside a checkpoint, in a form that old and new releases read."""
    similarity: dict[str, Any] = {"similarity_fn_name": settings.similarity}
    if settings.truncated is not None:
        similarity["truncate_dim"] = settings.truncated
    for name, content in (
        (SETTINGS, {"prompts": settings.prompts, "default_prompt_name": settings.default_prompt, **similarity}),
        (ENCODER_SETTINGS, {"max_seq_length": settings.max_length, "do_lower_case": settings.lower_case}),
    ):
        (target / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def lower_cased(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer, with lower-casing before its own normalization unless it has that already."""
    made = Tokenizer.from_str(tokenizer.to_str())
    own = made.normalizer
    steps = [] if own is None else list(own) if isinstance(own, normalizers.Sequence) else [own]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        made.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
    return made


def prompt_tokens(tokenizer: Tokenizer, prompt: str) -> int:
    """Return the number of tokens of a prompt at the start of a text, special ones included."""
    encoding = tokenizer.encode(prompt)
    ends = bool(encoding.ids) and bool(encoding.special_tokens_mask[-1])
    return len(encoding.ids) - ends


def _read(file: Path, parse: Any) -> dict[str, Any]:
    return read_json(file, parse, error=ModelError, advice=_ADVICE)


def _checked_settings(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of SETTINGS that are read, of the right types; a prompt of none is an empty one."""
    prompts = {str(name): "" if text is None else text for name, text in (raw.get("prompts") or {}).items()}
    _require(all(isinstance(text, str) for text in prompts.values()), "prompts", raw.get("prompts"))
    default, similarity = raw.get("default_prompt_name"), raw.get("similarity_fn_name")
    _require(similarity is None or similarity in SIMILARITIES, "similarity_fn_name", similarity)
    width = raw.get("truncate_dim")
    _require(width is None or (type(width) is int and width > 0), "truncate_dim", width)
    found = {"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": similarity}
    return {**found, "truncate_dim": width, "model_type": raw.get("model_type", _MODEL_TYPE)}


def _checked_encoder(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ENCODER_SETTINGS, those that are read of the right types."""
    length = raw.get("max_seq_length")
    _require(length is None or (type(length) is int and length > 0), "max_seq_length", length)
    _require(isinstance(raw.get("do_lower_case", False), bool), "do_lower_case", raw.get("do_lower_case"))
    return dict(raw)


def _require(holds: bool, name: str, found: object) -> None:
    if not holds:
        raise ValueError(f"{name} {found!r}")


def _require_states(file: Path, own: Mapping[str, Any]) -> None:
    """Raise ModelError unless the encoder gives the states of its last layer."""
    task = own.get("transformer_task", "feature-extraction")
    taken = own.get("modality_config", {}).get("text", {}).get("method_output_name", "last_hidden_state")
    given = own.get("module_output_name", "token_embeddings")
    expected = ("feature-extraction", "last_hidden_state", "token_embeddings")
    if (task, taken, given) != expected:
        raise ModelError(
            f"{file}: expected an encoder for {', '.join(expected)}, found {task}, {taken}, {given}, which is not "
            "supported"
        )


def _check(file: Path, given: Mapping[str, Any]) -> None:
    """Raise ModelError for a model that gives no single vector, and for a default prompt that is none of the
    prompts."""
    if (kind := given.get("model_type", _MODEL_TYPE)) != _MODEL_TYPE:
        raise ModelError(f"{file}: a {kind} is not supported as an embedding model; expected a {_MODEL_TYPE}")
    name = given.get("default_prompt_name")
    if name is not None and name not in given["prompts"]:
        known = ", ".join(given["prompts"]) or "none"
        raise ModelError(f"{file}: default_prompt_name {name!r} is none of its prompts ({known}); correct the file")


def _tokenizer_limit(encoder: Path) -> int | None:
    """Return the greatest length in a tokenizer's config; None if it has none."""
    file = encoder / "tokenizer_config.json"
    if not file.is_file():
        return None
    limit = read_json(file, lambda raw: raw.get("model_max_length"), error=ModelError, advice=_ADVICE)
    return int(limit) if isinstance(limit, int | float) and 0 < limit < UNLIMITED else None
