"""Connections to storage: GDAL's variables hold for what is not read by GDAL."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bocage.errors import ConfigError
from bocage.imagery import connect as module
from bocage.imagery.connect import connect, in_words

pytestmark = pytest.mark.unit

KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "password"}
HERE = {"AWS_S3_ENDPOINT": "store.org:9000"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not the settings of who runs the tests."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "DEFAULT_PROFILE", "REGION",
                 "DEFAULT_REGION", "S3_ENDPOINT", "ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3",
                 "NO_SIGN_REQUEST", "HTTPS", "VIRTUAL_HOSTING"):  # fmt: skip
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("CPL_AWS_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.parametrize(
    ("address", "environment", "expected"),
    [
        ("s3://b", HERE | {"AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
         {"endpoint": "http://store.org:9000", "virtual_hosted_style_request": "false"}),
        ("s3://b", HERE,
         {"endpoint": "https://b.store.org:9000", "virtual_hosted_style_request": "true"}),
        ("s3://my.b", HERE, {"endpoint": "https://store.org:9000"}),
        ("s3://my.b", {"AWS_S3_ENDPOINT": "http://store.org"}, {"endpoint": "http://store.org"}),
        # What obstore reads itself is left to it.
        ("s3://b", {"AWS_ENDPOINT": "http://store.org"}, {"endpoint": None, "region": None}),
        ("s3://b", HERE | {"AWS_NO_SIGN_REQUEST": "YES"}, {"skip_signature": "true"}),
        ("s3://b", HERE | KEYS | {"AWS_NO_SIGN_REQUEST": "NO", "AWS_REGION": "eu-west-3"},
         {"access_key_id": None, "region": None, "skip_signature": None}),
        ("gs://b", {"GS_NO_SIGN_REQUEST": "YES"}, {"skip_signature": "true"}),
        ("az://b", {"AZURE_STORAGE_ACCOUNT": "me", "AZURE_STORAGE_ACCESS_KEY": "a2V5"},
         {"account_name": "me", "account_key": "a2V5"}),
        ("az://b", {"AZURE_STORAGE_ACCOUNT": "me", "AZURE_NO_SIGN_REQUEST": "YES"},
         {"skip_signature": "true"}),
        ("az://b",
         {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=me;AccountKey=a2V5YQ==;Endpoint=x"},
         {"account_name": "me", "account_key": "a2V5YQ=="}),
    ],
)  # fmt: skip
def test_what_is_set_for_gdal_holds(
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    environment: dict[str, str],
    expected: dict[str, Any],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = connect(address).config
    assert {key: config.get(key) for key in expected} == expected


def test_a_profile_has_keys_and_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id=me\naws_secret_access_key=a%b\n"
        "[work]\naws_access_key_id=us\naws_secret_access_key=c\naws_session_token=t\n"
    )
    (tmp_path / "config").write_text("[profile work]\nregion=eu-west-3\n[profile away]\nsso=x\n")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "store.org")
    own = connect("s3://b").config
    assert (own["access_key_id"], own["secret_access_key"]) == ("me", "a%b")
    monkeypatch.setenv("AWS_PROFILE", "work")
    work = connect("s3://b").config
    assert (work["access_key_id"], work["session_token"], work["region"]) == (
        "us",
        "t",
        "eu-west-3",
    )
    monkeypatch.setenv("AWS_PROFILE", "away")
    with pytest.raises(ConfigError, match=r"AWS_PROFILE=away.*export-credentials --profile away"):
        connect("s3://b")


class _Amazon(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(403)
        if self.path == "/far":
            self.send_header("x-amz-bucket-region", "ap-south-1")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Amazon) as server:
        monkeypatch.setattr(module, "_AMAZON", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.usefixtures("amazon")
def test_amazon_is_asked_where_a_bucket_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect("s3://far").config["region"] == "ap-south-1"
    assert "region" not in connect("s3://near").config
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert "region" not in connect("s3://far").config
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setattr(module, "_AMAZON", "http://127.0.0.1:9")
    assert "region" not in connect("s3://far").config


def test_without_its_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigError, match=r"pip install 'bocage\[cloud\]'"):
        connect("s3://b")


def test_an_address_that_is_none_is_an_error_in_a_line() -> None:
    with pytest.raises(OSError, match="ftp"):
        connect("ftp://b/c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>\nmore",
            "AccessDenied",
        ),
        ('Generic HTTP error\n{ code: 111, message: "Connection refused" }', "Connection refused"),
        ("Generic S3 error\n source: TimedOut,", "no answer in time"),
        ("Server returned non-2xx status code: 502 Bad Gateway: ", "502 Bad Gateway"),
        ("truncated\nbuffer", "truncated"),
        ("", "ValueError"),
    ],
)
def test_answers_in_words(text: str, words: str) -> None:
    assert in_words(ValueError(text)) == words
