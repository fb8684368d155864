"""Searches, nets and tunings of `benchmarks.blocks.nas`, each run once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.blocks.shared import SharedNet, choose_shared
from gearshift.errors import InputError
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.blocks import Block, parse_subnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.limits import Limits
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.pretrained import find_model
from gearshift.trainer.model.run import Run, load_supernet
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.rescore import pick
from gearshift.trainer.nasbert.run import MIXED, MixedRun, load_mixed_run
from gearshift.trainer.nasbert.search import Searched, load_searched, search_blocks, search_stage
from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings, TuneSettings
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher, read_states
from gearshift.trainer.nasbert.train import train_net
from gearshift.trainer.nasbert.tune import tune_net

Found = TypeVar("Found")
SEARCHES = {"blocks": "architectures", "operations": "operations", "nothing": "none"}
"""Name of a search -> setting for the kind of things it deletes."""


@dataclass(frozen=True)
class Size:
    """A hand-made BERT, and the width of the embeddings of all nets of its size."""

    bert: Subnet[Block]
    embedding: int


SAVE_EVERY_S = 40
"""Seconds between saved states, the most that is lost on machines that are available for minutes only."""

SIZES = {
    "small": Size(parse_subnet("64MFMF-64MFMF-64MFMF"), 64),
    "large": Size(parse_subnet("128MFMF-128MFMF-128MFMF"), 128),
}
"""BERTs of six layers at half the width of the paper's BERT10 (hidden 256) and BERT5 (128), as the teacher is."""


@dataclass(frozen=True)
class Task:
    """Settings of the tuning of nets for a task."""

    teacher_epochs: float
    epochs: float
    max_length: int
    seeds: int


TASKS = {
    "sst2": Task(0.5, 1, 64, 1),
    "trec": Task(4, 10, 32, 3),
    "snips": Task(1, 4, 32, 1),
    "rte": Task(14, 10, 128, 1),
}

TYPED = ("tokens", "epochs", "tune_share", "most_rows", "score_batches")
"""Settings of a bench that are numbers on its command line."""


