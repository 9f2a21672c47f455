"""A folder behind HTTP on loopback, with the byte ranges that GDAL asks for."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path


class _Files(http.server.SimpleHTTPRequestHandler):
    def send_head(self):  # type: ignore[no-untyped-def]
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range")
        if not path.is_file():
            self.send_error(404)
            return None
        if asked is None:
            return super().send_head()
        first, last = asked.removeprefix("bytes=").split("-")
        content = path.read_bytes()
        part = content[int(first) : int(last or len(content)) + 1]
        if not part:
            self.send_error(416)
            return None
        self.send_response(206)
        stop = int(first) + len(part) - 1
        self.send_header("Content-Range", f"bytes {first}-{stop}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)
        return None

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    # Chunks of a Zarr store are asked for all at once: whoever finds the queue full waits seconds.
    request_queue_size = 128


class RangeServer:
    """Serves a folder as long as the `with` block runs."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(_Files, directory=str(folder))
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RangeServer:
        serve = functools.partial(self._server.serve_forever, 0.01)
        threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
