"""Downloads CLIP weights from the Hugging Face Hub, or a server that speaks its API (`HF_ENDPOINT`).

`huggingface_hub` does the requests, the progress bar and retries within a download. What it leaves out
is here: a partial file that a later run resumes, and a check of every file against the digest that
the Hub lists for it. Files lie in `CACHE/OWNER--NAME/COMMIT/`; a file has its name only when its
digest is right.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get

REPOSITORY = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*?)(@(?P<revision>[\w./-]+))?", re.ASCII)
CONFIG = "config.json"
# In order of preference. A .bin file is a pickle, of which only tensors are read.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 20


class HubError(ValueError):
    """A repository cannot be downloaded; the message names it and the reason, in one line."""


@dataclass(frozen=True)
class HubFile:
    """One file as the Hub lists it."""

    name: str
    bytes: int
    digest: str  # hex; sha256 of a large file (LFS), else git's object id
    large: bool

    def digest_of(self, path: Path) -> str:
        """The digest of a file on disk, of the kind that the Hub lists for this one."""
        hasher = hashlib.sha256() if self.large else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return hasher.hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit: its configuration and weights."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]  # configuration, weights

    @property
    def weights_sha256(self) -> str | None:
        """Hex sha256 of the weights file, where the Hub lists it."""
        weights = self.files[-1]
        return weights.digest if weights.large else None

    def folder(self, cache: Path) -> Path:
        """Where its files lie."""
        return cache / self.repository.replace("/", "--") / self.commit


def default_cache() -> Path:
    """`agiqa/hub` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agiqa" / "hub"


def is_repository(text: str) -> bool:
    """Whether the text has the form OWNER/NAME[@REVISION]."""
    return REPOSITORY.fullmatch(text) is not None


def look_up(text: str) -> Snapshot:
    """Asks the Hub for the commit and the files of OWNER/NAME[@REVISION]; raises HubError."""
    match = REPOSITORY.fullmatch(text)
    if match is None:
        raise HubError(f"{text!r} is not of the form OWNER/NAME[@REVISION]")
    name, revision = match["name"], match["revision"]
    with _one_line(text):
        info = HfApi(endpoint=_endpoint()).model_info(name, revision=revision, files_metadata=True)
    listed = {entry.rfilename: entry for entry in info.siblings or ()}
    weights = next((file for file in WEIGHTS if file in listed), None)
    if CONFIG not in listed or weights is None:
        raise HubError(f"{text} has no {CONFIG} with {' or '.join(WEIGHTS)} (shards are not read)")
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise HubError(f"{text}: the Hub names no commit")
    files = []
    for file in (CONFIG, weights):
        entry = listed[file]
        digest = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
        if not digest or entry.size is None:
            raise HubError(f"{text}: the Hub lists no size or no digest for {file}")
        files.append(HubFile(file, entry.size, digest.lower(), entry.lfs is not None))
    return Snapshot(name, info.sha, tuple(files))


def download(snapshot: Snapshot, cache: Path) -> Path:
    """The folder with the snapshot's files, which are downloaded where they are missing; raises HubError."""
    folder = snapshot.folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    for file in snapshot.files:
        _download_file(snapshot, file, folder)
    return folder


def _download_file(snapshot: Snapshot, file: HubFile, folder: Path) -> None:
    """One file: what an earlier run left is resumed, and nothing wrong gets the file's name."""
    target, part = folder / file.name, folder / f"{file.name}.part"
    with part.open("ab") as output:
        fcntl.flock(output, fcntl.LOCK_EX)  # a second download into the same cache waits, then finds the file
        if target.exists():
            part.unlink(missing_ok=True)
            return
        if output.tell() > file.bytes:
            output.truncate(0)
            output.seek(0)
        with _one_line(f"{snapshot.repository}/{file.name}"):
            http_get(
                hf_hub_url(snapshot.repository, file.name, revision=snapshot.commit, endpoint=_endpoint()),
                output,
                resume_size=output.tell(),
                headers=HfApi(endpoint=_endpoint())._build_hf_headers(),
                expected_size=file.bytes,
                displayed_filename=file.name,
            )
        output.flush()
        found = file.digest_of(part)
        if found != file.digest:
            part.unlink()
            raise HubError(
                f"{snapshot.repository}/{file.name}: the download has digest {found}, the Hub lists {file.digest}; "
                "it was deleted"
            )
        part.rename(target)


def _endpoint() -> str | None:
    """The server to ask; None is the library's default."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns the library's faults into HubError."""
    try:
        yield
    except GatedRepoError as fault:
        raise HubError(f"{what}: access must be requested on the Hub; then set HF_TOKEN") from fault
    except RevisionNotFoundError as fault:
        raise HubError(f"{what}: there is no such revision") from fault
    except RepositoryNotFoundError as fault:
        raise HubError(f"{what}: there is no such repository, or HF_TOKEN gives no access to it") from fault
    except HFValidationError as fault:
        raise HubError(f"{what}: not a repository's name") from fault
    except OfflineModeIsEnabled as fault:
        raise HubError(f"{what}: HF_HUB_OFFLINE forbids downloads; give hf: a folder") from fault
    except HfHubHTTPError as fault:
        raise HubError(f"{what}: the Hub answered {fault.response.status_code}") from fault
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        reason = str(fault).strip().split("\n")[0] or type(fault).__name__
        raise HubError(f"{what}: the Hub cannot be reached ({reason}); HF_ENDPOINT names another") from fault
    except OSError as fault:
        raise HubError(f"{what}: {str(fault).strip().splitlines()[0]}") from fault


def warn_of_pickle(snapshot: Snapshot) -> None:
    """Says on stderr when a repository has no safetensors."""
    found = snapshot.files[-1].name
    if found != WEIGHTS[0]:
        print(f"{snapshot.repository} has no {WEIGHTS[0]}; reading the tensors of {found}", file=sys.stderr)