@dataclass(frozen=True)
class Bench:
    """Folders and settings of all trainings."""

    work: Path
    data: Path
    text: Path
    """Folder of gutenberg and imdb_unsup."""
    tokens: int = 400_000
    dev_tokens: int = 16_000
    epochs: float = 12
    """Epochs of a net's training on text."""
    tune_share: float = 1.0
    """Share of the planned steps for a task."""
    most_rows: int = 0
    """Most train rows of a task, drawn at random, with as many steps; 0: all."""
    score_batches: int = SearchSettings.score_batches
    dry: bool = False
    """Whether to use few blocks only, for a trial."""

    def settings_of_work(self) -> dict[str, Any]:
        """Return the settings that must be the same for everything in the folder."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("work", "data", "text")}

    def claim(self) -> None:
        """Store the settings of the folder on first use; raise InputError if it was made with other settings."""
        mine, path = self.settings_of_work(), self.work / "bench.json"
        if not path.is_file():
            self.work.mkdir(parents=True, exist_ok=True)
            replace_file(path, (json.dumps(mine, indent=1) + "\n").encode())
            return
        defaults = {field.name: field.default for field in fields(self)}
        theirs = json.loads(path.read_text(encoding="utf-8"))
        other = [
            f"{name} {theirs.get(name, defaults[name])}"
            for name in mine
            if theirs.get(name, defaults[name]) != mine[name]
        ]
        if other:
            raise InputError(f"{self.work}: made with {', '.join(other)}; pass the same, or another folder")

    @property
    def arguments(self) -> str:
        """Settings in the form in which they are typed."""
        typed = [
            f"--{name.replace('_', '-')} {getattr(self, name):.15g}"
            for name in TYPED
            if getattr(self, name) != getattr(Bench, name)
        ]
        return " ".join([*typed, *(["--dry"] if self.dry else [])])

    @property
    def texts(self) -> list[Path]:
        """Files that teachers and nets read."""
        return [self.text / "gutenberg" / "books.txt.xz", self.text / "imdb_unsup" / "unsup.txt.xz"]

    @property
    def states(self) -> Path:
        """Folder of the teacher's states, which all searches and nets share."""
        return self.work / "states"

    @cached_property
    def encoder(self) -> TeacherEncoder:
        """The pretrained encoder."""
        return load_teacher(find_model())

    def rows(self, task: str) -> DataSet:
        """Read the data of a task."""
        found = read_data(self.data / task)
        if not 0 < self.most_rows < len(found.splits["train"]):
            return found
        drawn = tuple(random.Random(0).sample(found.splits["train"], self.most_rows))
        return replace(found, splits={**found.splits, "train": drawn})

    def teacher(self, task: str) -> Run:
        """Return the encoder tuned for a task."""
        path, plan = self.work / f"teacher-{task}", TASKS[task]
        if not (path / "supernet.json").is_file():
            settings = Settings(
                max_length=plan.max_length,
                teacher_epochs=plan.teacher_epochs * self.tune_share,
                width_epochs=0,
                depth_epochs=0,
                widths=(1.0,),
                depths=(1.0,),
            )
            train_supernet(self.encoder.checkpoint.source, self.rows(task), settings, path)
        return load_supernet(path)

    def compute_states(self, *, shared: bool = False) -> None:
        """Compute the states that all stages learn from."""
        settings, encoder = self.settings("blocks"), self.shared_teacher if shared else self.encoder
        corpus = read_corpus(
            self.shared_texts if shared else self.texts,
            encoder.checkpoint.tokenizer,
            max_length=settings.max_length,
            tokens=settings.tokens,
            dev_tokens=settings.dev_tokens,
        )
        read_states(encoder, corpus, settings.block_layers, self.shared_states if shared else self.states)

    def settings(self, search: str) -> SearchSettings:
        """Return the settings of one of the searches."""
        found = SearchSettings(
            tokens=self.tokens,
            dev_tokens=self.dev_tokens,
            shrink=SEARCHES[search],
            score_batches=self.score_batches,
            save_every_s=SAVE_EVERY_S,
        )
        return replace(found, sizes=(64, 96), sampled=4, kept=155, last_epochs=0) if self.dry else found

    def search_stage(self, name: str, number: int) -> None:
        """Run one stage of one of the searches."""
        path = self.work / f"search-{name}"
        search_stage(self.encoder, self.texts, self.settings(name), path, number, states=self.states)

    def search(self, name: str) -> Searched:
        """Return one of the searches, run now or before."""
        path, settings = self.work / f"search-{name}", self.settings(name)
        return _once(
            path,
            lambda: search_blocks(self.encoder, self.texts, settings, path, states=self.states),
            load_searched,
        )

    def picked(self, search: str, size: str) -> Subnet[Block]:
        """Return the best net of a search within the parameters of a hand-made BERT."""
        searched, of = self.search(search), SIZES[size]
        limit = of.bert.parameters(searched.tables.space.shape.alone(of.embedding))
        ranked = pick(searched, Limits(parameters=limit), embedding=of.embedding, teacher=self.encoder)
        return ranked[0][0].subnet

    def net(self, who: str, size: str, *, distilled: bool = True) -> MixedRun:
        """Return a trained net: `bert`, or that of a search."""
        path = self.work / net_name(who, size, distilled)
        settings = NetSettings(
            embedding=SIZES[size].embedding,
            objective="hidden" if distilled else "masked",
            distilled=distilled,
            tokens=self.tokens,
            dev_tokens=self.dev_tokens,
            epochs=self.epochs,
            save_every_s=SAVE_EVERY_S,
        )

        def train() -> MixedRun:
            subnet = SIZES[size].bert if who == "bert" else self.picked(who, size)
            return train_net(subnet, self.encoder, self.texts, settings, path, states=self.states)

        return _once(path, train, load_mixed_run)

    def tuned(self, tuning: Tuning, task: str, seed: int) -> MixedRun:
        """Return a net tuned for a task."""
        path = self.work / "tuned" / tuning.name(task, seed)
        plan = TASKS[task]
        settings = TuneSettings(
            distillation_weight=0.5 if tuning.on_task else 0.0,
            epochs=plan.epochs * self.tune_share * self._more_epochs(task),
            max_length=plan.max_length,
            seed=seed,
        )

        def tune() -> MixedRun:
            teacher = self.teacher(task) if tuning.on_task else None
            net = load_mixed_run(self.work / tuning.net)
            return tune_net(net, teacher, self.rows(task), settings, path)

        return _once(path, tune, load_mixed_run)

    def _more_epochs(self, task: str) -> float:
        """Return the factor on epochs that keeps the number of steps with fewer rows."""
        return len(read_data(self.data / task).splits["train"]) / len(self.rows(task).splits["train"])

    @property
    def shared_states(self) -> Path:
        """Folder of the states of the teacher tuned for SHARED_TASK."""
        return self.work / "states-shared"

    @cached_property
    def shared_teacher(self) -> TeacherEncoder:
        """Teacher tuned for SHARED_TASK."""
        return load_teacher(self.teacher(SHARED_TASK).path)

    @property
    def shared_texts(self) -> list[Path]:
        """Texts that shared blocks learn from: the blocks are not trained anew, so these are the texts that they will
        read."""
        return [self.data / SHARED_TASK / "train.tsv"]

    @property
    def shared_settings(self) -> SearchSettings:
        """Settings of the search for shared blocks: nothing is trained anew, so the remaining blocks are trained for
        longer."""
        settings = self.settings("blocks")
        return settings if self.dry else replace(settings, last_epochs=SHARED_EPOCHS)

    def shared_stage(self, number: int) -> None:
        """Run one stage of the search for shared blocks."""
        settings, path = self.shared_settings, self.work / "search-shared"
        search_stage(self.shared_teacher, self.shared_texts, settings, path, number, states=self.shared_states)

    def shared(self) -> tuple[Searched, list[SharedNet]]:
        """Return the search for shared blocks, with a pool of them."""
        teacher, path, settings = self.shared_teacher, self.work / "search-shared", self.shared_settings
        searched = _once(
            path,
            lambda: search_blocks(teacher, self.shared_texts, settings, path, states=self.shared_states),
            load_searched,
        )
        _, scored = choose_shared(searched, teacher, self.rows(SHARED_TASK))
        return load_searched(path), scored


