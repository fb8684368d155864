"""`transformers.Trainer` for a supernet, so that existing code around a training can stay as it is.

    trainer = SupernetTrainer(Supernet.convert(model), arguments, train_dataset=..., eval_dataset=..., ...)
    trainer.train()
    trainer.evaluate()                          # eval_w050-d100_accuracy ..., of every subnet
    trainer.predict(rows)                       # answers of the full net
    trainer.supernet.save("runs/mine", tokenizer, max_length=64)

Its checkpoints hold the supernet's weights, and `train(resume_from_checkpoint=True)` continues from them.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.trainer_utils import IntervalStrategy

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.training_stages import DEPTH
from gearshift.trainer.learning.objectives import OBJECTIVES


def label_names(task: str) -> list[str]:
    """Return the names of a task's labels in a batch; transformers infers them from a class name, which ours does not
    match."""
    return ["start_positions", "end_positions"] if task == "question-answering" else ["labels"]


class OneSubnet(nn.Module):
    """A subnet with the interface of a transformers model: named tensors in; `loss`, if there are labels, and `logits`
    out; for question answering `start_logits` and `end_logits`."""

    def __init__(self, supernet: Supernet, subnet: Subnet) -> None:
        super().__init__()
        self.supernet, self.subnet = supernet, subnet

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = {name: value for name, value in locals().items() if isinstance(value, Tensor)}
        batch = self.supernet.as_batch(given)
        logits = self.supernet(batch, self.subnet).logits
        objective = OBJECTIVES[self.supernet.task]
        known = objective.taught and (labels is not None or start_positions is not None)
        loss = {"loss": objective.loss(logits, batch)} if known else {}
        if self.supernet.task == "question-answering":
            start, end = logits.unbind(-1)
            return {**loss, "start_logits": start, "end_logits": end}
        return {**loss, "logits": logits}


class SupernetTrainer(transformers.Trainer):  # type: ignore[misc]
    """Trainer that distils the subnets of a supernet: each step trains those that it draws, after one pass of the
    teacher."""

    def __init__(self, supernet: Supernet, args: Any = None, *, stage: str = DEPTH.name, **others: Any) -> None:
        """Make a trainer; `stage` selects the subnets to draw from (`Supernet.sample`), the rest is `Trainer`'s."""
        super().__init__(supernet, args, **others)
        self.label_names = label_names(supernet.task)
        self.stage = stage

    @property
    def supernet(self) -> Supernet:
        """The supernet that is trained."""
        model: Supernet = self.accelerator.unwrap_model(self.model)
        return model

    def training_step(self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Add up the gradients of the subnets of a step; return the sum of their losses."""
        model.train()
        supernet = self.supernet
        batch = supernet.as_batch(self._prepare_inputs(dict(inputs)))
        total = torch.zeros((), device=batch.input_ids.device)
        with self.compute_loss_context_manager():
            targets = supernet.teach(batch)
            subnets = supernet.sample(self.stage, step=self.state.global_step)
        # Before version 4.49 transformers does not count the batches of a last, shorter step.
        parts = getattr(self, "current_gradient_accumulation_steps", self.args.gradient_accumulation_steps)
        for place, subnet in enumerate(subnets, start=1):
            last = place == len(subnets)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = supernet.distill_loss(model(batch, subnet), targets, subnet)
                loss = loss / parts
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss and metrics of every subnet under `PREFIX_NAME_`, and of the full net also under `PREFIX_`.

        With several data sets by name, each is under `PREFIX_DATASET_NAME_`.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(rows, str):
            rows = self.eval_dataset[rows]
        measured: dict[str, float] = {}
        if isinstance(rows, Mapping):
            for name, one_set in rows.items():
                measured |= self.evaluate(one_set, ignore_keys, f"{metric_key_prefix}_{name}")
            return measured
        for name, subnet in self.supernet.subnets.items():
            found = self._trainer_of(subnet).predict(rows, ignore_keys, f"{metric_key_prefix}_{name}").metrics
            measured |= found
            if subnet == self.supernet.model.full:
                start = f"{metric_key_prefix}_{name}_"
                measured |= {f"{metric_key_prefix}_{key.removeprefix(start)}": value for key, value in found.items()}
        self.log(measured)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        return measured

    def predict(self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test") -> Any:
        """Return the answers of the full net, with its loss and metrics if there are labels."""
        return self._trainer_of(self.supernet.model.full).predict(test_dataset, ignore_keys, metric_key_prefix)

    def _trainer_of(self, subnet: Subnet) -> Any:
        """Return a trainer with this one's arguments that predicts with one subnet."""
        arguments = copy.copy(self.args)
        arguments.eval_strategy = IntervalStrategy.NO  # its rows are passed at each call
        arguments.load_best_model_at_end = False
        one = transformers.Trainer(
            OneSubnet(self.supernet, subnet),
            arguments,
            data_collator=self.data_collator,
            compute_metrics=self.compute_metrics,
            preprocess_logits_for_metrics=self.preprocess_logits_for_metrics,
        )
        one.label_names = self.label_names
        return one

    def _set_signature_columns_if_needed(self) -> None:
        """Set the columns of a data set that a model accepts."""
        taken = [name for name in inspect.signature(OneSubnet.forward).parameters if name != "self"]
        self._signature_columns = [*taken, "label", "label_ids"]
