"""The elastic graph on a GPU: answers, copies, time against PyTorch, and switching, in some ten minutes.

    python -m benchmarks.graph.gpu [--shape minilm-l6] [--device cuda]

**It never ran on a GPU.** `--device cpu` runs all of it on a CPU, to see that it works; what it prints then says
nothing of a GPU.

Graphs, of twelve uniform subnets in one stage: the fast operators and those for GPUs, fp32 and fp16; and those for
GPUs with a truth value per option as inputs, in place of comparisons with `choice`, whose results would be copied to
the host at every call. Each is called as `run` does, with copies of inputs and outputs, and bound to tensors on the
device.
Rivals: PyTorch, and `torch.compile` with CUDA graphs (`reduce-overhead`), of each subnet alone, in fp16.
In turns, medians, each call until its answer is on the host.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.graph.subjects import LABELS, SHAPES, Inputs, cut_model, random_weights
from benchmarks.report import markdown, save
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.manifest import CHOICE
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.elastic import ElasticClassifier

BATCHES = ((1, 16), (1, 64), (1, 128), (8, 64), (32, 128))
"""Texts of a call, and their tokens."""
SHOWN = ("w100-d100", "w050-d100", "w100-d050", "w025-d050")
GRAPHS = (("fast", "fp32"), ("gpu", "fp32"), ("fast", "fp16"), ("gpu", "fp16"))
COMPILE_UNTIL_S = 360.0
"""Seconds after which no other subnet or length is compiled: each takes up to a minute."""
CONDITION = "is_option{}"
"""Name of the input with the truth value of an option."""

Call = Callable[[], Any]


def main() -> None:
    """Measure, print the tables and write them; on a CPU write nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    if options.device == "cuda" and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise SystemExit("no CUDAExecutionProvider here: pip install 'onnxruntime-gpu[cuda,cudnn]'")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(SHAPES[options.shape], options.device, options.rounds, Path(scratch))
        facts = {"answers": bench.answers(), "copies": bench.copies(), "switching": bench.switching()}
        facts["times"] = bench.times()
    lines = tables(options.shape, facts)
    if options.device == "cpu":
        print("\n".join(lines))
        return
    command = f"python -m benchmarks.graph.gpu --shape {options.shape}"
    save(f"gpu-{options.shape}", {"command": command, "gpu": torch.cuda.get_device_name(), **facts}, lines)


def conditions_as_inputs(graph: Path, target: Path) -> int:
    """Write a graph of one stage with an input for the condition of each option; return the number of options.

    The weights stay in the file that they are in, which must lie beside `target` too.
    """
    model = onnx.load(graph, load_external_data=False)
    body = model.graph
    switches = [node.input[0] for node in body.node if node.op_type == "If"]
    kept = [node for node in body.node if node.output[0] not in switches and CHOICE not in node.input]
    inputs = [each for each in body.input if each.name != CHOICE]
    for node in kept:
        if node.op_type == "If":
            node.input[0] = CONDITION.format(switches.index(node.input[0]))
    del body.node[:], body.input[:]
    body.node.extend(kept)
    body.input.extend(inputs)
    kinds = (
        onnx.helper.make_tensor_value_info(CONDITION.format(option), onnx.TensorProto.BOOL, [])
        for option in range(len(switches))
    )
    body.input.extend(kinds)
    target.write_bytes(model.SerializeToString())
    return len(switches)


