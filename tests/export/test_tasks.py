"""A bundle of every task, from graph to answer: what the engine says is what torch's numbers mean."""

import contextlib
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

import gearshift
from gearshift.__main__ import main
from gearshift.errors import InputError
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.export.prepare import MINIMUM_ONNXRUNTIME, SESSION_OPTIONS
from gearshift.runtime import Embedding, Engine, QuestionAnswering, Regression, TokenClassification
from gearshift.runtime.bundle.bundle import Bundle, write_manifest
from gearshift.runtime.bundle.manifest import PRECISIONS, SELF_TEST, TOKENIZER, Manifest, PoolEntry
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.huggingface import load_model
from tests.trainer.encoders import HEADS, VOCABULARY, HeadCase, batch_for, write_model

TEXT = "the frost of winter was there again"
QUESTION = ("what was there", "we saw the snow, and much ice was there")
LABELS = ("O", "B-cold", "I-cold", "B-hot", "I-hot")


@dataclass(frozen=True)
class Made:
    path: Path
    model: ElasticClassifier
    tokenizer: Tokenizer

    @torch.no_grad()
    def logits(self, *texts: str) -> Array:
        """Return what torch gives for one row with the full subnet."""
        encoding = self.tokenizer.encode(*texts)
        rows = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        ids, mask, types = (torch.tensor([row]) for row in rows)
        answer: Array = self.model(Batch(ids, mask, types, ids[:, 0], ids[:, 0]), self.model.full).logits[0].numpy()
        return answer


