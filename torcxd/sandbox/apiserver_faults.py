"""What can go wrong with the answers of the API server stand-in."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from torcxd.sandbox.apiserver_answers import forbidden, json_answer, status_answer
from torcxd.sandbox.http_faults import Ending, cut_short, endless_body, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response

_HTML: Final = b"<html><head><title>502</title></head><body>no healthy upstream</body></html>\n"


class Fault(StrEnum):
    """What a request gets instead of its answer."""

    HANG = "hang"
    RESET = "reset"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    CONFLICT = "409"
    UNPROCESSABLE = "422"
    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    HTML = "html"
    HTML_ERROR = "html-502"
    HALF_JSON = "half-json"
    CUT_SHORT = "cut-short"
    WRONG_SHAPE = "wrong-shape"
    ENDLESS = "endless"


# The request is carried out, but its answer does not arrive whole. With the others it is not carried out.
LOST_ANSWERS: Final = frozenset({Fault.HALF_JSON, Fault.CUT_SHORT})


def faulty(fault: Fault, request: Request, answer: Response | RawBehaviour) -> Response | RawBehaviour:
    """What *request* gets instead of *answer*."""
    headers = answer.headers if isinstance(answer, Response) else {}
    body = answer.body if isinstance(answer, Response) and isinstance(answer.body, bytes) else b""
    half = body[: len(body) // 2]
    answers: dict[Fault, Response | RawBehaviour] = {
        Fault.HANG: send_then(b"", Ending.STALL),
        Fault.RESET: send_then(b"", Ending.RESET),
        Fault.UNAUTHORIZED: status_answer(401, "Unauthorized", "Unauthorized"),
        Fault.FORBIDDEN: forbidden(request),
        Fault.NOT_FOUND: status_answer(404, "NotFound", "the server could not find the requested resource", {}),
        Fault.CONFLICT: status_answer(409, "Conflict", "the object has been modified; please try again", {}),
        Fault.UNPROCESSABLE: status_answer(422, "Invalid", "the server rejected our request due to an error in it", {}),
        # Written by a filter before the API machinery, hence no Status.
        Fault.TOO_MANY: Response(
            429, {"Content-Type": "text/plain", "Retry-After": "1"}, b"Too many requests, please try again later.\n"
        ),
        Fault.INTERNAL: status_answer(
            500, "InternalError", "Internal error occurred: etcdserver: request timed out", {}
        ),
        Fault.UNAVAILABLE: status_answer(
            503, "ServiceUnavailable", "the server is currently unable to handle the request", {}
        ),
        Fault.HTML: Response(200, {"Content-Type": "text/html"}, _HTML),
        Fault.HTML_ERROR: Response(502, {"Content-Type": "text/html"}, _HTML),
        Fault.HALF_JSON: Response(200, headers, half),
        Fault.CUT_SHORT: cut_short(half, len(body) - len(half), headers=headers),
        Fault.WRONG_SHAPE: json_answer(200, {"kind": "Pod", "gitVersion": 1.8}),
        Fault.ENDLESS: endless_body,
    }
    return answers[fault]
