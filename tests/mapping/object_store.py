"""Object storage on loopback: what GDAL asks of S3, answered from a folder of buckets.

A process of its own, as listing holds Python's lock while it waits for the answer.
"""

from __future__ import annotations

import http.server
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

PRIVATE = "private"
"""A bucket that answers signed requests only."""


class _Store(http.server.BaseHTTPRequestHandler):
    root = Path()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        folder, file = self.root / bucket, self.root / bucket / key
        if not folder.is_dir():
            self._refuse(404, "NoSuchBucket")
        elif bucket == PRIVATE and "Authorization" not in self.headers:
            self._refuse(403, "AccessDenied")
        elif not key:
            asked = parse_qs(url.query)
            self._list(folder, asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0])
        elif not file.is_file():
            self._refuse(404, "NoSuchKey")
        else:
            self._send(file.read_bytes())

    do_HEAD = do_GET

    def _send(self, content: bytes) -> None:
        asked = self.headers.get("Range")
        if asked is None:
            self._answer(200, content)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        part = content[int(first) : int(last or len(content)) + 1]
        if not part:
            self._refuse(416, "InvalidRange")
            return
        place = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        self._answer(206, part, {"Content-Range": place})

    def _list(self, folder: Path, prefix: str, delimiter: str) -> None:
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        below = {n: n[len(prefix) :] for n in sorted(names) if n.startswith(prefix)}
        deeper = {n: bool(delimiter) and delimiter in rest for n, rest in below.items()}
        keys = "".join(
            f"<Contents><Key>{escape(n)}</Key><LastModified>2024-01-01T00:00:00Z</LastModified>"
            f"<Size>{(folder / n).stat().st_size}</Size></Contents>"
            for n in below if not deeper[n]
        )  # fmt: skip
        common = {prefix + below[n].split(delimiter)[0] + delimiter for n in below if deeper[n]}
        keys += "".join(
            f"<CommonPrefixes><Prefix>{escape(n)}</Prefix></CommonPrefixes>" for n in sorted(common)
        )
        keys = f"<Prefix>{escape(prefix)}</Prefix>{keys}"
        self._answer(200, f"<ListBucketResult>{keys}</ListBucketResult>".encode())

    def _refuse(self, code: int, name: str) -> None:
        self._answer(code, f"<Error><Code>{name}</Code><Message>{name}</Message></Error>".encode())

    def _answer(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class ObjectStore:
    """Serves the buckets below a folder until it dies; GDAL finds it by the environment."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(root)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        for name, value in {
            "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_NO_SIGN_REQUEST": "YES",
            # Not the settings of who runs the tests.
            "AWS_CONFIG_FILE": str(root / "none"),
            "CPL_AWS_CREDENTIALS_FILE": str(root / "none"),
            "CPL_AWS_AUTODETECT_EC2": "NO",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)

    def die(self) -> None:
        """Vanish between two requests."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


if __name__ == "__main__":
    _Store.root = Path(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    print(server.server_port, flush=True)
    server.serve_forever(0.01)
