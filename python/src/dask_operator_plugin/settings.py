"""Reads `spec.settings` into a type of the plugin."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .answer import Failure

T = TypeVar("T")


def read_settings(cls: type[T], settings: Mapping[str, Any]) -> T:
    """Returns an instance of the dataclass or pydantic model `cls`. Raises `Failure("InvalidSettings", …)`."""
    validate = getattr(cls, "model_validate", None)
    if validate is None:
        return typing.cast("T", _dataclass(cls, settings, "spec.settings"))
    try:
        return typing.cast("T", validate(settings))
    except ValueError as error:
        raise _invalid(_first_pydantic_error(error)) from error


def _first_pydantic_error(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return f"spec.settings: {error}"
    first = errors()[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"spec.settings{path}: {first['msg']}"


def _invalid(message: str) -> Failure:
    return Failure("InvalidSettings", message)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _dataclass(cls: type, value: object, path: str) -> object:
    if not isinstance(value, Mapping):
        raise _invalid(f"{path} is not an object")
    hints = typing.get_type_hints(cls)
    fields = {_camel(field.name): field for field in dataclasses.fields(cls) if field.init}
    for name in value:
        if name not in fields:
            raise _invalid(f"{path}.{name}: unknown setting, expected one of {', '.join(sorted(fields))}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[field.name] = _value(hints[field.name], value[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _invalid(f"{path}.{name} is required")
    try:
        return cls(**arguments)
    except ValueError as error:
        # Raised by `__post_init__` of the plugin's class.
        raise _invalid(f"{path}: {error}") from error


def _value(hint: Any, value: object, path: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, path)
    if origin is typing.Literal:
        return _one_of(arguments, value, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(_one_of([member.value for member in hint], value, path))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, value, path)
    if origin in (list, tuple, Sequence):
        items = _of(list, value, path)
        read = [_value(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(items)]
        return tuple(read) if origin is tuple else read
    if origin in (dict, Mapping) or hint is dict:
        mapping = _of(dict, value, path)
        inner = arguments[1] if arguments else Any
        return {key: _value(inner, item, f"{path}.{key}") for key, item in mapping.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _of(hint, value, path)


def _one_of(allowed: Iterable[object], value: object, path: str) -> object:
    # Compares the types, too, because True == 1.
    if not any(value == one and type(value) is type(one) for one in allowed):
        raise _invalid(f"{path} is {value!r}, expected one of {', '.join(map(repr, allowed))}")
    return value


def _union(arguments: tuple[Any, ...], value: object, path: str) -> object:
    if value is None and type(None) in arguments:
        return None
    failures = []
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _value(argument, value, path)
        except Failure as failure:
            failures.append(failure)
    raise failures[0]


_NAMES = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "an integer",
    list: "a list",
    str: "a string",
}


def _of(cls: Any, value: object, path: str) -> Any:
    if not isinstance(value, cls) or (cls is int and isinstance(value, bool)):
        raise _invalid(f"{path} is not {_NAMES.get(cls, cls.__name__)}")
    return value
