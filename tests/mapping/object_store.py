"""Object storage on loopback: what is asked of S3, answered from a folder of buckets.

Listings come in pages of a few entries. A process of its own, so that it can vanish.
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
BREAKS = "breaks-"
"""How buckets begin whose listings break on the second page, with the status that follows."""
BY_FOLDER = "by-folder"
"""A bucket that is listed folder by folder only, and not in `CLOSED`."""
CLOSED = "closed"
_PAGE = 2
"""Entries of a page."""


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
            self._list(folder, {key: value[0] for key, value in parse_qs(url.query).items()})
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

    def _list(self, folder: Path, asked: dict[str, str]) -> None:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        begin = int(asked.get("continuation-token", "0"))
        if begin and folder.name.startswith(BREAKS):
            self._refuse(int(folder.name.removeprefix(BREAKS)), "SlowDown")
            return
        if folder.name == BY_FOLDER and (not delimiter or prefix.startswith(CLOSED)):
            self._refuse(403, "AccessDenied")
            return
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        entries = {}
        for name in sorted(n for n in names if n.startswith(prefix)):
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                common = prefix + rest.split(delimiter)[0] + delimiter
                entries[common] = (
                    f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>"
                )
            else:
                entries[name] = (
                    f"<Contents><Key>{escape(name)}</Key>"
                    "<LastModified>2024-01-01T00:00:00Z</LastModified>"
                    f"<Size>{(folder / name).stat().st_size}</Size></Contents>"
                )
        text = "".join(list(entries.values())[begin : begin + _PAGE])
        more = begin + _PAGE < len(entries)
        token = f"<NextContinuationToken>{begin + _PAGE}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><Prefix>{escape(prefix)}</Prefix>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{text}"
            "</ListBucketResult>".encode(),
        )

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
    """Serves the buckets below a folder until it dies; it is found by the environment."""

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
            "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
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
