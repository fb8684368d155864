"""Labels of a checkpoint, in the order of its outputs, by the ids of its config."""

from __future__ import annotations

from typing import Any

from gearshift.errors import ModelError


def label_names(config: Any, place: object) -> tuple[str, ...]:
    """Return the names of the outputs of a model; raises ModelError, which names `place`.

    `id2label` decides. Two outputs of one name, ids with gaps, and a `label2id` that gives the same names other ids are
    refused: whatever is taken, some of the answers would be wrong.
    """
    named = {int(place): str(name) for place, name in config.id2label.items()}
    names = tuple(name for _, name in sorted(named.items()))
    if sorted(named) != list(range(len(named))):
        ids = ", ".join(map(str, sorted(named)))
        raise ModelError(f"{place}: id2label has the ids {ids}; expected 0 to {len(named) - 1}, one for each output")
    for name in names:
        if names.count(name) > 1:
            ids = " and ".join(str(at) for at, other in enumerate(names) if other == name)
            raise ModelError(f"{place}: id2label calls the outputs {ids} {name!r}; give each output a name of its own")
    back = {str(name): at for name, at in (config.label2id or {}).items()}
    # Often only one of the two was set, and the other has the names LABEL_0, LABEL_1 ...
    if set(back) == set(names):
        for at, name in named.items():
            if int(back[name]) != at:
                raise ModelError(
                    f"{place}: {name!r} is output {at} by id2label and {back[name]} by label2id; correct one of them"
                )
    return names


def known_labels(config: Any) -> set[str]:
    """Return the names of the outputs, whether or not they can be told apart."""
    return {str(name) for name in config.id2label.values()}
