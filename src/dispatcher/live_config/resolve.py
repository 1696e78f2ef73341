"""How the layers become one live configuration: per key etcd, then the file, then the default. Pure."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dispatcher.kernel.errors import StartupError
from dispatcher.live_config.model import LiveConfig

MAX_VALUE_BYTES = 4096
KEYS = tuple(LiveConfig.model_fields)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What came out of a listing."""

    config: LiveConfig
    accepted: Mapping[str, str]
    """The etcd values in force, as text. For a refused key it is the last good value, if there was one."""
    refused: Mapping[str, str]
    """Key to reason, for people. Never holds the value: it could be a secret."""


def resolve(
    entries: Mapping[str, bytes], *, file: Mapping[str, Any], last_good: Mapping[str, str]
) -> Resolution:
    """The configuration that the listing asks for, as far as its values can be accepted.

    A bad value changes nothing: its key keeps the last good etcd value, or falls back to file and default.
    """
    texts: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key, raw in entries.items():
        reason = _unreadable(key, raw)
        if reason is None:
            text = _unquoted(raw.decode().strip())
            reason = _field_error(key, text)
            texts[key] = text
        if reason is not None:
            refused[key] = reason
            texts.pop(key, None)
            if key in last_good:
                texts[key] = last_good[key]
    return _together(texts, refused, file=file, last_good=last_good)


def resolve_again(texts: Mapping[str, str], *, file: Mapping[str, Any]) -> Resolution:
    """The same for values that were accepted before: under another file, perhaps, or by another version."""
    reasons = {key: _unknown(key) or _field_error(key, text) for key, text in texts.items()}
    refused = {key: reason for key, reason in reasons.items() if reason is not None}
    fitting = {key: text for key, text in texts.items() if key not in refused}
    return _together(fitting, refused, file=file, last_good={})


def _together(
    texts: Mapping[str, str],
    refused: dict[str, str],
    *,
    file: Mapping[str, Any],
    last_good: Mapping[str, str],
) -> Resolution:
    try:
        return Resolution(LiveConfig.model_validate({**file, **texts}), texts, refused)
    except ValidationError:
        return _one_by_one(texts, refused, file=file, last_good=last_good)


def _one_by_one(
    texts: Mapping[str, str],
    refused: dict[str, str],
    *,
    file: Mapping[str, Any],
    last_good: Mapping[str, str],
) -> Resolution:
    """Each value is fine alone, but not all together: keep the last good ones, then take what still fits."""
    accepted = {key: last_good[key] for key in texts if key in last_good}
    try:
        config = LiveConfig.model_validate({**file, **accepted})
    except ValidationError:
        accepted, config = {}, LiveConfig.model_validate(dict(file))
    for key, text in texts.items():
        if accepted.get(key) == text:
            continue
        try:
            config = LiveConfig.model_validate({**file, **accepted, key: text})
            accepted[key] = text
        except ValidationError as error:
            refused[key] = _reason(error)
    return Resolution(config, accepted, refused)


def check_value(key: str, raw: bytes) -> str | None:
    """Why this one value would be refused, or None. Does not look at other keys."""
    return _unreadable(key, raw) or _field_error(key, _unquoted(raw.decode().strip()))


def read_file(path: Path, *, required: bool) -> dict[str, Any]:
    """The values of the YAML file, validated; empty when there is no such file and none is required.

    Raises:
        StartupError: The file cannot be read, or a value in it is wrong. The text names file, key and problem.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        if required:
            raise StartupError(f"APP_DYNAMIC_CONFIG: there is no file {path}") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"APP_DYNAMIC_CONFIG: cannot read {path}: {error}") from error
    try:
        values = yaml.safe_load(text) or {}
        if not isinstance(values, dict):
            raise StartupError(f"APP_DYNAMIC_CONFIG: {path} must hold `key: value` lines, e.g. rate_limit: 2")
        LiveConfig.model_validate(values)
    except yaml.YAMLError as error:
        raise StartupError(
            f"APP_DYNAMIC_CONFIG: {path} is not YAML: {' '.join(str(error).split())}"
        ) from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise StartupError(
            f"APP_DYNAMIC_CONFIG: {path}: {f'{where}: ' if where else ''}{_reason(error)}"
        ) from None
    return {key: value for key, value in values.items() if value is not None}


def _unknown(key: str) -> str | None:
    if key in KEYS:
        return None
    close = difflib.get_close_matches(key, KEYS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(KEYS)}"
    return f"unknown key; {hint}"


def _unreadable(key: str, raw: bytes) -> str | None:
    unknown = _unknown(key)
    if unknown is not None:
        return unknown
    if len(raw) > MAX_VALUE_BYTES:
        return f"the value has {len(raw)} bytes; at most {MAX_VALUE_BYTES} are taken"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "the value is not UTF-8 text"
    if not text.strip():
        return "the value is empty; delete the key to fall back to the file or the default"
    return None


def _unquoted(text: str) -> str:
    """A value put as JSON text ("https://…") means what is inside the quotes."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _field_error(key: str, text: str) -> str | None:
    try:
        LiveConfig.model_validate({key: text})
    except ValidationError as error:
        # a rule over several fields is judged later, with the other keys' real values
        return _reason(error) if any(e["loc"] for e in error.errors(include_url=False)) else None
    return None


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:] if text.startswith("Input ") else text
