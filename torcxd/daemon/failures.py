"""Reduces whatever an effect raised to one typed error."""

from __future__ import annotations

import logging

from torcxd.errors import EX_SOFTWARE, Kind, PermanentError, TorcxdError

log = logging.getLogger(__name__)

# Which of several errors is told: the one that needs somebody most.
_SEVERITY = {Kind.TRANSIENT: 0, Kind.PERMANENT: 1, Kind.CONFIGURATION: 2}


def as_single(raised: Exception) -> TorcxdError:
    """The error to tell of.

    A nursery wraps its tasks' errors in groups; of several the most severe is chosen. Anything that is not a
    ``TorcxdError`` is a defect of this program: it is logged with its traceback at debug level and becomes a
    :class:`PermanentError` with EX_SOFTWARE.
    """
    leaves = _leaves(raised)
    defects = [each for each in leaves if not isinstance(each, TorcxdError)]
    if defects:
        log.debug("Unexpected error.", exc_info=raised)
        first = defects[0]
        return PermanentError(
            f"internal error: {type(first).__name__}: {first}",
            hint="this is a defect; run with --verbose=debug for its traceback and report it",
            exit_code=EX_SOFTWARE,
        )
    return max((each for each in leaves if isinstance(each, TorcxdError)), key=lambda each: _SEVERITY[each.kind])


def _leaves(raised: BaseException) -> list[BaseException]:
    if isinstance(raised, BaseExceptionGroup):
        return [leaf for each in raised.exceptions for leaf in _leaves(each)]
    return [raised]
