"""Reading of the weights of Hugging Face models through transformers: in fp32, all of them finite, and with a word on
those that a checkpoint lacks, which transformers draws at random.

Models with pruned heads are read by every version: their layers are filled up with heads of zeros, which add nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch import Tensor

from gearshift.errors import ModelError, first_line
from gearshift.trainer.model.names import ARCHITECTURES

WHOLE = ("model.safetensors", "pytorch_model.bin")
"""Files with all weights of a checkpoint; where they are split, an index beside them names the parts."""

HEADS = "gearshift_heads"
"""Field of a config: number of heads that each layer has, if some were pruned; the others are zeros, behind these."""

_HEAD_ROWS = ("query", "key", "value")
"""Parts of a layer whose rows are the dimensions of its heads; of `attention_output` the columns are."""


@dataclass(frozen=True)
class Loaded:
    """Model of transformers, and what its checkpoint lacks."""

    model: Any
    missing: tuple[str, ...]
    """Names of weights that the checkpoint does not have, or has in another shape; they are random."""


def load_transformers(auto: str, path: Path, *, what: str = "weights", **settings: Any) -> Loaded:
    """Load a checkpoint by a class of transformers, such as `AutoModel`, in fp32; raises ModelError.

    A weight that is NaN or infinite is refused, and named. `what`: word for the model in the message.
    """
    try:
        with quiet():
            model, report = getattr(transformers, auto).from_pretrained(
                path,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                # transformers 5 would keep the type of the file, or round to the one that its config names.
                torch_dtype=torch.float32,
                **settings,
            )
    except Exception as error:  # a damaged file raises any error of its parser
        raise ModelError(f"{path}: no {what} that transformers can read ({first_line(error)})") from error
    # A mismatch is a name, or a tuple of a name and two shapes, depending on the version of transformers.
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    weights = model.state_dict()
    require_finite(weights, path)
    # Before version 4.49 transformers leaves out the prefix of the encoder, if the checkpoint has none that it knows.
    named = (
        name if name in weights else f"{model.base_model_prefix}.{name}"
        for name in (*report["missing_keys"], *mismatched)
    )
    return Loaded(model, tuple(sorted(set(named))))


def require_finite(weights: Mapping[str, Tensor], place: object) -> None:
    """Raise ModelError, which names the first weight with a value that is NaN or infinite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{place}: expected finite weights, found NaN or infinity in {name} ({count} of {tensor.numel()} "
                "values); fetch the model again, or save it in float32 if float16 was too small"
            )


def set_dtype(config: Any, model: torch.nn.Module) -> None:
    """Let a config state the type of a model's weights: transformers 5 rounds weights to the type that it finds."""
    dtype = next(model.parameters()).dtype
    setattr(config, "dtype" if hasattr(config, "dtype") else "torch_dtype", dtype)


def take_pruned_heads(config: Any, place: object) -> None:
    """Replace `pruned_heads` of a config by the number of heads that each layer has (HEADS); raises ModelError."""
    pruned = getattr(config, "pruned_heads", None) or {}
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    try:
        lost = {int(layer): {int(head) for head in several} for layer, several in pruned.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{place}: pruned_heads: expected lists of heads by layer, found {pruned!r}") from error
    for layer, several in lost.items():
        if layer not in range(layers) or not several <= set(range(heads)):
            raise ModelError(
                f"{place}: pruned_heads: layer {layer} has no heads {sorted(several)}; "
                f"expected some of {layers} layers of {heads} heads"
            )
    if any(lost.values()) and not ARCHITECTURES[config.model_type].prunes_heads:
        raise ModelError(f"{place}: pruned_heads of {config.model_type} are not supported; expected a model with all")
    config.pruned_heads = {}
    if any(lost.values()):
        setattr(config, HEADS, [max(1, heads - len(lost.get(layer, ()))) for layer in range(layers)])


@contextmanager
def with_all_heads(path: Path, config: Any) -> Iterator[Path]:
    """Give a directory with the checkpoint whose layers have all heads: itself, or a filled-up copy of its weights.

    The copy is what lets all versions of transformers read it: some prune heads by the config, others cannot.
    """
    if getattr(config, HEADS, None) is None:
        yield path
        return
    try:
        weights = _read_files(path)
    except Exception as error:  # a damaged file raises any error of its parser
        raise ModelError(f"{path}: no weights that transformers can read ({first_line(error)})") from error
    with tempfile.TemporaryDirectory() as scratch:
        config.save_pretrained(scratch)
        filled = {name: tensor.contiguous().clone() for name, tensor in filled_up(weights, config).items()}
        safetensors.torch.save_file(filled, Path(scratch) / WHOLE[0], metadata={"format": "pt"})
        yield Path(scratch)


def filled_up(weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Return weights, under their names in the checkpoint, with heads of zeros in place of pruned ones."""
    if not ARCHITECTURES[config.model_type].prunes_heads:
        return dict(weights)
    names = ARCHITECTURES[config.model_type].encoder
    wanted = {}
    for layer in range(config.num_hidden_layers):
        for part in (*_HEAD_ROWS, "attention_output"):
            own = names[f"layers.{{}}.{part}"].format(layer)
            wanted[f"{own}.weight"] = 0 if part in _HEAD_ROWS else 1
            if part in _HEAD_ROWS:
                wanted[f"{own}.bias"] = 0
    filled = dict(weights)
    for name, tensor in weights.items():
        side = next((side for own, side in wanted.items() if name == own or name.endswith(f".{own}")), None)
        if side is not None and tensor.shape[side] < config.hidden_size:
            shape = list(tensor.shape)
            shape[side] = config.hidden_size - tensor.shape[side]
            filled[name] = torch.cat([tensor, tensor.new_zeros(shape)], dim=side)
    return filled


def _read_files(path: Path) -> dict[str, Tensor]:
    """Read all weights of a checkpoint, whole or in parts."""
    for name in WHOLE:
        index = path / f"{name}.index.json"
        files = [name] if (path / name).is_file() else []
        if not files and index.is_file():
            files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if files:
            return {key: tensor for file in files for key, tensor in _read_file(path / file).items()}
    raise FileNotFoundError(f"expected {' or '.join(WHOLE)}, found neither")


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return dict(safetensors.torch.load_file(file))
    return dict(torch.load(file, weights_only=True, map_location="cpu"))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers for the duration of the context, as it warns of a new classifier that was asked for."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
