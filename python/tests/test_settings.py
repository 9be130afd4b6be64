"""Settings as dataclasses and pydantic models."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from dask_operator_plugin import Failure
from dask_operator_plugin.settings import read_settings


class Scheme(enum.Enum):
    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True)
class Settings:
    scheme: Scheme = Scheme.HTTPS
    hosts: Sequence[str] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    path_type: Literal["Exact", "Prefix"] = "Prefix"
    level: Literal[0, 1] = 0
    url: str = field(init=False, default="")

    def __post_init__(self):
        if len(self.hosts) > 2:
            raise ValueError("there may be 2 hosts")


def test_choices_and_collections_are_read_as_the_types_of_the_dataclass():
    read = read_settings(Settings, {"scheme": "http", "hosts": ["a"], "weights": {"a": 1}, "pathType": "Exact"})
    assert read == Settings(Scheme.HTTP, ["a"], {"a": 1}, "Exact")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"scheme": "ftp"}, "spec.settings.scheme is 'ftp', expected one of 'http', 'https'"),
        ({"hosts": "abc"}, "spec.settings.hosts is not a list"),
        ({"weights": {"a": "b"}}, "spec.settings.weights.a is not an integer"),
        ({"pathType": []}, "spec.settings.pathType is [], expected one of 'Exact', 'Prefix'"),
        ({"level": True}, "spec.settings.level is True, expected one of 0, 1"),
        ({"url": "a"}, "spec.settings.url: unknown setting, expected one of hosts, level, pathType, scheme, weights"),
        ({"hosts": ["a", "b", "c"]}, "spec.settings: there may be 2 hosts"),
    ],
)
def test_the_error_for_an_invalid_setting_names_it(value, sentence):
    with pytest.raises(Failure) as failure:
        read_settings(Settings, value)
    assert (failure.value.reason, failure.value.message) == ("InvalidSettings", sentence)


class Rule(BaseModel):
    port: int


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host_pattern: str = Field(alias="hostPattern")
    rules: list[Rule] = []


def test_a_pydantic_model_is_accepted_and_its_first_error_is_reported():
    assert read_settings(Model, {"hostPattern": "a", "rules": [{"port": 1}]}).rules[0].port == 1
    for value, sentence in [
        ({}, "spec.settings.hostPattern: Field required"),
        (
            {"hostPattern": "a", "rules": [{"port": "b"}]},
            "spec.settings.rules[0].port: Input should be a valid integer",
        ),
        ({"hostPattern": "a", "rulez": 1}, "spec.settings.rulez: Extra inputs are not permitted"),
    ]:
        with pytest.raises(Failure) as failure:
            read_settings(Model, value)
        assert failure.value.reason == "InvalidSettings"
        assert failure.value.message.startswith(sentence)
