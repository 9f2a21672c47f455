"""Connections to object storage and web servers, for what is not read by GDAL: listings and Zarr.

GDAL has names of its own for some settings (`AWS_S3_ENDPOINT`, `AWS_NO_SIGN_REQUEST`, …). They hold
here too, so that what is listed is what is read, and with the same patience.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bocage.errors import ConfigError
from bocage.rasters import GDAL_OPTIONS

T = TypeVar("T")

_AMAZON = "https://s3.amazonaws.com"
_ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""What obstore itself looks for."""
_AZURE = {"AZURE_STORAGE_ACCOUNT": "account_name", "AZURE_STORAGE_ACCESS_KEY": "account_key",
          "AZURE_STORAGE_SAS_TOKEN": "sas_key", "AZURE_STORAGE_ACCESS_TOKEN": "token"}  # fmt: skip
_CONNECTION_STRING = {"AccountName": "account_name", "AccountKey": "account_key",
                      "SharedAccessSignature": "sas_key", "BlobEndpoint": "endpoint"}  # fmt: skip
_PROFILE = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key",
            "aws_session_token": "session_token", "region": "region"}  # fmt: skip


def connect(
    address: str,
    client: Mapping[str, Any] | None = None,
    retry: Mapping[str, Any] | None = None,
) -> Any:
    """obstore's store of an address: `s3://`, `gs://`, `az://` or a web server's.

    Its patience is that of reading rasters, unless `client` and `retry` say otherwise. Raises
    `ConfigError` where obstore is not installed or a profile is of no use, `OSError` for an
    address that is none.
    """
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise ConfigError(
            f"{address}: object storage needs obstore: pip install 'bocage[cloud]'."
        ) from error
    parts = urlsplit(address)
    config = _settings(parts.scheme, parts.netloc)
    plain = (address, config.get("endpoint", ""), *map(_stated, _ENDPOINTS))
    retries = int(GDAL_OPTIONS["GDAL_HTTP_MAX_RETRY"])
    connect_s, whole_s, delay_s = (
        float(GDAL_OPTIONS[f"GDAL_HTTP_{name}"])
        for name in ("CONNECTTIMEOUT", "TIMEOUT", "RETRY_DELAY")
    )
    words: dict[str, Any] = {
        "client_options": {
            "timeout": timedelta(seconds=whole_s),
            "connect_timeout": timedelta(seconds=connect_s),
            "allow_http": _stated("AWS_ALLOW_HTTP").lower() == "true"
            or any(text.startswith("http://") for text in plain),
            **(client or {}),
        },
        "retry_config": retry
        or {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=retries * whole_s),
            "backoff": {"init_backoff": timedelta(seconds=delay_s)},
        },
    }
    if config:
        words["config"] = config
    try:
        return obstore.store.from_url(address, **words)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise OSError(in_words(error)) from error


def ask(call: Callable[[], T]) -> T:
    """What a call of obstore's returns; its errors become `OSError`, in a line.

    Ctrl-C ends the wait at once, which obstore itself does not heed.
    """
    import obstore.exceptions

    answer: Future[T] = Future()

    def wait() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=wait, name="storage", daemon=True).start()
    try:
        return answer.result()
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise OSError(in_words(error)) from error


def in_words(error: Exception) -> str:
    """What a server or a library says, in a line: obstore tells its structures too."""
    text = str(error).strip()
    for pattern in (r"<Code>(\w+)</Code>", r'message: "([^"]+)"'):
        match = re.search(pattern, text)
        if match is not None:
            return match[1]
    if "TimedOut" in text:
        return "no answer in time"
    status = re.search(r"status code: (\d+[ \w]*)", text)
    return status[1].strip() if status else (text or type(error).__name__).splitlines()[0][:200]


def _settings(scheme: str, bucket: str) -> dict[str, Any]:
    """obstore's settings as GDAL's variables say; what obstore reads itself is left to it."""
    if scheme == "s3":
        return _s3(bucket)
    if scheme == "gs":
        return {"skip_signature": True} if _flag("GS_NO_SIGN_REQUEST") else {}
    if scheme not in ("az", "abfs", "abfss"):
        return {}
    stated = (part.partition("=") for part in _stated("AZURE_STORAGE_CONNECTION_STRING").split(";"))
    config: dict[str, Any] = {
        _CONNECTION_STRING[key]: value for key, _, value in stated if key in _CONNECTION_STRING
    }
    config |= {theirs: _stated(ours) for ours, theirs in _AZURE.items() if _stated(ours)}
    return config | ({"skip_signature": True} if _flag("AZURE_NO_SIGN_REQUEST") else {})


def _s3(bucket: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    endpoint = _stated("AWS_S3_ENDPOINT")
    if endpoint:
        if "://" not in endpoint:
            endpoint = f"{'https' if _flag('AWS_HTTPS', True) else 'http'}://{endpoint}"
        # Certificates of storage are for one name in front of its own.
        virtual = _flag("AWS_VIRTUAL_HOSTING", "." not in bucket)
        config["endpoint"] = endpoint.replace("://", f"://{bucket}.", 1) if virtual else endpoint
        config["virtual_hosted_style_request"] = virtual
    if _flag("AWS_NO_SIGN_REQUEST"):
        config["skip_signature"] = True
    elif not _stated("AWS_ACCESS_KEY_ID"):
        config |= _profile()
    if _stated("AWS_REGION") or _stated("AWS_DEFAULT_REGION"):
        config.pop("region", None)
    elif "region" not in config and not endpoint and not any(map(_stated, _ENDPOINTS)):
        config |= _region(bucket)
    return config


def _profile() -> dict[str, Any]:
    """Keys and region of the profile in the files of Amazon's tools."""
    named = _stated("AWS_PROFILE") or _stated("AWS_DEFAULT_PROFILE")
    name, home = named or "default", Path.home() / ".aws"
    secrets = _stated("CPL_AWS_CREDENTIALS_FILE") or _stated("AWS_SHARED_CREDENTIALS_FILE")
    found: dict[str, str] = {}
    for path, section in (
        (_stated("AWS_CONFIG_FILE") or home / "config", f"profile {name}"),
        (_stated("AWS_CONFIG_FILE") or home / "config", name),
        (secrets or home / "credentials", name),
    ):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(path, encoding="utf-8")
        if parser.has_section(section):
            found |= dict(parser.items(section))
    if named and "aws_access_key_id" not in found:
        raise ConfigError(
            f"AWS_PROFILE={named}: no access key of this profile in the files of Amazon's tools "
            "(credentials, config). If it logs in otherwise, set what 'aws configure "
            f"export-credentials --profile {named} --format env' prints."
        )
    return {theirs: found[ours] for ours, theirs in _PROFILE.items() if ours in found}


def _region(bucket: str) -> dict[str, str]:
    """Where Amazon keeps a bucket: requests elsewhere are refused, and GDAL finds out as well."""
    request = urllib.request.Request(f"{_AMAZON}/{bucket}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as refusal:
        with refusal:
            headers = refusal.headers  # it says where all the same
    except (OSError, ValueError):
        return {}  # the listing will fail too, and say why
    region = headers.get("x-amz-bucket-region")
    return {"region": region} if region else {}


def _stated(name: str) -> str:
    return os.environ.get(name, "").strip()


def _flag(name: str, default: bool = False) -> bool:
    """A switch as GDAL reads it."""
    text = _stated(name)
    return text.upper() not in ("NO", "FALSE", "OFF", "0") if text else default
