"""Serves one ONNX graph beside this file, `model.onnx` or another, through Triton's Python backend.

This is the `embedded` way to run, for a server without the onnxruntime backend. The requests of a
batch are stacked into one session run and split again. A request that was cancelled or that has a
wrong shape gets an error of its own and does not touch its neighbours.

The tensors and their shapes are read from the model's configuration, so the same file serves the
image and the text encoder. The master of this file lies in `encoder/model/`; change it there. Every
request makes one hop between processes; the graph itself is frozen, so nothing here keeps state between
calls.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

THREADS_PARAMETER = "intra_op_num_threads"
GRAPH_PARAMETER = "graph_file"
DTYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32}

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the configuration; `dims` are without the batch, -1 is free."""

    name: str
    dtype: type
    dims: tuple[int, ...]

    @staticmethod
    def of(entry: dict[str, Any]) -> TensorSpec:
        """From an `input` or `output` entry of the configuration's JSON form."""
        return TensorSpec(entry["name"], DTYPES[entry["data_type"]], tuple(int(d) for d in entry["dims"]))


def thread_count(parameters: dict[str, Any], cpus: int | None) -> int:
    """Threads of one run: the parameter, or at most 2, since other stubs share the machine."""
    value = parameters.get(THREADS_PARAMETER, {}).get("string_value", "")
    if not value:
        return min(2, cpus or 1)
    if not value.isdigit() or int(value) < 1:
        raise ValueError(f"parameter {THREADS_PARAMETER}: {value!r} is not a positive whole number")
    return int(value)


def graph_file(parameters: dict[str, Any]) -> str:
    """Name of the graph's file: the parameter, or model.onnx."""
    name = parameters.get(GRAPH_PARAMETER, {}).get("string_value", "") or "model.onnx"
    if name in (".", "..") or Path(name).name != name:
        raise ValueError(f"parameter {GRAPH_PARAMETER}: {name!r} is not the name of a file beside model.py")
    return name


def find_fault(specs: list[TensorSpec], inputs: dict[str, np.ndarray | None], max_batch: int) -> str | None:
    """What is wrong with one request's inputs, or None."""
    rows: int | None = None
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            return f"input {spec.name}: is missing"
        if array.dtype != spec.dtype:
            return f"input {spec.name}: has type {array.dtype}, {np.dtype(spec.dtype)} is wanted"
        want = "x".join(str(d) for d in ("N", *spec.dims))
        got = "x".join(str(d) for d in array.shape)
        fits = array.ndim == len(spec.dims) + 1
        if not fits or any(d not in (-1, n) for d, n in zip(spec.dims, array.shape[1:])):
            return f"input {spec.name}: has shape {got}, {want} is wanted"
        if not 1 <= array.shape[0] <= max_batch:
            return f"input {spec.name}: has {array.shape[0]} rows, 1 to {max_batch} are allowed"
        if rows is not None and array.shape[0] != rows:
            return f"input {spec.name}: has {array.shape[0]} rows where another input has {rows}"
        rows = array.shape[0]
    return None


def stack(requests: list[Tensors]) -> Tensors:
    """One batch of all requests; a single request is passed on without a copy."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}


def split(outputs: Tensors, sizes: list[int]) -> list[Tensors]:
    """The rows of each request, in order."""
    edges = np.cumsum(sizes)[:-1]
    parts = {name: np.split(array, edges) for name, array in outputs.items()}
    return [{name: parts[name][i] for name in outputs} for i in range(len(sizes))]


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """A CPU session with a fixed number of threads that do not spin while idle."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Processors without VNNI add pairs of 8-bit products in 16 bits, which overflow for weights of a
    # full 8 bits. This makes ONNX Runtime use a slower, exact kernel there; others are not affected.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the configuration and opens the graph."""
        config = json.loads(args["model_config"])
        self.inputs = [TensorSpec.of(entry) for entry in config["input"]]
        self.outputs = [TensorSpec.of(entry) for entry in config["output"]]
        self.max_batch = max(1, int(config.get("max_batch_size", 0)))
        parameters = config.get("parameters", {})
        threads = thread_count(parameters, os.cpu_count())
        self.session = open_session(Path(__file__).with_name(graph_file(parameters)), threads)
        # Give the arena's growth back after each run: one large batch must not pin its peak for good.
        self.run_options = ort.RunOptions()
        self.run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        responses: list[Any] = [None] * len(requests)
        accepted: list[int] = []
        batch: list[Tensors] = []
        for i, request in enumerate(requests):
            if request.is_cancelled():
                responses[i] = error_response("the request was cancelled", pb_utils.TritonError.CANCELLED)
                continue
            inputs = {spec.name: read_tensor(request, spec.name) for spec in self.inputs}
            fault = find_fault(self.inputs, inputs, self.max_batch)
            if fault is not None:
                responses[i] = error_response(fault, pb_utils.TritonError.INVALID_ARG)
                continue
            accepted.append(i)
            batch.append(inputs)
        if batch:
            for i, outputs in zip(accepted, self.run(batch)):
                tensors = [pb_utils.Tensor(name, array) for name, array in outputs.items()]
                responses[i] = pb_utils.InferenceResponse(output_tensors=tensors)
        return responses

    def run(self, batch: list[Tensors]) -> list[Tensors]:
        """All accepted requests in one run of the graph."""
        names = [spec.name for spec in self.outputs]
        values = self.session.run(names, stack(batch), self.run_options)
        sizes = [len(request[self.inputs[0].name]) for request in batch]
        return split(dict(zip(names, values)), sizes)

    def finalize(self) -> None:
        """Lets the session go."""
        self.session = None


def read_tensor(request: Any, name: str) -> np.ndarray | None:
    """The named input as an array, None when the request has none."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def error_response(message: str, code: Any) -> Any:
    """A response that carries an error alone."""
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