def byte_level_tokenizer() -> Tokenizer:
    """RoBERTa's kind, with at most VOCABULARY tokens besides the bytes that these texts have."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    made.train_from_iterator([TEXT, *QUESTION], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special))
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return made


def word_tokenizer() -> Tokenizer:
    words = sorted({word for text in (TEXT, *QUESTION) for word in text.replace(",", " ,").split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate([*special, *words])}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


TOKENIZERS = {"BERT": word_tokenizer, "RoBERTa": byte_level_tokenizer}


def write_bundle(folder: Path, encoder: str, head: HeadCase) -> Made:
    """A bundle of a random model, as the exporter writes it."""
    theirs = write_model(folder / "model", encoder, head)
    model = load_model(folder / "model", read_config(folder / "model"), head.task, head.outputs)[0].eval()
    bundle = folder / "made.gearshift"
    bundle.mkdir()
    subnets = uniform_grid(model.shape, (1.0, 0.5), (1.0,))
    space = layer_space(model.shape, list(subnets.values()))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    sample = batch_for(theirs, model.shape, [5, 12, 3, 20])
    arrays = {name: getattr(sample, name).numpy() for name in token_inputs(model.shape)}
    for precision in PRECISIONS:
        path = bundle / f"{precision}.onnx"
        write_elastic_graph(path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head)
    tokenizer = TOKENIZERS[encoder]()
    tokenizer.save(str(bundle / TOKENIZER))
    pool = tuple(
        PoolEntry(name, subnet, "elastic", f"{precision}.onnx", space.choice(subnet), precision, accuracy, 1, 1)
        for precision in PRECISIONS
        for (name, subnet), accuracy in zip(subnets.items(), (0.9, 0.8), strict=True)
    )
    labels = LABELS[: head.outputs] if TASKS[head.task].labelled else ()
    manifest = Manifest(
        "made", head.task, OBJECTIVES[head.task].metric, labels, 32, theirs.config.pad_token_id,
        token_inputs(model.shape), space, pool,
        128, SESSION_OPTIONS, MINIMUM_ONNXRUNTIME, 1, "none", f"gearshift {gearshift.__version__}", {},
    )  # fmt: skip
    answers: dict[str, Array] = {}
    for precision in PRECISIONS:  # what this CPU gives is right by tests.export.test_encoders
        with contextlib.closing(
            ElasticSession(Bundle(bundle, manifest, hash="", known=True), precision, threads=1)
        ) as session:
            for name, subnet in subnets.items():
                answers[f"logits.{precision}.{name}"] = session.run(arrays, space.choice(subnet))
    np.savez_compressed(bundle / SELF_TEST, allow_pickle=False, **arrays, **answers)
    write_manifest(bundle, manifest)
    return Made(bundle, model, tokenizer)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    encoder, head = request.param
    return write_bundle(tmp_path_factory.mktemp("task"), encoder, HEADS[head])


def of(*heads: str) -> pytest.MarkDecorator:
    cases = list(itertools.product(TOKENIZERS, heads))
    return pytest.mark.parametrize("made", cases, ids=[", ".join(case) for case in cases], indirect=True)


@pytest.fixture
def engine(made: Made) -> Engine:
    loaded = Engine.load(made.path, precision="fp32", threads=1)
    loaded.pin("w100-d100")
    return loaded


@of("regression")
def test_a_regression_answers_with_the_number(made: Made, engine: Engine) -> None:
    answer = engine.run(TEXT)
    assert isinstance(answer, Regression)
    assert answer.value == pytest.approx(float(made.logits(TEXT)[0]), abs=1e-4)


@of("embedding, mean", "embedding, first token")
def test_an_embedding_is_a_vector_of_length_one(made: Made, engine: Engine) -> None:
    answer, padded = engine.run(TEXT), engine.run(["was", TEXT, " ".join([TEXT] * 2)])[1]
    assert isinstance(answer, Embedding)
    assert answer.vector.shape == (made.model.shape.hidden,)
    assert np.linalg.norm(answer.vector) == pytest.approx(1, abs=1e-5)
    assert np.abs(answer.vector - made.logits(TEXT)).max() < 1e-4
    assert np.abs(answer.vector - padded.vector).max() < 1e-4


@of("token classification")
def test_every_word_gets_the_label_of_its_first_token(made: Made, engine: Engine) -> None:
    for answer in (engine.run(TEXT), engine.run([" ".join([TEXT] * 2), TEXT])[1]):
        assert isinstance(answer, TokenClassification)
        assert [word.text for word in answer.words] == TEXT.split()
        encoding = made.tokenizer.encode(TEXT)
        best = made.logits(TEXT).argmax(-1)
        for number, word in enumerate(answer.words):
            assert TEXT[word.start : word.end] == word.text
            assert word.label == LABELS[best[encoding.word_ids.index(number)]]
        assert sum(entity.text.count(" ") + 1 for entity in answer.entities) == sum(
            word.label != "O" for word in answer.words
        )


@of("question answering")
def test_an_answer_is_the_likeliest_part_of_the_text(made: Made, engine: Engine) -> None:
    question, text = QUESTION
    for answer in (engine.run(QUESTION), engine.run([(question, text * 2), QUESTION])[1]):
        assert isinstance(answer, QuestionAnswering)
        assert answer.answer == text[answer.start : answer.end]
        encoding = made.tokenizer.encode(question, text)
        places = [place for place, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
        logits = made.logits(question, text)
        pairs = itertools.combinations_with_replacement(places, 2)
        first, last = max(pairs, key=lambda pair: logits[pair[0], 0] + logits[pair[1], 1])
        assert (answer.start, answer.end) == (encoding.offsets[first][0], encoding.offsets[last][1])


@of("question answering")
def test_a_question_alone_is_refused_for_it_would_get_no_answer(engine: Engine) -> None:
    mixed: list[Any] = [QUESTION, QUESTION[0]]
    told = "expected a pair, a question and the text with its answer, got one text$"
    with pytest.raises(InputError, match=f"^{told}"):
        engine.run(QUESTION[0])
    with pytest.raises(InputError, match=f"^text 1: {told}"):
        engine.run(mixed)


@of(*HEADS)
def test_the_command_line_verifies_and_answers(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made.path)]) == 0
    assert main(["inspect", str(made.path)]) == 0
    capsys.readouterr()
    assert main(["run", str(made.path), "--pair", *QUESTION]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["run", str(made.path), "--json", "--pair", *QUESTION]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["text"] == list(QUESTION)


@of("question answering")
def test_pairs_are_read_two_by_two_or_divided_by_a_tab(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", str(made.path), "--pair", "one"]) == 1
    assert "expected texts two by two, got 1" in capsys.readouterr().err
    for lines, code in ((["\t".join(QUESTION)], 0), (["no tab here"], 1)):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
        assert main(["run", str(made.path), "--pair"]) == code
        captured = capsys.readouterr()
        assert bool(captured.out) == (code == 0)
    assert "expected two texts with a tab between them" in captured.err
