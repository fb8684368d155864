"""A supernet for a training loop of one's own.

supernet = Supernet.convert(model)                  # any supported transformers model, fine-tuned
supernet.rank(batches)                              # important heads and neurons first; a few labelled batches
for inputs in batches:
    targets = supernet.teach(inputs)                # the one pass of the teacher
    for subnet in supernet.sample():
        supernet.distill_loss(supernet(inputs, subnet), targets, subnet).backward()
    optimizer.step()
    optimizer.zero_grad()
supernet.save("runs/mine", tokenizer, max_length=64)    # `gearshift export` takes it from here
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gearshift.errors import InputError, ModelError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import subnet_name, uniform_subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.tokenizer import check_ids, from_transformers, load_tokenizer
from gearshift.trainer.dynabert.source import is_ordered, order_note
from gearshift.trainer.dynabert.training_stages import DEPTH, DISTILLED
from gearshift.trainer.learning.distillation import Targets, Teacher, distill_loss
from gearshift.trainer.learning.importance import measure_importance, reorder
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.learning.sampling import Sampler, SpaceSampler
from gearshift.trainer.model.checkpoint import Checkpoint
from gearshift.trainer.model.configs import check_config, read_config
from gearshift.trainer.model.elastic import ElasticClassifier, Output
from gearshift.trainer.model.embedding_head import POOLINGS
from gearshift.trainer.model.huggingface import elastic_model, task_of
from gearshift.trainer.model.labels import label_names
from gearshift.trainer.model.loading import quiet, require_finite, take_pruned_heads
from gearshift.trainer.model.pretrained import find_model
from gearshift.trainer.model.run import load_supernet, save_run
from gearshift.trainer.model.sentence_head import SentenceHead, read_sentence_head
from gearshift.trainer.model.sentence_modules import MODULES, POOLING, SentenceModules
from gearshift.trainer.model.sentence_settings import SentenceSettings

Inputs = Batch | Mapping[str, Tensor]
"""A batch of ours, or the inputs of a transformers model: `input_ids`, `attention_mask`, `labels` ..."""


class Supernet(nn.Module):
    """A model that runs any of its subnets, with the teacher that they learn from: the model as it was converted,
    unless another one is given."""

    def __init__(
        self,
        model: ElasticClassifier,
        space: Iterable[Subnet] | Space,
        config: Any,
        *,
        teacher: ElasticClassifier | None = None,
        sampling: str = "sandwich",
        random_subnets: int = 1,
        mixed_widths: bool = False,
        same_width_teacher: bool = False,
        logit_weight: float = 1.0,
        hidden_weight: float = 1.0,
        seed: int = 0,
        sentence: SentenceHead | None = None,
    ) -> None:
        """Make a supernet; `config` is that of the transformers model, `sentence` the head of an embedding model, the
        rest is as in `Settings`."""
        super().__init__()
        self.model, self.config = model, config
        self._sentence = sentence or SentenceHead(SentenceModules(), SentenceSettings())
        self._weights = {"logit_weight": logit_weight, "hidden_weight": hidden_weight}
        self._same_width = same_width_teacher
        self._steps = 0
        self._samplers: dict[str, Sampler | SpaceSampler] = {}
        if isinstance(space, Space):
            drawn = SpaceSampler(space, sampling, random_subnets, seed)
            named, self._samplers[DEPTH.name] = list(drawn.ends), drawn
            self._layers = [option.layers for stage in space.stages for option in stage.options]
        else:
            named = sorted(space, key=lambda one: one.size(model.shape), reverse=True)
            for stage, subnets in _by_stage(named, model.full).items():
                self._samplers[stage] = Sampler(tuple(subnets), sampling, random_subnets, mixed_widths, seed)
            self._layers = [subnet.layers for subnet in named]
        for subnet in named:
            if not subnet.fits(model.shape):
                raise InputError(f"space: {subnet.layers} is no subnet of a model with {model.full.layers}")
        even = {subnet: name for name, subnet in model.grid().items()}
        self.subnets = {even.get(subnet) or subnet_name(model.shape, subnet): subnet for subnet in named}
        """Name -> subnet: those that are trained; of a `Space` the largest and the smallest."""
        if teacher is not None and same_width_teacher:
            raise InputError("same_width_teacher: a given teacher has no sorted widths; leave one of the two out")
        self._teaches_itself = teacher is None
        self._source = Path(config.name_or_path or "")
        self._ordered, self._ranked = bool(config.name_or_path) and is_ordered(self._source), False
        self._teacher = Teacher(teacher or model, same_width=same_width_teacher)

    @classmethod
    def convert(
        cls,
        model: Any,
        space: Space | Iterable[Subnet] | None = None,
        *,
        teacher: Any = None,
        pooling: str = "",
        sampling: str = "sandwich",
        random_subnets: int = 1,
        mixed_widths: bool = False,
        same_width_teacher: bool = False,
        logit_weight: float = 1.0,
        hidden_weight: float = 1.0,
        seed: int = 0,
    ) -> Supernet:
        """Return the elastic form of a transformers model, whose weights are copied.

        `space`: subnets to train, or a space with options for every stage; DynaBERT's 12 unless given.
        `teacher`: a fine-tuned model of the same architecture, task and sizes, if the model is not its own teacher.
        `pooling`: way to make one vector, of length 1, of an embedding model's tokens: `mean`, `first` or another of
        `embedding_head.POOLINGS`, or several with `+` between them. Unless given, the modules of sentence-transformers
        in the directory that the model was loaded from.
        The rest is as in `Settings`.
        Raises ModelError for a model that cannot be made elastic, or a teacher that cannot teach it, InputError for an
        unknown pooling.
        """
        elastic, sentence = _elastic(model, pooling)
        own = None if teacher is None else _elastic(teacher, pooling)[0].to(model.device)
        if own is not None:
            _check_teacher(own, elastic, teacher.config, model.config)
        subnets = list(elastic.grid().values()) if space is None else space
        return cls(
            elastic,
            subnets,
            copy.deepcopy(model.config),
            teacher=own,
            sampling=sampling,
            random_subnets=random_subnets,
            mixed_widths=mixed_widths,
            same_width_teacher=same_width_teacher,
            logit_weight=logit_weight,
            hidden_weight=hidden_weight,
            seed=seed,
            sentence=sentence,
        )

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Supernet:
        """Return the supernet of a run directory, or of a repository of the hub that has one, to be trained further.

        Its subnets are those that were trained, and its heads and neurons keep their order. `options`: `teacher`, an
        ElasticClassifier, and those of `Settings`, as in the constructor. Raises ModelError.
        """
        run = load_supernet(find_model(str(name)))
        config, hidden = read_config(run.path), run.checkpoint.model.shape.hidden
        sentence = read_sentence_head(run.path, run.path, hidden) if run.task == "embedding" else None
        return cls(run.checkpoint.model, run.trained.values(), config, sentence=sentence, **options)

    @property
    def task(self) -> str:
        """Name of one of `tasks.TASKS`."""
        return self.model.head.task

    def renew_teacher(self) -> None:
        """Let subnets learn from the model as it is now: for the beginning of another stage."""
        self._teacher = Teacher(self.model, same_width=self._same_width)

    def rank(self, batches: Iterable[Inputs], *, anew: bool = False) -> None:
        """Put important heads and neurons first, by labelled batches of training rows; no output of the full net
        changes.

        `anew`: also if the model comes from a supernet, whose narrow subnets are lost by another order.
        Raises InputError for such a model unless `anew`, and for a batch without labels, if the task has any.
        """
        if self._ordered and not anew:
            raise InputError(
                f"rank: {self._source} is a supernet, whose narrow subnets need the order of its heads and "
                "neurons; leave rank out to keep it, or pass anew=True"
            )
        reorder(self.model, measure_importance(self.model, map(self._labelled, batches)))
        self._ranked = True
        if self._teaches_itself:
            self.renew_teacher()

    def sample(self, stage: str = DEPTH.name, *, step: int | None = None) -> list[Subnet]:
        """Draw the subnets of the next training step, or of a step by number; the largest is last.

        `stage`: `width`, `depth-only` or `depth`, as in `order.DISTILLED`. A draw depends on the seed and the step
        alone.
        """
        if stage not in self._samplers:
            raise InputError(f"stage: expected one of {', '.join(self._samplers)}, got {stage!r}")
        if step is None:
            step, self._steps = self._steps, self._steps + 1
        return self._samplers[stage].draw(step)[::-1]

    def forward(self, inputs: Inputs, subnet: Subnet | None = None) -> Output:
        """Return logits and hidden states of a subnet, by default of the full net."""
        output: Output = self.model(self.as_batch(inputs), subnet or self.model.full)
        return output

    def teach(self, inputs: Inputs) -> Targets:
        """Return the teacher's outputs for a batch; the teacher runs when they are first used, once for all subnets."""
        self._teacher.model.to(self.model.device)
        return self._teacher.teach(self.as_batch(inputs))

    def distill_loss(
        self, output: Output, targets: Targets, subnet: Subnet, *, hidden_weight: float | None = None
    ) -> Tensor:
        """Return the loss of a subnet's answers and hidden states against the teacher's (`distillation.distill_loss`).

        `hidden_weight`: weight of the hidden states beside the answers, the supernet's own (1) unless given. DynaBERT
        uses 0.1 while widths are trained, and 1 afterwards.
        """
        weights = self._weights if hidden_weight is None else {**self._weights, "hidden_weight": hidden_weight}
        return distill_loss(output, targets.of(subnet), targets.batch, subnet, task=self.task, dims=(), **weights)

    def as_batch(self, inputs: Inputs) -> Batch:
        """Return a batch from the inputs of a transformers model; raise InputError for rows that are padded on the
        left, or longer than the model accepts."""
        ids = inputs.input_ids if isinstance(inputs, Batch) else inputs["input_ids"]
        tokens, positions = ids.shape[1], self.model.shape.positions
        if tokens > positions:
            raise InputError(
                f"batch: {tokens} tokens are more than the model's {positions} positions; truncate texts to {positions}"
            )
        if isinstance(inputs, Batch):
            return inputs
        mask = inputs.get("attention_mask", torch.ones_like(ids))
        if bool((mask[:, 1:] > mask[:, :-1]).any()):
            raise InputError("batch: expected padding behind the tokens, found it before them; pad on the right")
        types = inputs.get("token_type_ids", torch.zeros_like(ids))
        return Batch(ids, mask, types, self._labels(inputs), torch.arange(len(ids)))

    def _labelled(self, inputs: Inputs) -> Batch:
        batch = self.as_batch(inputs)
        if OBJECTIVES[self.task].taught and not batch.labels.numel():
            names = "start_positions and end_positions" if self.task == "question-answering" else "labels"
            raise InputError(f"rank: expected batches with {names}, by whose loss heads are ranked, got one without")
        return batch

    def _labels(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the labels in the form of `Batch`; without any, a tensor (batch, 0), since distillation needs none."""
        if self.task == "question-answering" and "start_positions" in inputs:
            return torch.stack([inputs["start_positions"], inputs["end_positions"]], dim=1)
        labels = inputs.get("labels")
        if labels is None:
            return torch.zeros(len(inputs["input_ids"]), 0)
        return labels.flatten().float() if self.task == "regression" else labels

    def save(
        self,
        path: str | Path,
        tokenizer: Any,
        *,
        max_length: int,
        accuracies: Mapping[str, float] | None = None,
        dev_accuracies: Mapping[str, float] | None = None,
    ) -> None:
        """Write a run directory as `gearshift train` does, atomically; raises StorageError.

        `tokenizer`: transformers tokenizer of the model. `max_length`: greatest length of a text in tokens.
        `accuracies`: name -> metric of a subnet on test rows, if measured; `dev_accuracies`: on the dev rows.
        """
        with tempfile.TemporaryDirectory() as scratch, quiet():
            source = Path(scratch)
            self.config.save_pretrained(source)
            tokenizer.save_pretrained(source)
            backend = from_transformers(tokenizer, Path(path))
            check_ids(backend, self.model.shape.vocabulary, Path(path))
            labels = label_names(self.config, path) if TASKS[self.task].labelled else ()
            save_run(
                Path(path),
                Checkpoint(
                    copy.deepcopy(self.model).cpu(),
                    self._sentence.tokenizer(backend),
                    labels,
                    source,
                    True,
                    self._sentence.settings,
                ),
                subnets=self.subnets,
                accuracies=dict(accuracies or {}),
                dev_accuracies=dev_accuracies,
                facts={
                    "max_length": max_length,
                    "data": None,
                    "settings": {"widths": self._widths()},
                    "notes": [order_note(self._source, ranked=self._ranked)] if self._ordered else [],
                },
            )

    def _widths(self) -> list[float]:
        """Return the width multipliers of the trained layers; none if some sizes are of no multiplier."""
        shape = self.model.shape
        sizes = {size for layers in self._layers for size in layers if size != (0, 0)}
        widths = {size: size[0] / shape.heads for size in sizes}
        if any(uniform_subnet(shape, width, 1).layers[0] != size for size, width in widths.items()):
            return []
        return sorted(widths.values(), reverse=True)


def _elastic(model: Any, pooling: str) -> tuple[ElasticClassifier, SentenceHead | None]:
    """Return the elastic form of a transformers model, on its device, and the head of an embedding model; raises
    ModelError, InputError."""
    config = copy.deepcopy(model.config)
    check_config(config, config.name_or_path or type(model).__name__)
    task = task_of(model)
    require_finite(model.state_dict(), config.name_or_path or type(model).__name__)
    if TASKS[task].labelled:
        label_names(config, config.name_or_path or type(model).__name__)
    take_pruned_heads(config, config.name_or_path or type(model).__name__)
    outputs = TASKS[task].outputs or (config.hidden_size if task == "embedding" else config.num_labels)
    if task != "embedding" and outputs != config.num_labels:
        raise ModelError(
            f"{type(model).__name__}: for {task} expected {outputs} labels, got {config.num_labels}; "
            "set num_labels or problem_type of its config"
        )
    if task != "embedding":
        return elastic_model(model.state_dict(), config, task, outputs).to(model.device), None
    head = _sentence_head(config.name_or_path, pooling, config.hidden_size)
    skipped = head.skipped(head.tokenizer(load_tokenizer(Path(config.name_or_path)))) if head.skips_prompt else 0
    made = elastic_model(model.state_dict(), config, task, outputs, head.modules, skipped)
    return made.to(model.device), head


def _sentence_head(path: str, given: str, hidden: int) -> SentenceHead:
    """Return the head of an embedding model: of the given pooling, or as stated in the directory of the model."""
    if given:
        if strange := [name for name in given.split("+") if name not in POOLINGS]:
            raise InputError(f"pooling: expected one or several of {', '.join(POOLINGS)}, got {strange[0]!r}")
        return SentenceHead(SentenceModules(given), SentenceSettings())
    if not path or not any((Path(path) / name).is_file() for name in (MODULES, POOLING)):
        raise ModelError(
            f"{path or 'model'}: has no {MODULES}, which states its pooling; pass pooling='mean' or pooling='first'"
        )
    return read_sentence_head(Path(path), Path(path), hidden)


def _check_teacher(teacher: ElasticClassifier, model: ElasticClassifier, its: Any, own: Any) -> None:
    """Raise ModelError if hidden states or answers of the two models cannot be compared one by one."""
    for what, found, expected in (
        ("architecture", its.model_type, own.model_type),
        ("task", teacher.head.task, model.head.task),
        ("labels", its.id2label, own.id2label),
        ("layers", teacher.shape.layers, model.shape.layers),
        ("hidden size", teacher.shape.hidden, model.shape.hidden),
        ("vocabulary", teacher.shape.vocabulary, model.shape.vocabulary),
        ("positions", teacher.shape.positions, model.shape.positions),
    ):
        if found != expected:
            raise ModelError(
                f"teacher: expected the {what} of the model, {expected}, found {found}; "
                "give a fine-tuned model of the same architecture"
            )


def _by_stage(subnets: list[Subnet], full: Subnet) -> dict[str, list[Subnet]]:
    """Return stage of progressive shrinking -> its subnets."""
    stages = {stage.name: [subnet for subnet in subnets if stage.trains(subnet, full)] for stage in DISTILLED}
    return {name: chosen for name, chosen in stages.items() if chosen}
