"""All HTTP of torcxd: one client on asks and trio, one error type. Nothing else imports asks."""

from torcxd.http.client import DEFAULT_MAX_BYTES, HttpClient, Timeouts
from torcxd.http.errors import HttpError, Reason
from torcxd.http.proxies import Proxies
from torcxd.http.response import Headers, Response, raise_for_status
from torcxd.http.streamed import StreamedResponse
from torcxd.http.url import redact

__all__ = [
    "DEFAULT_MAX_BYTES",
    "Headers",
    "HttpClient",
    "HttpError",
    "Proxies",
    "Reason",
    "Response",
    "StreamedResponse",
    "Timeouts",
    "raise_for_status",
    "redact",
]
