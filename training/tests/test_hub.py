"""`hf:OWNER/NAME` against a Hub on loopback: resume, digests, redirects, and what is refused."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants
from published import TINY, hugging_face_model

from agiqa_train import hub
from agiqa_train.cli import main
from agiqa_train.sources import SourceError, load_clip, source_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/clip-tiny"
TOKEN = "hf_secret"


@dataclass
class Hub:
    """The two routes that are used, and a second host that large files are redirected to."""

    files: dict[str, bytes]
    cut: int | None = None  # the weights' connection ends after this many bytes, once; later requests get 503
    status: int = 200  # of the API
    digests: dict[str, str] = field(default_factory=dict)  # listed in place of the right ones
    ignores_ranges: bool = False
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, Range, Authorization
    endpoint: str = ""
    storage: str = ""

    def listing(self) -> dict:
        """The answer of /api/models: large files carry a sha256, others git's object id."""
        siblings = []
        for name, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict = {"rfilename": name, "size": len(content), "blobId": self.digests.get(name, git)}
            if not name.endswith(".json"):
                sha256 = self.digests.get(name, hashlib.sha256(content).hexdigest())
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": NAME, "sha": COMMIT, "siblings": siblings}

    def of(self, suffix: str) -> list[tuple[str, str | None, str | None]]:
        """The requests for a file's content."""
        return [request for request in self.requests if request[0].endswith(suffix)]


def handler(state: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            state.requests.append((path, self.headers["Range"], self.headers["Authorization"]))
            if path.startswith("/api/models/"):
                known = path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main")
                if state.status == 200 and known:
                    return self.answer(200, json.dumps(state.listing()).encode(), Content_Type="application/json")
                code = "RevisionNotFound" if path.startswith(f"/api/models/{NAME}/") else "RepoNotFound"
                status = state.status if state.status != 200 else 404
                return self.answer(status, b"{}", **({"X-Error-Code": code} if status == 404 else {}))
            file = path.rsplit("/", 1)[-1]
            if path == f"/{NAME}/resolve/{COMMIT}/{file}" and not file.endswith(".json"):
                return self.answer(302, b"", Location=f"{state.storage}/storage/{file}")
            return self.content(state.files[file], large=not file.endswith(".json"))

        def content(self, content: bytes, large: bool) -> None:
            start = 0
            if self.headers["Range"] and not state.ignores_ranges:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if large and state.cut is not None:
                if state.cut == 0:
                    return self.answer(503, b"")
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: state.cut])
                state.cut, self.close_connection = 0, True
                return None
            if start == 0:
                return self.answer(200, content)
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.answer(206, content[start:], Content_Range=where)

    return Handler


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("published")
    hugging_face_model(TINY, "quick_gelu", 1).save_pretrained(folder)
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture()
def fake(published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub(dict(published))
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(state)) for _ in range(2)]
    state.endpoint, state.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    # Another name of the same machine: what a client sends to the Hub is not for the storage's host.
    state.storage = state.storage.replace("127.0.0.1", "localhost")
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # between its own attempts
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # what is lost of a download that is cut
    yield state
    for server, thread in zip(servers, threads):
        server.shutdown()
        thread.join()
        server.server_close()


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "agiqa" / "hub" / NAME.replace("/", "--") / COMMIT


def test_a_repository_is_exported_like_its_folder(fake: Hub, tmp_path: Path) -> None:
    out = tmp_path / "models"
    cache = ("--cache", str(tmp_path / "kept"))
    assert main(["export-encoders", "--source", f"hf:{NAME}", "--out", str(out), *cache]) == 0
    folder = tmp_path / "kept" / NAME.replace("/", "--") / COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == fake.files
    document = json.loads((out / "encoder.json").read_text())
    assert document["capabilities"] == {"text": "general"}
    assert document["source_file"]["file"] == f"{NAME}@{COMMIT}/model.safetensors"
    sha256 = hashlib.sha256(fake.files["model.safetensors"]).hexdigest()
    assert document["source_file"]["sha256"] == sha256 == source_sha256(f"hf:{NAME}") == source_sha256(f"hf:{folder}")
    assert load_clip(f"hf:{folder}")[1].sha256 == sha256
    # The token is for the Hub; where it redirects to gets none.
    assert {token for path, _, token in fake.requests if not path.startswith("/storage/")} == {f"Bearer {TOKEN}"}
    assert [token for _, _, token in fake.of("/storage/model.safetensors")] == [None]


