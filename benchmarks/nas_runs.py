"""The searches, nets and tunings of `benchmarks.nas`, each made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from gearshift.runtime.mixed import MixedSubnet, parse_subnet
from gearshift.runtime.tables import Limits
from gearshift.trainer.checkpoint import Run, load_run
from gearshift.trainer.data import DataSet, read_data
from gearshift.trainer.dynabert import train_supernet
from gearshift.trainer.nasbert.rescore import pick
from gearshift.trainer.nasbert.run import MIXED, MixedRun, load_mixed_run
from gearshift.trainer.nasbert.search import Searched, load_searched, search_blocks
from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings, TuneSettings
from gearshift.trainer.nasbert.shared import SharedNet, choose_shared
from gearshift.trainer.nasbert.student import train_net
from gearshift.trainer.nasbert.teacher import Teacher, load_teacher
from gearshift.trainer.nasbert.tune import tune_net
from gearshift.trainer.pretrained import find_model
from gearshift.trainer.settings import Settings

Found = TypeVar("Found")
SEARCHES = {"blocks": "architectures", "operations": "operations", "nothing": "none"}
"""Name of a search -> what it deletes."""


@dataclass(frozen=True)
class Size:
    """A hand-made BERT, and the width of the embeddings that all nets of its size have."""

    bert: MixedSubnet
    embedding: int


SIZES = {
    "small": Size(parse_subnet("64MFMF-64MFMF-64MFMF"), 64),
    "large": Size(parse_subnet("128MFMF-128MFMF-128MFMF"), 128),
}
"""BERTs of six layers, as the paper's BERT10 (hidden 256) and BERT5 (128) are, at half the width: so is the teacher."""


@dataclass(frozen=True)
class Task:
    """How nets are tuned for a task."""

    teacher_epochs: float
    epochs: float
    max_length: int
    seeds: int


TASKS = {
    "sst2": Task(0.5, 1, 64, 1),
    "trec": Task(4, 10, 32, 3),
    "snips": Task(1, 4, 32, 3),
    "rte": Task(5, 10, 128, 3),
}


@dataclass(frozen=True)
class Bench:
    """Where everything is, and how much of it."""

    work: Path
    data: Path
    tokens: int = 400_000
    dev_tokens: int = 16_000
    epochs: float = 12
    """Of a net's training on text."""

    @property
    def texts(self) -> list[Path]:
        """What teachers and nets read."""
        return [self.data / "gutenberg" / "books.txt.xz", self.data / "imdb_unsup" / "unsup.txt.xz"]

    @property
    def states(self) -> Path:
        """The teacher's states, which all searches and nets share."""
        return self.work / "states"

    @cached_property
    def encoder(self) -> Teacher:
        """The pretrained encoder."""
        return load_teacher(find_model())

    def rows(self, task: str) -> DataSet:
        """The data of a task."""
        return read_data(self.data / task)

    def teacher(self, task: str) -> Run:
        """The encoder, tuned for a task."""
        path, plan = self.work / f"teacher-{task}", TASKS[task]
        if not (path / "supernet.json").is_file():
            settings = Settings(
                max_length=plan.max_length,
                teacher_epochs=plan.teacher_epochs,
                width_epochs=0,
                depth_epochs=0,
                widths=(1.0,),
                depths=(1.0,),
            )
            train_supernet(self.encoder.checkpoint.source, self.rows(task), settings, path, data_path=self.data / task)
        return load_run(path)

    def search(self, name: str) -> Searched:
        """One of the searches."""
        path = self.work / f"search-{name}"
        settings = SearchSettings(tokens=self.tokens, dev_tokens=self.dev_tokens, shrink=SEARCHES[name])
        return _once(
            path,
            lambda: search_blocks(self.encoder, self.texts, settings, path, states=self.states),
            load_searched,
        )

    def picked(self, search: str, size: str) -> MixedSubnet:
        """The best net of a search within the parameters of a hand-made BERT."""
        searched, of = self.search(search), SIZES[size]
        limit = of.bert.parameters(searched.tables.net_shape(of.embedding))
        ranked = pick(searched, Limits(parameters=limit), embedding=of.embedding, teacher=self.encoder)
        return ranked[0][0].subnet

    def net(self, who: str, size: str, *, distilled: bool = True) -> MixedRun:
        """A trained net: `bert`, or that of a search."""
        path = self.work / f"net-{who}-{size}{'' if distilled else '-words'}"
        settings = NetSettings(
            embedding=SIZES[size].embedding,
            objective="hidden" if distilled else "masked",
            distilled=distilled,
            tokens=self.tokens,
            dev_tokens=self.dev_tokens,
            epochs=self.epochs,
        )

        def train() -> MixedRun:
            subnet = SIZES[size].bert if who == "bert" else self.picked(who, size)
            return train_net(subnet, self.encoder, self.texts, settings, path, states=self.states)

        return _once(path, train, load_mixed_run)

    def tuned(self, net: MixedRun, task: str, seed: int, *, distilled: bool = True) -> MixedRun:
        """A net that was tuned for a task."""
        path = self.work / "tuned" / f"{net.path.name}-{task}-{seed}{'' if distilled else '-labels'}"
        plan = TASKS[task]
        settings = TuneSettings(
            distillation_weight=0.5 if distilled else 0.0, epochs=plan.epochs, max_length=plan.max_length, seed=seed
        )

        def tune() -> MixedRun:
            teacher = self.teacher(task) if distilled else None
            return tune_net(net, teacher, self.rows(task), settings, path, data_path=self.data / task)

        return _once(path, tune, load_mixed_run)

    def shared(self) -> tuple[Searched, list[SharedNet]]:
        """The search of a teacher that was tuned for SNIPS, with a pool of its own blocks."""
        run = self.teacher(SHARED_TASK)
        teacher, path = load_teacher(run.path), self.work / "search-shared"
        settings = SearchSettings(tokens=self.tokens, dev_tokens=self.dev_tokens)
        states = self.work / "states-shared"
        searched = _once(path, lambda: search_blocks(teacher, self.texts, settings, path, states=states), load_searched)
        _, scored = choose_shared(searched, teacher, self.rows(SHARED_TASK))
        return load_searched(path), scored


SHARED_TASK = "snips"


def _once(path: Path, make: Callable[[], Found], load: Callable[[Path], Found]) -> Found:
    if (path / MIXED).is_file():
        return load(path)
    print(f"{path.name} ...", flush=True)
    return make()


NETS = (
    *((who, size, True) for size in SIZES for who in ("bert", *SEARCHES)),
    ("blocks", "large", False),
)
"""Who, size, and whether it learnt from the teacher."""


@dataclass(frozen=True)
class Tuning:
    """A net with its way through both stages."""

    who: str
    size: str
    on_text: bool = True
    """Whether it learnt from the teacher on text, or from masked words alone."""
    on_task: bool = True
    """Whether it learnt from a teacher on the task, or from labels alone."""


TUNINGS = (
    *(Tuning(who, size) for size in SIZES for who in ("bert", *SEARCHES)),
    *(Tuning("blocks", "large", text, task) for text, task in ((True, False), (False, True), (False, False))),
)


def results_of(bench: Bench, tuning: Tuning, task: str) -> list[float]:
    """The accuracy on the task's test rows, for each seed."""
    net = bench.net(tuning.who, tuning.size, distilled=tuning.on_text)
    runs = [bench.tuned(net, task, seed, distilled=tuning.on_task) for seed in range(TASKS[task].seeds)]
    return [next(iter(run.accuracies.values())) for run in runs]
