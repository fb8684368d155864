"""The graph in standard operators on WebGPU, which a software adapter plays: numbers, and copies between CPU and GPU.

It says nothing about speed.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.runtime.space.space import layer_space
from tests.browser.prepare import BUILD, environment
from tests.export.graph.test_standard import MODEL, SHAPE, SUBNETS, WEIGHTS, feeds
from tests.trainer.tiny import random_batch

pytestmark = pytest.mark.browser

LIBRARY = Path(__file__).parents[2] / "clients" / "js" / "node_modules" / "onnxruntime-web" / "dist"
PATIENCE_S = 300
ADAPTER = ("enable-unsafe-webgpu", "use-webgpu-adapter=swiftshader", "enable-features=Vulkan", "ignore-gpu-blocklist")
LOADED = """
const [graph, inputs, finish] = arguments;
(async () => {
  const ort = await import("/library/ort.webgpu.bundle.min.mjs");
  ort.env.logLevel = "info";
  const weights = new Uint8Array(await (await fetch(`/graphs/${graph}/fp32.weights`)).arrayBuffer());
  const session = await ort.InferenceSession.create(`/graphs/${graph}/fp32.onnx`, {
    executionProviders: ["webgpu"], externalData: [{ path: "fp32.weights", data: weights }], logSeverityLevel: 1 });
  const answers = [];
  for (const feeds of inputs) {
    const given = Object.fromEntries(Object.entries(feeds).map(
      ([name, [values, dims]]) => [name, new ort.Tensor("int64", BigInt64Array.from(values.map(BigInt)), dims)]));
    answers.push([...(await session.run(given)).logits.data]);
  }
  return answers;
})().then(finish, (error) => finish(String(error)));
"""
COPY = re.compile(r"Add Memcpy(?:From|To)Host (?:before|after) \w+ for WebGpu")
"""Line of the library's log for each copy that it adds to a graph."""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the graph of either table of operators."""
    folder = tmp_path_factory.mktemp("graphs")
    space = layer_space(SHAPE, list(SUBNETS.values()))
    for operators in ("standard", "fast"):
        (folder / operators).mkdir()
        path = folder / operators / "fp32.onnx"
        write_elastic_graph(path, WEIGHTS, space, precision="fp32", norm_eps=MODEL.norm_eps, operators=operators)
    return folder


@pytest.fixture(scope="module")
def page(graphs: Path) -> Iterator[Any]:
    """A browser at a page from which the library and the graphs can be fetched."""
    roots = {"library": LIBRARY, "graphs": graphs}

    class Files(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            root, _, rest = path.partition("?")[0].strip("/").partition("/")
            return str(roots[root] / rest) if root in roots else os.devnull

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = str(BUILD / "root/usr/lib/chromium/chromium")
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-crash-reporter", *ADAPTER):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = str(BUILD / "root/usr/bin/chromedriver")
    browser = webdriver.Chrome(options=options, service=Service(driver, env={**os.environ, **environment()}))
    try:
        browser.set_script_timeout(PATIENCE_S)
        browser.get(f"http://127.0.0.1:{server.server_port}/graphs/")
        yield browser
    finally:
        browser.quit()
        server.shutdown()
        server.server_close()


def answered(page: Any, graphs: Path, operators: str) -> tuple[int, float]:
    """Copies in the session of a graph, and the largest difference of a logit from the CPU's, of all subnets."""
    batch = random_batch([9], SHAPE)
    given = [feeds(batch, "layer", subnet) for subnet in SUBNETS.values()]
    plain = [{name: [array.ravel().tolist(), list(array.shape)] for name, array in one.items()} for one in given]
    found = page.execute_async_script(LOADED, operators, plain)
    log = "\n".join(entry["message"] for entry in page.get_log("browser"))
    assert isinstance(found, list), f"{found}\n{log[-2000:]}"
    session = ort.InferenceSession(str(graphs / operators / "fp32.onnx"), providers=["CPUExecutionProvider"])
    wanted = [session.run(None, one)[0].ravel() for one in given]
    differences = [np.abs(np.array(mine) - theirs).max() for mine, theirs in zip(found, wanted, strict=True)]
    return len(COPY.findall(log)), float(max(differences))


def test_the_standard_graph_has_few_copies_and_the_cpu_s_numbers(page: Any, graphs: Path) -> None:
    copies, difference = answered(page, graphs, "standard")
    fast, _ = answered(page, graphs, "fast")
    assert difference < 1e-4
    assert copies <= 2 < 20 < fast, (copies, fast)  # that of `input_ids`, and of the mask
