"""Repositories of the Hugging Face hub: listing, fetching, uploading. The only place that does.

`HF_ENDPOINT` names another hub or a mirror. Tokens come from the library's own places: `HF_TOKEN`,
or what `hf auth login` stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Documented, but re-exported without saying so.
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from bocage import __version__
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.transfer import BRIEF, PATIENT, Advance, Checksum, Patience, Source, fetch, persist

Kind = Literal["model", "dataset"]

_ANSWER_S = 30.0
"""Seconds that a hub may take to list a repository."""
_LOGIN = "Log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    path: str
    size: int
    """Bytes."""
    checksum: Checksum


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit: files fetched by it are of the same version."""

    repo: str
    kind: Kind
    endpoint: str
    commit: str
    files: Mapping[str, HubFile]

    def source(self, path: str) -> Source:
        """Where and what a file is; `ConfigError` for one that the repository does not hold."""
        if path not in self.files:
            raise ConfigError(f"{self.repo}: {unknown_name('file', path, self.files)}")
        file = self.files[path]
        url = hf_hub_url(
            self.repo, path, repo_type=self.kind, revision=self.commit, endpoint=self.endpoint
        )
        headers = build_hf_headers(library_name="bocage", library_version=__version__)
        return Source(url, file.size, file.checksum, headers=headers)


def endpoint() -> str:
    """The hub's address, without a slash at the end: `HF_ENDPOINT`, or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def list_files(
    repo: str, kind: Kind = "model", *, revision: str | None = None, patience: Patience = BRIEF
) -> Listing:
    """The files of a repository with sizes and checksums.

    Raises `ConfigError` when there is no such repository or revision, or not for us; `DataError`
    when the hub cannot be reached or fails.
    """
    api = _api()
    describe = api.model_info if kind == "model" else api.dataset_info

    def ask() -> Listing:
        info = describe(repo, revision=revision, files_metadata=True, timeout=_ANSWER_S)
        files = {}
        for entry in info.siblings or ():
            if entry.lfs is not None:
                checksum = Checksum("sha256", entry.lfs.sha256)
                files[entry.rfilename] = HubFile(entry.rfilename, entry.lfs.size, checksum)
            elif entry.size is not None and entry.blob_id is not None:
                checksum = Checksum("git-sha1", entry.blob_id)
                files[entry.rfilename] = HubFile(entry.rfilename, entry.size, checksum)
        if info.sha is None:
            raise DataError(f"{repo}: {api.endpoint} does not say which commit it lists.")
        return Listing(repo, kind, api.endpoint, info.sha, files)

    try:
        return persist(ask, f"{repo} on {api.endpoint}", patience)
    except ConfigError as error:
        raise _explained(error, repo, api.endpoint) from error
    except HFValidationError as error:
        raise ConfigError(f"{repo}: no repository name, which is OWNER/NAME ({error}).") from error


def fetch_file(
    listing: Listing,
    path: str,
    target: Path,
    *,
    advance: Advance | None = None,
    patience: Patience = PATIENT,
    stop: threading.Event | None = None,
) -> None:
    """Bring one listed file to `target`, whole and right, or not at all. See `transfer.fetch`."""
    fetch(listing.source(path), target, advance=advance, patience=patience, stop=stop)


def upload(
    repo: str,
    files: Mapping[str, Path | bytes],
    *,
    message: str,
    private: bool = False,
    kind: Kind = "model",
) -> str:
    """Put files into a repository in one commit, creating it where needed; returns its address.

    Contents that the hub has already are not sent again. Raises `ConfigError` before anything is
    sent when nobody is logged in, the name is not ours to write to, or `private` is asked for a
    repository that is public; `DataError` when the hub cannot be reached or the upload fails.
    """
    api = _api()
    if get_token() is None:
        raise ConfigError(f"{repo}: uploading needs a token. {_LOGIN}.")
    try:
        _create(api, repo, kind, private)
        operations = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message=message, repo_type=kind)
    except OfflineModeIsEnabled as error:
        raise DataError(f"{repo}: offline mode is on. Unset HF_HUB_OFFLINE.") from error
    except HFValidationError as error:
        raise ConfigError(f"{repo}: no repository name, which is OWNER/NAME ({error}).") from error
    except BadRequestError as error:
        raise ConfigError(f"{repo}: {api.endpoint} does not accept this ({error}).") from error
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise _failed(repo, api.endpoint, error) from error
        raise ConfigError(
            f"{repo}: your token may not write there ({error.response.status_code}). Check the "
            "owner's name and that the token has the right to write; a new one is made on "
            f"{api.endpoint}/settings/tokens."
        ) from error
    # The library wraps a failing transfer in RuntimeError, a refused card in ValueError.
    except (httpx2.HTTPError, RuntimeError, ValueError) as error:
        raise _failed(repo, api.endpoint, error) from error
    return f"{api.endpoint}/{constants.REPO_TYPES_URL_PREFIXES.get(kind, '')}{repo}"


def _create(api: HfApi, repo: str, kind: Kind, private: bool) -> None:
    try:
        api.create_repo(repo, repo_type=kind, private=private)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        if private and not api.repo_info(repo, repo_type=kind, timeout=_ANSWER_S).private:
            raise ConfigError(
                f"{repo}: exists already and is public. Make it private on {api.endpoint}, choose "
                "another name, or leave out --private."
            ) from error


def _api() -> HfApi:
    return HfApi(endpoint(), library_name="bocage", library_version=__version__)


def _explained(error: ConfigError, repo: str, address: str) -> ConfigError:
    """The hub's refusal in words: what is private looks as if it were not there."""
    cause = error.__cause__
    if isinstance(cause, GatedRepoError):
        return ConfigError(
            f"{repo}: its owner grants access on request. Ask for it on {address}/{repo}, then "
            f"{_LOGIN.lower()}."
        )
    if isinstance(cause, RevisionNotFoundError):
        return ConfigError(f"{repo}: no such revision. Give a branch, a tag or a commit.")
    if isinstance(cause, RepositoryNotFoundError):
        return ConfigError(
            f"{repo}: not found on {address}, or private. Check the name. {_LOGIN} if it is "
            "private."
        )
    return error


def _failed(repo: str, address: str, error: Exception) -> DataError:
    reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
    return DataError(
        f"{repo}: the upload to {address} failed ({' '.join(reason.split())}). Run the same "
        "command again: what has arrived is not sent twice. A hub without Xet storage needs "
        "HF_HUB_DISABLE_XET=1."
    )
