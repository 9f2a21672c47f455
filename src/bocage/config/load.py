"""Reading a run's YAML: `extends:`, `key=value`, and errors that name the key and the remedy."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Tag, ValidationError

from bocage.config.catalogue import preset, preset_names
from bocage.config.run import RunConfig
from bocage.errors import ConfigError, unknown_name
from bocage.models import BundleMeta

Model = TypeVar("Model", bound=BaseModel)


def load_config(source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a YAML file, or of a preset by its name, with `key=value` overrides.

    `extends: NAME` in the file, a preset or a path beside it, is read first and overlaid. Raises
    `ConfigError` for an unknown or misspelt key (with the nearest valid one), a wrong value, and
    an option that is given but has no effect.
    """
    document = _read_with_bases(source)
    # A preset is a base like any other: what it says and an override makes idle is nobody's error.
    given = {} if source in preset_names() else _read(source)
    given.pop("extends", None)
    for override in overrides:
        path, value = _parse_override(override)
        _assign(document, path, value, override)
        _assign(given, path, value, override)
    config = validate(RunConfig, document, source)
    _refuse_ineffective(config, set(_leaf_paths(given)), source)
    return config


def load_resolved(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that a run wrote into its own folder, with `key=value` overrides."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Is {path.parent} the folder of a run?")
    document = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    for override in overrides:
        _assign(document, *_parse_override(override), override)
    return validate(RunConfig, document, str(path))


def load_for_bundle(meta: BundleMeta, source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration `source` (a file or preset) with the network, inputs and tasks of a bundle.

    What the bundle knows need not be said again, and cannot differ unless an override says so.
    """
    document = _read_with_bases(source)
    network = meta.network.model_dump(mode="json")
    document["inputs"] = network.pop("inputs")
    document["tasks"] = [task["name"] for task in network.pop("tasks")]
    document["network"] = network
    for override in overrides:
        _assign(document, *_parse_override(override), override)
    return validate(RunConfig, document, source)


def parse_options(
    model: type[Model], overrides: Sequence[str], given: Mapping[str, Any] | None = None
) -> Model:
    """One config from plain values and `key=value` words over them, with a file's errors."""
    document: dict[str, Any] = dict(given or {})
    for override in overrides:
        _assign(document, *_parse_override(override), override)
    return validate(model, document, "options")


def validate(model: type[Model], document: dict[str, Any], source: str) -> Model:
    """A config of plain values; pydantic's findings become one readable `ConfigError`."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        findings = [_explain(model, dict(item)) for item in error.errors()]
        raise ConfigError(f"{source}: " + "\n".join(findings)) from error


def _read(source: str) -> dict[str, Any]:
    """The document of a file or preset, without its bases."""
    path = Path(source)
    # A folder may well be called as a preset is: `bocage demo` writes into one.
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise ConfigError(
                f"{source}: no such file. Give a YAML file or a preset: {', '.join(preset_names())}"
            )
        return _parse_yaml(path.read_text(encoding="utf-8"), source)
    try:
        return preset(source)
    except KeyError:
        raise ConfigError(unknown_name("configuration", source, preset_names())) from None


def _read_with_bases(source: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    if source in seen:
        raise ConfigError(f"extends goes in a circle: {' -> '.join((*seen, source))}")
    document = _read(source)
    base = document.pop("extends", None)
    if base is None:
        return document
    beside = Path(source).parent / str(base)
    base_source = str(beside) if beside.is_file() else str(base)
    return _overlay(_read_with_bases(base_source, (*seen, source)), document)


def _parse_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: expected 'key: value' lines, found {type(document).__name__}")
    return document


def _overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """`top` over `base`, mapping by mapping; lists and scalars replace."""
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def _parse_override(override: str) -> tuple[list[str], Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override '{override}' is not of the form key=value")
    try:
        return key.split("."), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{override}': the value is not valid YAML") from error


def _assign(document: dict[str, Any], path: list[str], value: Any, override: str) -> None:
    for key in path[:-1]:
        inner = document.setdefault(key, {})
        if inner is None:
            inner = document[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"override '{override}': '{key}' holds no options")
        document = inner
    document[path[-1]] = value


def _leaf_paths(document: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaf_paths(value, f"{path}.")
        else:
            yield path


def _refuse_ineffective(config: RunConfig, given: set[str], source: str) -> None:
    """Options of a base that do not apply are silent; those that the user wrote are errors."""
    findings = [
        f"{path} has no effect: {reason}. Remove it."
        for idle, reason in config.ineffective().items()
        for path in sorted(given)
        if path == idle or path.startswith(f"{idle}.")
    ]
    if findings:
        raise ConfigError(f"{source}: " + "\n".join(findings))


def _explain(model: type[BaseModel], item: dict[str, Any]) -> str:
    location = [part for part in item["loc"] if isinstance(part, (str, int))]
    keys, valid = _follow(model, location)
    path = ".".join(keys)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return f"unknown key '{path}'{hint} Valid here: {', '.join(sorted(valid))}"
    if item["type"] == "missing":
        return f"'{path}' is missing. Add it to the file or give {path}=… on the command line."
    if item["type"] == "union_tag_invalid":
        # The place is the whole config; what is wrong is its kind alone.
        kinds = [tag.strip("' ") for tag in item["ctx"]["expected_tags"].split(",")]
        return f"'{path}.kind': " + unknown_name("kind", item["ctx"]["tag"], kinds)
    place = f"'{path}': " if path else ""
    return f"{place}{item['msg']} (found {item['input']!r})"


def _follow(model: type[BaseModel], location: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """The keys of a finding's place as the user wrote them, and the valid ones beside the last.

    Where a config may be of several kinds, pydantic puts the kind among the keys; here it is left
    out again.
    """
    keys: list[str] = []
    kinds: dict[str, type[BaseModel]] = {}
    beside = model
    for part in map(str, location):
        if part in kinds:
            model, kinds = kinds[part], {}
            continue
        keys.append(part)
        beside = model
        field = model.model_fields.get(part)
        if field is not None:
            kinds = dict(_kinds(field.annotation))
            # Inside a mapping or list of configs the next part is a key or an index.
            model = next(_models_in(field.annotation), model)
    derived = {"inputs", "tasks"} if keys[:-1] == ["network"] else set()
    return keys, [name for name in beside.model_fields if name not in derived]


def _kinds(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The configs of a tagged union by tag; nothing for any other annotation."""
    for member in typing.get_args(annotation):
        config, *metadata = typing.get_args(member) or (member,)
        for tag in metadata:
            if isinstance(tag, Tag):
                yield tag.tag, config


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
