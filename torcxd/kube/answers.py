"""What the API server answers: judged, and read as JSON.

Answers are judged by who can have given them. What no API server says by itself (HTML with status 200, half a JSON)
came from something before it, a balancer without a backend or a connection cut by a proxy, and passes: transient. A
JSON object of the wrong shape is what the server at that address does say: permanent. So are 401, 403 and 404, which
hold until somebody changes credentials, RBAC or the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from torcxd.errors import EX_DATAERR, PermanentError, TransientError
from torcxd.http import HttpError, Response, raise_for_status, redact

# So much of what the server says goes into an error; its messages are one sentence.
_LONGEST_MESSAGE: Final = 300


def check_status(response: Response, rule: str, where: str) -> None:
    """Do nothing for a status below 400.

    :param rule: the RBAC rule that allows the request, for the hint.
    :param where: what the credentials were read from, for the hint.
    :raises HttpError: reason status, with what the server's ``Status`` object says.
    """
    try:
        raise_for_status(response)
    except HttpError as error:
        raise HttpError(
            f"the API server answered with status {response.status}{_said(response)}",
            reason=error.reason,
            kind=error.kind,
            url=error.url,
            hint={
                401: f"renew the credentials in {where}",
                403: f"it takes {rule}, bound to this user",
                404: f"create it, or check the server URL in {where}",
            }.get(response.status, ""),
            status=error.status,
            retry_after=error.retry_after,
        ) from error


def read_object(response: Response, where: str) -> dict[str, Any]:
    """The JSON object in a good answer.

    :param where: what the server's URL was read from, for the hint.
    :raises TransientError: it is no JSON.
    :raises PermanentError: it is JSON, but no object.
    """
    url = redact(response.url)
    document = parse_json(response.body)
    if document is None:
        raise TransientError(
            f"{url}: the answer is not JSON, or half of it ({_content_type(response)}, {len(response.body)} bytes)",
            hint=f"if this stays so, something else than the API server answers: check the server URL in {where}",
        )
    if not isinstance(document, dict):
        raise wrong_shape(url, "not an object", where)
    return document


def wrong_shape(url: str, what: str, where: str) -> PermanentError:
    """The error for an answer that is JSON, but not what was asked for.

    :param url: the answer's URL, redacted.
    """
    return PermanentError(
        f"{url}: the answer is not what an API server says: {what}",
        hint=f"check the server URL in {where}",
        exit_code=EX_DATAERR,
    )


def parse_json(body: bytes | bytearray) -> Any:
    """The document in *body*, or None where it is none."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def status_object(body: bytes) -> dict[str, Any] | None:
    """The ``Status`` object in the body of an error, if it is one."""
    status = parse_json(body)
    return status if isinstance(status, dict) and status.get("kind") == "Status" else None


def status_message(status: Mapping[str, Any]) -> str:
    """What a ``Status`` object says, fit for a message: bounded and printable."""
    message = str(status.get("message") or status.get("reason") or "no message")
    return "".join(each if each.isprintable() else "?" for each in message[:_LONGEST_MESSAGE])


def _said(response: Response) -> str:
    status = status_object(response.body)
    if status is None:
        return f", and not in the words of one ({_content_type(response)})"
    return f": {status_message(status)}"


def _content_type(response: Response) -> str:
    return ascii(response.headers.get("content-type", "no content type")[:100])
