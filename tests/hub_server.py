"""A hub on the loopback interface: enough of the Hugging Face hub for the real client library.

It lists, serves (HEAD, ranges, entity tags, large files through a redirect to another host, as the
real one does), creates repositories and takes commits; and it misbehaves on demand, per file. It
serves plain files beside the repositories too.

    with LoopbackHub() as hub:
        hub.add_repo("owner/name", {"weights.safetensors": b"..."})
        hub.misbehave("weights.safetensors", Truncate(100), Status(429, retry_after=0))
        ...                                   # HF_ENDPOINT=hub.url
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from hub_answers import Handler
from hub_faults import (
    TOKEN,
    Change,
    Corrupt,
    Fault,
    IgnoreRange,
    Seen,
    Stall,
    Status,
    Throttle,
    Truncate,
    Vanish,
    WrongRange,
    git_blob_id,
    sha256,
)

__all__ = [
    "TOKEN",
    "Change",
    "Corrupt",
    "Fault",
    "IgnoreRange",
    "LoopbackHub",
    "Seen",
    "Stall",
    "Status",
    "Throttle",
    "Truncate",
    "Vanish",
    "WrongRange",
    "git_blob_id",
    "sha256",
]


@dataclass
class _Repo:
    kind: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = ""

    def commit(self, tree: dict[str, bytes]) -> str:
        text = repr((len(self.commits), sorted((p, sha256(c)) for p, c in tree.items())))
        self.head = hashlib.sha1(text.encode()).hexdigest()
        self.commits[self.head] = tree
        return self.head

    def tree(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.head if revision == "main" else revision)


class LoopbackHub:
    """The hub and its CDN: one server under the two host names 127.0.0.1 and localhost."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], _Repo] = {}
        self.plain: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[Seen] = []
        self.uploads: dict[str, bytes] = {}
        self.writable = {"tester"}
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._server: Server | None = None
        self._port = 0

    # -- what a test does --------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The endpoint, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._port}"

    def add_repo(
        self,
        name: str,
        files: Mapping[str, bytes],
        kind: str = "model",
        *,
        private: bool = False,
        gated: bool = False,
    ) -> None:
        """Create a repository (`kind` is model or dataset) with one commit."""
        repo = _Repo(kind, private, gated)
        repo.commit(dict(files))
        self.repos[kind, name] = repo

    def put(self, name: str, path: str, content: bytes, kind: str = "model") -> None:
        """Change one file in a new commit; the old commit keeps the old content."""
        repo = self.repos[kind, name]
        repo.commit({**repo.commits[repo.head], path: content})

    def files(self, name: str, kind: str = "model") -> dict[str, bytes]:
        """What the main branch of a repository holds."""
        repo = self.repos[kind, name]
        return dict(repo.commits[repo.head])

    def serve(self, path: str, content: bytes) -> str:
        """Serve a file outside of any repository; returns its address."""
        self.plain[path] = content
        return f"{self.url}/plain/{path}"

    def misbehave(self, path: str, *faults: Fault) -> None:
        """Spoil the next answers with the content of `path`, one fault each, in order.

        `path` is a file of any repository, a plain file, or the whole path of an API request
        (which knows only `Status` and `Stall`).
        """
        self.faults.setdefault(path, []).extend(faults)

    def sent(self, path: str) -> list[Seen]:
        """Requests for the content of a file, in order."""
        ending = "/" + path
        return [s for s in self.seen if s.method == "GET" and s.path.endswith(ending)]

    def go_away(self) -> None:
        """Stop answering: connections are refused from now on, and cut where they are open."""
        if self._server is None:
            return
        self.closing.set()
        self._server.shutdown()
        self._server.cut()
        self._server.server_close()
        self._server = None

    def come_back(self) -> None:
        """Answer again, on the same port."""
        self.closing.clear()
        self._server = Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> LoopbackHub:
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_away()

    # -- what the server asks ----------------------------------------------------------------------

    def next_fault(self, path: str) -> Fault | None:
        with self.lock:
            waiting = self.faults.get(path)
            return waiting.pop(0) if waiting else None

    def replace_everywhere(self, path: str, content: bytes | None) -> None:
        """Rewrite history (`None` removes the file)."""
        with self.lock:
            trees = [t for repo in self.repos.values() for t in repo.commits.values()]
            for tree in (*trees, self.plain):
                if path in tree and content is None:
                    del tree[path]
                elif path in tree and content is not None:
                    tree[path] = content


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], hub: LoopbackHub) -> None:
        self.hub = hub
        self.open: set[Any] = set()
        super().__init__(address, Handler)

    def cut(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of ours."""
