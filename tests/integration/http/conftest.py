"""A throw-away authority, and clients that trust it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from torcxd.http import HttpClient
from torcxd.sandbox.tls import Authority

NewClient = Callable[..., HttpClient]


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def new_client(authority: Authority) -> AsyncIterator[NewClient]:
    """Makes clients that trust the authority; takes HttpClient's options."""
    clients: list[HttpClient] = []

    def make(**options: Any) -> HttpClient:
        clients.append(HttpClient(**{"ssl_context": authority.client_context(), **options}))
        return clients[-1]

    yield make
    for each in clients:
        await each.aclose()


@pytest.fixture
def client(new_client: NewClient) -> HttpClient:
    return new_client()
