"""`bin/agiqa up` as a child process, and its HTTP interface."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path
from types import TracebackType

from .triton import free_port, wait_ready


class Gateway:
    """The whole program on a repository and a folder of bundles; image embeddings are not cached."""

    def __init__(self, binary: Path, venv: Path, repository: Path, checkpoints: Path, folder: Path) -> None:
        self.port = free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AGIQA_")} | {
            "AGIQA_LISTEN": f"127.0.0.1:{self.port}",
            "AGIQA_MODEL_REPOSITORY": str(repository),
            "AGIQA_CHECKPOINTS": str(checkpoints),
            "AGIQA_DEFAULT_CHECKPOINT": sorted(p.name for p in checkpoints.iterdir())[0],
            "AGIQA_VENV": str(venv),
            "AGIQA_DATA_DIR": str(folder / "data"),
            "AGIQA_IMAGE_CACHE_BYTES": "0",
            "AGIQA_REQUEST_TIMEOUT": "120s",
        }
        self._log = folder / "agiqa.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [binary, "up"], env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Gateway:
        try:
            wait_ready(self._process, self.port, "/readyz", self._log)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def score(self, files: list[Path], checkpoint: str) -> list[float]:
        """Scores of image files, sent as they are on disk in one request."""
        boundary = uuid.uuid4().hex
        parts = [field(boundary, 'name="checkpoint"', checkpoint.encode())]
        parts += [field(boundary, f'name="image"; filename="{file.name}"', file.read_bytes()) for file in files]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=150)
        connection.request("POST", "/v1/score", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != 200 or any(result["error"] for result in document["results"]):
            raise RuntimeError(f"/v1/score: status {answer.status}: {json.dumps(document)[:800]}")
        for result in document["results"]:
            if result["checkpoint"]["name"] != checkpoint:
                raise RuntimeError(f"/v1/score answered with checkpoint {result['checkpoint']}")
        return [result["score"] for result in document["results"]]


def field(boundary: str, disposition: str, content: bytes) -> bytes:
    """One part of a form."""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
