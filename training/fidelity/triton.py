"""The wheel's tritonserver as a child process, and its HTTP protocol with binary tensors."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import numpy as np

DATATYPES = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32"}
START_SECONDS = 180.0  # to load a few hundred megabytes on a busy machine
INTERVIEW = (
    "import json, sys, sysconfig;"
    "print(json.dumps(['%d.%d' % sys.version_info[:2], sysconfig.get_paths()['purelib'], sysconfig.get_config_var('LIBDIR')]))"
)


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(process: subprocess.Popen, port: int, path: str, log: Path) -> None:
    """Until the path answers 200; raises RuntimeError with the log's end when it never does."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{path} never answered 200; the log ends:\n{log.read_text()[-3000:]}")


class Server:
    """Serves every model of a repository, in the `embedded` configuration, as `agiqa up` does."""

    def __init__(self, venv: Path, repository: Path, folder: Path) -> None:
        python = venv / "bin" / "python"
        answer = subprocess.run([python, "-I", "-c", INTERVIEW], capture_output=True, text=True, check=True).stdout
        version, packages, library = json.loads(answer)
        wheel = Path(packages) / "pytriton" / "tritonserver"
        backend = folder / "backends" / "python"
        shutil.copytree(wheel / "backends" / "python", backend)
        shutil.copy(wheel / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
        self.port = free_port()
        libraries = [str(Path(packages) / "nvidia_pytriton.libs"), library]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(":"),
            "PATH": f"{venv.resolve() / 'bin'}:{os.environ['PATH']}",
        }
        self._log = folder / "tritonserver.log"
        command = [
            wheel / "bin" / "tritonserver",
            f"--model-repository={repository}",
            f"--backend-directory={folder / 'backends'}",
            "--model-config-name=embedded",
            "--disable-auto-complete-config",
            # All models are loaded, and nobody can load another: a model is a
            # program.
            "--model-control-mode=none",
            "--allow-gpu-metrics=false",
            "--allow-grpc=false",
            "--allow-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            "--http-address=127.0.0.1",
            f"--http-port={self.port}",
        ]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Server:
        try:
            wait_ready(self._process, self.port, "/v2/health/ready", self._log)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def version(self) -> str:
        """Of the server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/v2")
        return json.loads(connection.getresponse().read())["version"]

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference; all outputs as float32 arrays."""
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": array.shape,
                        "datatype": DATATYPES[str(array.dtype)],
                        "parameters": {"binary_data_size": array.nbytes},
                    }
                    for name, array in arrays.items()
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        body = header + b"".join(array.tobytes() for array in arrays.values())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{model}: status {answer.status}: {content[:500]!r}")
        cut = int(answer.headers["Inference-Header-Content-Length"])
        outputs, rest = {}, content[cut:]
        for entry in json.loads(content[:cut])["outputs"]:
            size = entry["parameters"]["binary_data_size"]
            outputs[entry["name"]] = np.frombuffer(rest[:size], np.float32).reshape(entry["shape"])
            rest = rest[size:]
        return outputs
