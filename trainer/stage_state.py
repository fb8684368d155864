"""What a stage was at when it was interrupted, and the best weights that it had."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gearshift.runtime.storage import replace_file
from gearshift.trainer.interrupted import readable

STATE = "state.pt"


@dataclass
class Best:
    """The weights that were best on held-out rows."""

    score: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    worse: int = 0
    """Evaluations since then."""

    def see(self, score: float, step: int, model: nn.Module) -> None:
        """Of equal scores the later weights are kept: they have learnt more."""
        if score >= self.score:
            self.score, self.step, self.worse = score, step, 0
            self.weights = copy.deepcopy(model.state_dict())
        else:
            self.worse += 1


def save_state(
    path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, best: Best
) -> None:
    buffer = io.BytesIO()
    state = {
        "stage": stage,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": vars(best),
    }
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def load_state(path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, best: Best) -> int:
    """Put back what an interrupted run saved in this stage; gives how many steps it had done, 0 for none.

    Raises InputError where it cannot be read.
    """
    if not path.is_file():
        return 0
    with readable(path):
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["stage"] != stage:
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        vars(best).update(state["best"])
        return int(state["step"])
