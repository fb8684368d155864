"""Access: who may ask a server, by a token or by being on this machine."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from gearshift.errors import InputError
from gearshift.json_reader import read_limited
from gearshift.runtime.serving.metrics_http import LOCAL_NAMES
from gearshift.server.messages import Call, Reply, refusal

VARIABLE = "GEARSHIFT_TOKEN"
LEAST_CHARACTERS = 16
OPEN = frozenset(("/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"))
"""Paths that need no token: they tell nothing but that the server is there."""


@dataclass(frozen=True)
class Access:
    """Access to a server: with a token, or without one by the names of this machine alone."""

    token: str | None = field(default=None, repr=False)
    """Token that a request must bring; None: no token."""
    names: frozenset[str] | None = None
    """Names, without a port, of which the header `Host` must be one; None: any. A page of the web may be given a name
    that leads to this machine; its browser then says that name there."""

    def refusal(self, call: Call) -> Reply | None:
        """Return why a request is refused; None if it is not."""
        if self.token is None:
            host = call.headers.get("Host", "").strip().lower()
            name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
            if self.names is None or name in self.names:
                return None
            expected = " or ".join(sorted(self.names))
            return refusal(call, 421, "Misdirected", f"expected the host {expected}; ask by one of these names")
        if call.path in OPEN or self._is_right(call.headers.get("Authorization", "")):
            return None
        message = "expected the header `Authorization: Bearer TOKEN` with the token of this server"
        return refusal(call, 401, "Unauthorized", message, {"WWW-Authenticate": "Bearer"})

    def _is_right(self, given: str) -> bool:
        assert self.token is not None
        kind, _, token = given.partition(" ")
        told = token.strip().encode("utf-8", "surrogateescape")
        return kind.lower() == "bearer" and hmac.compare_digest(told, self.token.encode())


def access_of(host: str | None, *, loopback: bool, token: str | None) -> Access:
    """Return the access to an address; `host` is None for a unix socket, which belongs to its user.

    Raises InputError for an address that others reach without a token.
    """
    if token is not None or host is None:
        return Access(token)
    if not loopback:
        raise InputError(
            f"host: expected an address of this machine alone, such as 127.0.0.1, or a token, got {host} without one; "
            f"name a file with --token-file, or set {VARIABLE}"
        )
    return Access(None, frozenset((*LOCAL_NAMES, host.lower())))


def read_token(path: Path | None) -> str | None:
    """Return the token in the first line of a file, or without a file that of the environment; None without either.

    Raises InputError for a file that cannot be read, and for a token that is short or has characters beside printable
    ASCII.
    """
    if path is None:
        given, place = os.environ.get(VARIABLE), VARIABLE
        if given is None:
            return None
    else:
        place = str(path)
        try:
            given = read_limited(path, most=4096).decode("utf-8", "replace").partition("\n")[0]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: the token could not be read ({error}); name a file with a token") from error
    token = given.strip()
    if len(token) < LEAST_CHARACTERS or not (token.isascii() and token.isprintable()) or " " in token:
        raise InputError(
            f"{place}: expected a token of at least {LEAST_CHARACTERS} characters of ASCII without blanks; "
            "make one with: openssl rand -hex 32"
        )
    return token