SHARED_TASK = "snips"
SHARED_EPOCHS = 20
"""Epochs after the last deletion, for blocks that are not trained anew."""


def _once(path: Path, make: Callable[[], Found], load: Callable[[Path], Found]) -> Found:
    if (path / MIXED).is_file():
        return load(path)
    print(f"{path.name} ...", flush=True)
    return make()


NETS = (
    *((who, size, True) for size in SIZES for who in ("bert", *SEARCHES)),
    ("blocks", "large", False),
)
"""Name of a search or `bert`, size, and whether the net learnt from the teacher."""


def net_name(who: str, size: str, distilled: bool) -> str:
    """Return the name of a net and its job."""
    return f"net-{who}-{size}{'' if distilled else '-words'}"


@dataclass(frozen=True)
class Tuning:
    """A net with its way through both stages."""

    who: str
    size: str
    on_text: bool = True
    """Whether it learnt from the teacher on text, or from masked words alone."""
    on_task: bool = True
    """Whether it learnt from a teacher on the task, or from labels alone."""

    @property
    def net(self) -> str:
        """Name of the job that trains it on text."""
        return net_name(self.who, self.size, self.on_text)

    def name(self, task: str, seed: int) -> str:
        """Return the name of the job that tunes it."""
        return f"tune-{self.net}-{task}-{seed}{'' if self.on_task else '-labels'}"


TUNINGS = (
    *(Tuning(who, size) for size in SIZES for who in ("bert", *SEARCHES)),
    *(Tuning("blocks", "large", text, task) for text, task in ((True, False), (False, True), (False, False))),
)