class Bench:
    """Graphs of one shape, with sessions that are opened once."""

    def __init__(self, shape: EncoderShape, device: str, rounds: int, folder: Path) -> None:
        self.shape, self.device, self.rounds = shape, device, rounds
        self.began = time.monotonic()
        self.grid = uniform_grid(shape)
        self.space = cut_space(shape, list(self.grid.values()), shape.layers)
        weights = random_weights(shape)
        self.folder = folder
        self.sessions: dict[str, ort.InferenceSession] = {}
        for operators, precision in GRAPHS:
            path = folder / f"{operators}-{precision}.onnx"
            write_elastic_graph(path, weights, self.space, precision=precision, norm_eps=1e-12, operators=operators)
            self.sessions[f"{operators} {precision}"] = self._session(path)
        switched = folder / "conditions.onnx"
        conditions_as_inputs(folder / "gpu-fp16.onnx", switched)
        self.sessions["gpu fp16, conditions"] = self._session(switched)

    def _session(self, path: Path) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.optimized_model_filepath = str(path.with_suffix(".placed"))
        providers = ["CPUExecutionProvider"]
        if self.device == "cuda":
            providers.insert(0, "CUDAExecutionProvider")
        return ort.InferenceSession(path, options, providers=providers)

    def feeds(self, graph: str, name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs of a graph for a subnet."""
        (option,) = self.space.choice(self.grid[name])
        if "conditions" not in graph:
            return {**arrays, CHOICE: np.array([option])}
        return {**arrays, **{CONDITION.format(each): np.array(each == option) for each in range(len(self.grid))}}

    def arrays(self, batch: int, tokens: int) -> dict[str, Array]:
        """Return the inputs of texts, all but the first with some padding."""
        given = {name: np.repeat(each, batch, 0) for name, each in Inputs.of_length(self.shape, tokens).arrays.items()}
        for text in range(1, batch):
            given["attention_mask"][text, tokens - text % (tokens // 2) :] = 0
        return given

    def answers(self) -> dict[str, float]:
        """Return graph -> largest difference of a logit from torch in fp32 on the CPU, over their spread."""
        worst = dict.fromkeys(self.sessions, 0.0)
        given = self.arrays(8, 32)
        model: Any = ElasticClassifier(self.shape, LABELS).eval()
        model.load_state_dict(_tensors(random_weights(self.shape)))
        for name in SHOWN:
            with torch.inference_mode():
                wanted = model(SimpleNamespace(**_tensors(given)), self.grid[name]).logits.numpy()
            for graph, session in self.sessions.items():
                (found,) = session.run(None, self.feeds(graph, name, given))
                worst[graph] = max(worst[graph], float(np.abs(found - wanted).max() / wanted.std()))
        return worst

    def copies(self) -> dict[str, int]:
        """Return graph -> copies between host and device in it, as onnxruntime placed it."""
        found = {}
        for path in self.folder.glob("*.placed"):
            graph = onnx.load(path, load_external_data=False).graph
            inner = (each.g for node in graph.node for each in node.attribute if each.HasField("g"))
            nodes = [*graph.node, *(node for branch in inner for node in branch.node)]
            found[path.stem] = sum(node.op_type.startswith("Memcpy") for node in nodes)
        return found

    def switching(self) -> dict[str, float]:
        """Return graph -> median of the time of a call after another subnet less that of one after the same, ms."""
        rng = np.random.default_rng(0)
        arrays, found = self.arrays(1, 16), {}
        for graph, session in self.sessions.items():
            calls = {name: self._plain(graph, session, name, arrays) for name in self.grid}
            excess = []
            for _ in range(4 * self.rounds):
                one, other = rng.choice(list(calls), 2, replace=False)
                calls[one]()
                first, second = _ms(calls[other]), _ms(calls[other])
                excess.append(first - second)
            found[graph] = statistics.median(excess)
        return found

    def times(self) -> dict[str, dict[str, float]]:
        """Return subnet, texts x tokens -> candidate -> median ms."""
        found = {}
        for name in SHOWN:
            for batch, tokens in BATCHES:
                arrays = self.arrays(batch, tokens)
                calls = {graph: self._plain(graph, each, name, arrays) for graph, each in self.sessions.items()}
                for graph in ("gpu fp16", "gpu fp16, conditions"):
                    calls[f"{graph}, bound"] = self._bound(graph, name, arrays)
                calls |= self._torch(name, arrays)
                times: dict[str, list[float]] = {who: [] for who in calls}
                for round_ in range(self.rounds + 5):
                    for who, call in calls.items():
                        took = _ms(call)
                        if round_ >= 5:  # the first ones choose kernels
                            times[who].append(took)
                found[f"{name}, {batch} x {tokens}"] = {who: statistics.median(each) for who, each in times.items()}
        return found

    def _plain(self, graph: str, session: ort.InferenceSession, name: str, arrays: Mapping[str, Array]) -> Call:
        feeds = self.feeds(graph, name, arrays)
        return lambda: session.run(None, feeds)

    def _bound(self, graph: str, name: str, arrays: Mapping[str, Array]) -> Call:
        """Return a call whose inputs lie on the device; conditions and choice on the host, where they are read."""
        session = self.sessions[graph]
        binding = session.io_binding()
        for each, array in self.feeds(graph, name, arrays).items():
            if each in arrays:
                binding.bind_ortvalue_input(each, ort.OrtValue.ortvalue_from_numpy(array, self.device, 0))
            else:
                binding.bind_cpu_input(each, array)
        binding.bind_output(session.get_outputs()[0].name, self.device, 0)

        def call() -> Any:
            session.run_with_iobinding(binding)
            return binding.copy_outputs_to_cpu()

        return call

    def _torch(self, name: str, arrays: Mapping[str, Array]) -> dict[str, Call]:
        model: Any = cut_model(self.shape, self.grid[name]).to(self.device)
        if self.device == "cuda":
            model.set_attn_implementation("sdpa")
            model = model.half()
        given = {each: tensor.to(self.device) for each, tensor in _tensors(arrays).items()}

        def calling(model: Any) -> Call:
            def call() -> Any:
                with torch.inference_mode():
                    return model(**given).logits.cpu()

            return call

        found = {"torch fp16": calling(model)}
        if self.device == "cuda" and time.monotonic() - self.began < COMPILE_UNTIL_S:
            found["torch.compile fp16"] = calling(torch.compile(model, mode="reduce-overhead", dynamic=False))
        return found


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _ms(call: Call) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def tables(shape: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the tables of all that was measured."""
    answers = [
        [graph, f"{off:.1e}", f"{1000 * facts['switching'][graph]:.0f}"] for graph, off in facts["answers"].items()
    ]
    whos = list(dict.fromkeys(who for times in facts["times"].values() for who in times))
    times = [
        [case, *(f"{each[who]:.3f}" if who in each else "-" for who in whos)] for case, each in facts["times"].items()
    ]
    return [
        f"### {shape} on a GPU: answers against torch, and a call after another subnet",
        "",
        *markdown(["graph", "largest difference / spread", "excess of a switch, us"], answers),
        "",
        "Copies between host and device: " + ", ".join(f"{name} {count}" for name, count in facts["copies"].items()),
        "",
        "### Median ms of a call, texts x tokens",
        "",
        *markdown(["subnet, call", *whos], times),
    ]


if __name__ == "__main__":
    main()
