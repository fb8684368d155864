"""Who may ask: by a token, or by the names of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.server import Access, Service
from gearshift.server.access import VARIABLE, access_of, read_token
from tests.server.asking import TEXT, ask, call_of, refused

TOKEN = "0123456789abcdef"
LOCAL = access_of("127.0.0.1", loopback=True, token=None)
HELD = Access(TOKEN)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8090", "127.0.0.1:9", "127.0.0.1", "[::1]:8090", "[::1]"])
def test_names_of_this_machine_are_let_in_on_any_port(host: str) -> None:
    assert LOCAL.refusal(call_of("/metrics", Host=host)) is None


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8090", "127.0.0.1.evil.example", "[::2]", "["])
def test_a_page_whose_name_leads_here_is_refused(host: str) -> None:
    reply = LOCAL.refusal(call_of("/v1/classify", {"text": TEXT}, Host=host))
    assert reply is not None and reply.status == 421


def test_health_alone_is_open_without_a_token(engine: Engine) -> None:
    service = Service(engine, HELD)
    paths = {*service._gets, *service.paths, "/", "/nowhere"}
    opened = {path for path in paths if ask(service, path).status != 401}
    assert opened == {"/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}


@pytest.mark.parametrize("given", ["", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}0", f"Bearer {TOKEN[:-1]}"])
def test_a_wrong_token_is_refused_whatever_the_path(engine: Engine, given: str) -> None:
    service = Service(engine, HELD)
    for path, body in (("/v1/classify", {"text": TEXT}), ("/metrics", None), ("/nowhere", None)):
        assert "Authorization: Bearer" in refused(service, path, body, 401, Authorization=given)
    assert ask(service, "/metrics", Authorization=given).headers["WWW-Authenticate"] == "Bearer"


def test_the_right_token_is_let_in_and_health_needs_none(engine: Engine) -> None:
    service = Service(engine, HELD)
    assert ask(service, "/v1/classify", {"text": TEXT}, Authorization=f"bearer  {TOKEN}").status == 200
    assert ask(service, "/health/ready", Host="anything").status == 200
    assert TOKEN not in repr(HELD)


def test_only_this_machine_is_served_without_a_token() -> None:
    with pytest.raises(InputError, match=r"host: expected an address of this machine alone.*--token-file"):
        access_of("0.0.0.0", loopback=False, token=None)
    assert access_of("0.0.0.0", loopback=False, token=TOKEN) == HELD
    assert access_of(None, loopback=True, token=None) == Access()


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(VARIABLE, f" {TOKEN}\n")
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN[::-1]}\nnote\n")
    assert read_token(tmp_path / "token") == TOKEN[::-1]


@pytest.mark.parametrize("token", ["", "short", "0123456789 abcdef", "0123456789abcdef\xe9", "\x00" * 16])
def test_a_token_that_is_none_is_refused_and_not_shown(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(InputError, match="expected a token of at least 16 characters") as caught:
        read_token(tmp_path / "token")
    assert not token or token not in str(caught.value)


def test_a_file_without_a_token_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="the token could not be read"):
            read_token(path)
