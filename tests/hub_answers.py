"""The loopback hub's answers, one method per route. See `hub_server`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml
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
    is_large,
    sha256,
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any  # hub_server.Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    # -- routes ------------------------------------------------------------------------------------

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        self.hub = self.server.hub
        self.query = urllib.parse.parse_qs(parts.query)
        authorization = self.headers.get("Authorization")
        self.token = (authorization or "").removeprefix("Bearer ") or None
        self.body = self._read_body()
        seen = Seen(self.command, path, self.headers.get("Range"), authorization is not None)
        self.hub.seen.append(seen)
        if path.startswith("/api/") and self._spoil_request(path):
            return
        for method, pattern, action in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                getattr(self, action)(**match.groupdict())
                return
        self._error(404, "no such route")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _spoil_request(self, path: str) -> bool:
        match self.hub.next_fault(path.removeprefix("/")):
            case Status(code, retry_after):
                self._status(code, retry_after)
            case Stall(_, seconds):
                self.hub.closing.wait(seconds)
                self.close_connection = True
            case _:
                return False
        return True

    # -- repositories ------------------------------------------------------------------------------

    def _find(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes] | None:
        """The tree of a readable repository; otherwise the error has been answered."""
        repo = self.hub.repos.get((kind, name))
        if self.token not in (None, TOKEN):
            self._error(401, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and self.token is None):
            # As the real hub: who is not known is not told whether a repository exists.
            self._error(401 if self.token is None else 404, "Repository not found", "RepoNotFound")
        elif repo.gated and self.token is None:
            self._error(401, "Access to this repository is restricted", "GatedRepo")
        elif repo.tree(revision) is None:
            self._error(404, "Invalid rev id", "RevisionNotFound")
        else:
            return repo.tree(revision)
        return None

    def info(self, kind: str, name: str, revision: str | None = None) -> None:
        tree = self._find(kind, name, revision or "main")
        if tree is None:
            return
        repo = self.hub.repos[kind, name]
        commit = repo.head if revision in (None, "main") else revision
        siblings = []
        for path, content in sorted(tree.items()):
            entry: dict[str, Any] = {"rfilename": path}
            if "blobs" in self.query:
                entry |= {"size": len(content), "blobId": _blob_id(path, content)}
                if is_large(path):
                    lfs = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
                    entry["lfs"] = lfs
            siblings.append(entry)
        self._json({"id": name, "sha": commit, "private": repo.private, "siblings": siblings})

    def tree(self, kind: str, name: str, revision: str, folder: str | None = None) -> None:
        files = self._find(kind, name, revision)
        if files is None:
            return
        prefix = f"{folder.strip('/')}/" if folder else ""
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path, content in sorted(files.items()):
            if not path.startswith(prefix):
                continue
            head, *rest = path.removeprefix(prefix).split("/")
            if rest and not recursive:
                entries[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0"}
            else:
                entries[path] = _tree_entry(path, content)
        self._json(list(entries.values()))

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        files = self._find(kind, name, revision)
        if files is None:
            return
        wanted = _form_or_json(self.body).get("paths", [])
        self._json([_tree_entry(path, files[path]) for path in wanted if path in files])

    def resolve(self, name: str, revision: str, path: str, prefix: str | None = None) -> None:
        kind = "dataset" if prefix else "model"
        files = self._find(kind, name, revision)
        if files is None:
            return
        if path not in files:
            self._error(404, "Entry not found", "EntryNotFound")
            return
        repo = self.hub.repos[kind, name]
        commit = repo.head if revision == "main" else revision
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not is_large(path):
            self._send_file(path, files[path], {**headers, "ETag": f'"{git_blob_id(files[path])}"'})
            return
        content = files[path]
        headers["X-Linked-Size"] = str(len(content))
        headers["X-Linked-ETag"] = headers["ETag"] = f'"{sha256(content)}"'
        port = self.server.server_address[1]
        location = f"/cdn/{kind}/{name}/{commit}/{path}"
        headers["Location"] = f"http://localhost:{port}{urllib.parse.quote(location)}"
        self._reply(302, b"", headers)

    def cdn(self, kind: str, name: str, revision: str, path: str) -> None:
        if self.token is not None:
            # A signed address and a token together are refused by storage, and rightly so.
            self._error(400, "Only one auth mechanism allowed")
            return
        files = self.hub.repos[kind, name].tree(revision) or {}
        if path not in files:
            self._error(404, "NoSuchKey")
            return
        self._send_file(path, files[path], {"ETag": f'"{sha256(files[path])}"'})

    def plain_file(self, path: str) -> None:
        if path not in self.hub.plain:
            self._error(404, "no such file")
            return
        content = self.hub.plain[path]
        self._send_file(path, content, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    # -- contents, and how they go wrong -----------------------------------------------------------

    def _send_file(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        fault = self.hub.next_fault(path) if self.command == "GET" else None
        if isinstance(fault, Status):
            self._status(fault.code, fault.retry_after)
            return
        if isinstance(fault, Change):
            self.hub.replace_everywhere(path, fault.content)
            content = fault.content
            headers = {**headers, "ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        if isinstance(fault, Vanish):
            self.hub.replace_everywhere(path, None)
        if isinstance(fault, Corrupt):
            at = fault.at % len(content)
            content = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        status, part, headers = self._select(content, headers, fault)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(part))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):
            self._send_body(part, fault)

    def _send_body(self, part: bytes, fault: Fault | None) -> None:
        match fault:
            case Truncate(after) | Vanish(after):
                self.wfile.write(part[:after])
                self.close_connection = True
            case Stall(after, seconds):
                self.wfile.write(part[:after])
                self.wfile.flush()
                self.hub.closing.wait(seconds)
                self.close_connection = True
            case Throttle(chunk, seconds):
                for at in range(0, len(part), chunk):
                    self.wfile.write(part[at : at + chunk])
                    self.wfile.flush()
                    time.sleep(seconds)
            case _:
                self.wfile.write(part)

    def _select(
        self, content: bytes, headers: dict[str, str], fault: Fault | None
    ) -> tuple[int, bytes, dict[str, str]]:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        stale = condition is not None and condition != headers["ETag"]
        if asked is None or stale or isinstance(fault, IgnoreRange):
            return 200, content, headers
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            return 416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"}
        if isinstance(fault, WrongRange):
            start = start // 2
        span = f"bytes {start}-{end}/{len(content)}"
        return 206, content[start : end + 1], {**headers, "Content-Range": span}

    # -- taking things -----------------------------------------------------------------------------

    def _may_write(self, name: str) -> bool:
        if self.token != TOKEN:
            self._error(401, "Invalid username or password.")
            return False
        if name.split("/")[0] not in self.hub.writable:
            self._error(403, "You don't have the rights to write in this namespace")
            return False
        return True

    def whoami(self) -> None:
        if self.token != TOKEN:
            self._error(401, "Invalid credentials in Authorization header")
            return
        self._json({"type": "user", "name": "tester", "orgs": [], "auth": {"type": "access_token"}})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        kind = asked.get("type") or "model"
        if not self._may_write(name):
            return
        prefix = "" if kind == "model" else f"{kind}s/"
        where = {"url": f"{self.hub.url}/{prefix}{name}", "name": name, "id": name}
        if (kind, name) in self.hub.repos:
            self._json({"error": "You already created this repo", **where}, 409)
            return
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.add_repo(name, {".gitattributes": b""}, kind, private=private)
        self._json(where)

    def validate_yaml(self) -> None:
        text = json.loads(self.body)["content"]
        match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        try:
            content = yaml.safe_load(match[1]) if match else None
        except yaml.YAMLError as error:
            self._json({"errors": [{"message": str(error)}], "warnings": []}, 400)
            return
        warnings = [] if content else [{"message": "empty or missing yaml metadata in repo card"}]
        self._json({"errors": [], "warnings": warnings})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if not self._may_write(name) or self._find(kind, name, revision) is None:
            return
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._json({"files": files})

    def lfs_batch(self, name: str, prefix: str | None = None) -> None:
        if not self._may_write(name):
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.hub.url}/lfs-upload/{item['oid']}"}
            verify = {"href": f"{self.hub.url}/lfs-verify/{item['oid']}"}
            objects.append({**item, "actions": {"upload": upload, "verify": verify}})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        fault = self.hub.next_fault("lfs-upload")
        if isinstance(fault, Status):
            self._status(fault.code, fault.retry_after)
        elif sha256(self.body) != oid:
            self._error(400, "content does not match its name")
        else:
            self.hub.uploads[oid] = self.body
            self._reply(200, b"", {})

    def lfs_verify(self, oid: str) -> None:
        found = oid in self.hub.uploads
        self._json({}) if found else self._error(404, "never uploaded")

    def commit(self, kind: str, name: str, revision: str) -> None:
        if not self._may_write(name) or self._find(kind, name, revision) is None:
            return
        repo = self.hub.repos[kind, name]
        tree = dict(repo.commits[repo.head])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                tree[value["path"]] = self.hub.uploads[value["oid"]]
            elif item["key"] == "deletedFile":
                del tree[value["path"]]
        oid = repo.commit(tree)
        where = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}/commit/{oid}"
        self._json({"success": True, "commitOid": oid, "commitUrl": where, "hookOutput": ""})

    # -- answers -----------------------------------------------------------------------------------

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _status(self, code: int, retry_after: int | None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._reply(code, b"", headers)

    def _error(self, status: int, message: str, code: str | None = None) -> None:
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code is not None:
            headers["X-Error-Code"] = code
        self._reply(status, json.dumps({"error": message}).encode(), headers)


_KIND = r"/api/(?P<kind>model|dataset)s"
_NAME = r"(?P<name>[^/]+/[^/]+)"
_ROUTES = [
    (("GET",), r"/api/whoami-v2", "whoami"),
    (("POST",), r"/api/repos/create", "create"),
    (("POST",), r"/api/validate-yaml", "validate_yaml"),
    (("GET",), rf"{_KIND}/{_NAME}", "info"),
    (("GET",), rf"{_KIND}/{_NAME}/revision/(?P<revision>[^/]+)", "info"),
    (("GET",), rf"{_KIND}/{_NAME}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", "tree"),
    (("POST",), rf"{_KIND}/{_NAME}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    (("POST",), rf"{_KIND}/{_NAME}/preupload/(?P<revision>[^/]+)", "preupload"),
    (("POST",), rf"{_KIND}/{_NAME}/commit/(?P<revision>[^/]+)", "commit"),
    (("POST",), rf"/(?P<prefix>datasets/)?{_NAME}\.git/info/lfs/objects/batch", "lfs_batch"),
    (("PUT",), r"/lfs-upload/(?P<oid>[0-9a-f]{64})", "lfs_upload"),
    (("POST",), r"/lfs-verify/(?P<oid>[0-9a-f]{64})", "lfs_verify"),
    (
        ("GET", "HEAD"),
        r"/cdn/(?P<kind>model|dataset)/(?P<name>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<path>.+)",
        "cdn",
    ),
    (("GET", "HEAD"), r"/plain/(?P<path>.+)", "plain_file"),
    (
        ("GET", "HEAD"),
        rf"/(?P<prefix>datasets/)?{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        "resolve",
    ),
]


def _blob_id(path: str, content: bytes) -> str:
    if not is_large(path):
        return git_blob_id(content)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\n"
    return git_blob_id(f"{pointer}size {len(content)}\n".encode())


def _tree_entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": _blob_id(path, content),
    }
    if is_large(path):
        entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return entry


def _form_or_json(body: bytes) -> dict[str, Any]:
    text = body.decode()
    if text.startswith("{"):
        return dict(json.loads(text))
    return dict(urllib.parse.parse_qs(text))
