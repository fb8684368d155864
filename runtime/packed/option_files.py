"""Files of the graphs of single options, which refer to the weights of a saved graph and to their packed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gearshift.runtime.bundle.manifest import CHOICE
from gearshift.runtime.graph.model import read_model, read_saved_tensors
from gearshift.runtime.graph.options import option_models
from gearshift.runtime.graph.writer import write_model
from gearshift.runtime.inference.option_sessions import MOST_OPTIONS, option_path
from gearshift.runtime.space.space import Space


def write_options(space: Space[Any, Any], source: Path, saved: Path) -> bool:
    """Write the graph of each option beside a saved graph, with its packed weights; return whether there are any.

    There are none for a space of several stages, whose options are mixed, nor for many. `source`: the graph that was
    saved. Raises ValueError for a graph of another form.
    """
    options = [len(stage.options) for stage in space.stages]
    if len(options) != 1 or not 1 < options[0] <= MOST_OPTIONS:
        return False
    tensors = {tensor.name: tensor for tensor in read_saved_tensors(saved.read_bytes())}
    models = list(option_models(read_model(source.read_bytes()), tensors, CHOICE))
    if len(models) != options[0]:
        raise ValueError(f"{len(models)} switches for {options[0]} options")
    for option, model in enumerate(models):
        option_path(saved, option).write_bytes(write_model(model))
    return True