def test_another_encoder_is_refused_before_the_download(
    fake: Hub, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "encoder.json").write_text(json.dumps({"name": "other", "digest": "sha256:1"}))
    assert main(["export-encoders", "--source", f"hf:{NAME}", "--out", str(tmp_path / "models")]) == 1
    assert "holds another encoder, other" in capsys.readouterr().err
    assert [path for path, _, _ in fake.requests] == [f"/api/models/{NAME}"]


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_an_interrupted_download_is_resumed(fake: Hub, tmp_path: Path, ignores_ranges: bool) -> None:
    weights = fake.files["model.safetensors"]
    fake.cut = len(weights) // 2
    with pytest.raises(SourceError, match=f"{NAME}/model.safetensors: the Hub answered 503"):
        load_clip(f"hf:{NAME}@main")
    part = folder_of(tmp_path) / "model.safetensors.part"
    kept = part.stat().st_size
    assert kept > len(weights) // 2 - 2 * (1 << 16) and part.read_bytes() == weights[:kept]
    fake.cut, fake.ignores_ranges = None, ignores_ranges
    fake.requests.clear()
    load_clip(f"hf:{NAME}@main")
    assert [asked for _, asked, _ in fake.of("/storage/model.safetensors")] == [f"bytes={kept}-"]
    assert not fake.of("config.json")  # it was whole
    assert {path.name: path.read_bytes() for path in folder_of(tmp_path).iterdir()} == fake.files
    fake.requests.clear()
    load_clip(f"hf:{NAME}")
    assert len(fake.requests) == 1  # the commit; the files are in the cache


def test_a_partial_file_longer_than_the_file_starts_again(fake: Hub, tmp_path: Path) -> None:
    folder_of(tmp_path).mkdir(parents=True)
    (folder_of(tmp_path) / "model.safetensors.part").write_bytes(bytes(len(fake.files["model.safetensors"]) + 1))
    load_clip(f"hf:{NAME}")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_wrong_digest_is_refused(fake: Hub, tmp_path: Path, file: str) -> None:
    fake.digests[file] = "0" * 64
    with pytest.raises(SourceError, match=f"{NAME}/{file}: the download has digest [0-9a-f]+, the Hub lists 000"):
        load_clip(f"hf:{NAME}")
    left = {path.name for path in folder_of(tmp_path).iterdir()}
    assert not left & {file, f"{file}.part"}


def test_damage_in_a_partial_file_is_found(fake: Hub, tmp_path: Path) -> None:
    folder_of(tmp_path).mkdir(parents=True)
    (folder_of(tmp_path) / "model.safetensors.part").write_bytes(b"not the first bytes")
    with pytest.raises(SourceError, match="it was deleted"):
        load_clip(f"hf:{NAME}")
    load_clip(f"hf:{NAME}")  # the next run starts anew


def test_pickled_weights_are_read_where_there_are_no_safetensors(
    fake: Hub, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    import torch

    torch.save(hugging_face_model(TINY, "quick_gelu", 1).state_dict(), tmp_path / "w.bin")
    fake.files["pytorch_model.bin"] = (tmp_path / "w.bin").read_bytes()
    safe, _ = load_clip(f"hf:{NAME}")
    del fake.files["model.safetensors"]
    fake.requests.clear()
    assert source_sha256(f"hf:{NAME}").endswith(hashlib.sha256(fake.files["pytorch_model.bin"]).hexdigest())
    (folder_of(tmp_path) / "model.safetensors").unlink()
    got, info = load_clip(f"hf:{NAME}")
    assert info.file == f"{NAME}@{COMMIT}/pytorch_model.bin"
    assert all(torch.equal(a, b) for a, b in zip(safe.state_dict().values(), got.state_dict().values()))
    assert f"{NAME} has no model.safetensors; reading the tensors of pytorch_model.bin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "status", "message"),
    [
        (f"{NAME}@v9", 200, f"{NAME}@v9: there is no such revision"),
        ("someone/else", 200, "someone/else: there is no such repository, or HF_TOKEN gives no access to it"),
        (NAME, 500, f"{NAME}: the Hub answered 500"),
        ("a--b/c", 200, "a--b/c: not a repository's name"),
        ("nothing", 200, "there is no such file or folder"),
        ("/no/such/folder", 200, "there is no such file or folder"),
        ("../none", 200, "there is no such file or folder"),
    ],
)
def test_what_the_hub_does_not_have(
    fake: Hub, tmp_path: Path, capsys: pytest.CaptureFixture, source: str, status: int, message: str
) -> None:
    fake.status = status
    assert main(["export-encoders", "--source", f"hf:{source}", "--out", str(tmp_path / "models")]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_repository_without_weights(fake: Hub) -> None:
    fake.files = {"config.json": b"{}", "model-00001-of-00002.safetensors": b""}
    with pytest.raises(SourceError, match="has no config.json with model.safetensors or pytorch_model.bin"):
        load_clip(f"hf:{NAME}")


def test_without_a_network(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match=f"{NAME}: the Hub cannot be reached .*HF_ENDPOINT"):
        load_clip(f"hf:{NAME}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE forbids downloads; give hf: a folder"):
        load_clip(f"hf:{NAME}")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub.default_cache() == tmp_path / "agiqa" / "hub"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.default_cache() == tmp_path / ".cache" / "agiqa" / "hub"
