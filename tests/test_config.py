"""`aserve.config`: every option is declared once, checked once, and told apart by its source."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.config import (
    APP_OPTION,
    Limits,
    ServerConfig,
    ServerOptions,
    Timeouts,
    iter_options,
)
from aserve.errors import ConfigError
from aserve.options import Option, check_value, unknown_key
from aserve.resolve import Inputs, resolve

_BY_NAME = {option.name: option for option in iter_options()}


def test_keyword_arguments_are_the_fields() -> None:
    """`ServerOptions` types the keyword arguments of `run` and `serve`: same names, same types."""
    others = {"host": str, "port": int, "reload": bool | None}
    assert {**get_type_hints(ServerOptions), **others} == get_type_hints(ServerConfig)


def test_options_are_the_fields_with_limits_and_time_outs_last() -> None:
    names = [option.name for option in iter_options()]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(ServerConfig))
    last = [field.name for base in (Limits, Timeouts) for field in dataclasses.fields(base)]
    assert names[-len(last) :] == last


def test_no_flag_or_variable_is_used_twice() -> None:
    options = [APP_OPTION, *iter_options()]
    flags = [flag for option in options for flag in (*option.flags, option.off_flag) if flag]
    assert len(flags) == len(set(flags))
    assert len({option.environment for option in options}) == len(options)


@pytest.mark.parametrize("option", list(iter_options()), ids=lambda option: option.name)
def test_option_is_complete(option: Option) -> None:
    assert option.help.endswith(".")
    groups = {"Listening", "HTTPS", "Serving", "Reloading", "Debugging", "Output"}
    assert option.group in groups | {"Limits", "Time-outs"}
    assert option.flags[0].startswith("--")
    assert option.metavar
    # Every default passes its own check.
    assert check_value(option, option.default, option.name) == option.default


def test_defaults_make_a_configuration() -> None:
    config = ServerConfig()
    assert (config.host, config.port, config.threads, config.grace) == ("localhost", 8000, 40, 5.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 1  # type: ignore[misc]


def test_whole_seconds_become_a_float() -> None:
    config = ServerConfig(grace=3)
    assert type(config.grace) is float


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "8000", "must be an integer"),
        ("port", True, "must be an integer"),
        ("port", 70_000, "is not between 0 and 65535"),
        ("port", -1, "is not between 0 and 65535"),
        ("grace", -0.5, "is not between 0 and 86400"),
        ("grace", float("nan"), "is not between 0 and 86400"),
        ("host", "", "is empty"),
        ("host", None, "must be a text"),
        ("uds", "", "is empty"),
        ("fd", -1, "must be at least 0"),
        ("fd", 2147483648, "is larger than any descriptor"),
        ("threads", 0, "is not between 1 and 10000"),
        ("log_level", "loud", "is not one of debug, info, warning, error, critical"),
        ("access_log", 1, "must be true or false"),
        ("limit_request_line", 1, "must be at least 64"),
    ],
)
def test_bad_value_names_option_value_and_fix(name: str, value: Any, words: str) -> None:
    """B5: a port that is a text is an error, not a surprise later."""
    with pytest.raises(ConfigError) as caught:
        ServerConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}: {value!r} {words}")
    assert "\n" not in str(caught.value)
    assert (caught.value.option, caught.value.value) == (name, value)
    assert isinstance(caught.value, ValueError)


def test_flag_beats_environment_beats_file_beats_default() -> None:
    environment = {"ASERVE_PORT": "2", "ASERVE_THREADS": "2", "PORT": "7"}
    resolved = resolve(Inputs({"port": "1"}, environment, {"port": 3, "threads": 3, "backlog": 3}))
    config = resolved.config
    assert (config.port, config.threads, config.backlog, config.fd) == (1, 2, 3, None)
    sources = {name: resolved.sources[name] for name in ("port", "threads", "backlog", "fd")}
    assert [(source.kind, source.where) for source in sources.values()] == [
        ("flag", "--port"),
        ("environment", "ASERVE_THREADS"),
        ("file", "pyproject.toml"),
        ("default", ""),
    ]
    assert resolved.is_asked_for("backlog")
    assert not resolved.is_asked_for("fd")


def test_app_is_a_setting_beside_the_options() -> None:
    assert resolve(Inputs({}, {}, {})).app is None
    assert resolve(Inputs({}, {}, {"app": "a:b"})).app == "a:b"
    assert resolve(Inputs({}, {"ASERVE_APP": "c:d"}, {"app": "a:b"})).app == "c:d"
    resolved = resolve(Inputs({"app": "e:f"}, {"ASERVE_APP": "c:d"}, {}))
    assert (resolved.app, resolved.sources["app"].where) == ("e:f", "APP")


def test_variable_of_a_file_names_the_file() -> None:
    resolved = resolve(Inputs({}, {"ASERVE_PORT": "2"}, {}, env_files={"ASERVE_PORT": ".env"}))
    assert resolved.sources["port"].where == "ASERVE_PORT in .env"
    with pytest.raises(ConfigError, match=r"^ASERVE_PORT in \.env: 'x' is not a whole number$"):
        resolve(Inputs({}, {"ASERVE_PORT": "x"}, {}, env_files={"ASERVE_PORT": ".env"}))


@pytest.mark.parametrize(
    ("flags", "environment", "file_values", "message"),
    [
        ({"port": "x"}, {}, {}, "--port: 'x' is not a whole number"),
        ({"grace": "x"}, {}, {}, "--grace: 'x' is not a number"),
        ({}, {"ASERVE_PORT": ""}, {}, "ASERVE_PORT: '' is not a whole number"),
        ({}, {"ASERVE_OPEN": "maybe"}, {}, "ASERVE_OPEN: 'maybe' is neither yes nor no"),
        ({}, {}, {"port": "80"}, "port in pyproject.toml: '80' must be an integer"),
        ({}, {}, {"prot": 80}, "did you mean 'port'?"),
        (
            {},
            {},
            {"zzzzz": 80},
            "'zzzzz' is not an option; known are access_log, allowed_hosts, app,",
        ),
    ],
)
def test_error_is_spelled_as_its_source_spells_it(
    flags: dict[str, Any], environment: dict[str, str], file_values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Inputs(flags, environment, file_values))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("YES", True), ("off", False), ("", False)]
)
def test_truth_values_of_variables(text: str, value: bool) -> None:
    assert resolve(Inputs({}, {"ASERVE_OPEN": text}, {})).config.open is value


def test_keys_of_the_file_may_have_dashes() -> None:
    assert resolve(Inputs({}, {}, {"log-level": "debug"})).config.log_level == "debug"


def test_unknown_key_without_a_near_one_lists_all() -> None:
    assert "known are a, b" in str(unknown_key("zzz", ["b", "a"], "here"))


_NUMBERS = sorted(name for name, option in _BY_NAME.items() if option.kind in (int, float))


@given(st.sampled_from(_NUMBERS), st.text(max_size=12))
def test_any_text_gives_a_value_or_one_line(name: str, text: str) -> None:
    try:
        resolved = resolve(Inputs({}, {_BY_NAME[name].environment: text}, {}))
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        assert type(getattr(resolved.config, name)) is _BY_NAME[name].kind
    assert len(message.splitlines()) <= 1
