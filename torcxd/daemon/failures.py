"""Reduces whatever an effect raised to one typed error."""

from __future__ import annotations

import logging
import os

from torcxd.errors import EX_SOFTWARE, Kind, PermanentError, TorcxdError, from_os_error

log = logging.getLogger(__name__)

# Which of several errors is told: the one that needs somebody most.
_SEVERITY = {Kind.TRANSIENT: 0, Kind.PERMANENT: 1, Kind.CONFIGURATION: 2}


def as_single(raised: Exception, *, logs: bool = True) -> TorcxdError:
    """The error to tell of.

    A nursery wraps its tasks' errors in groups; of several the most severe is chosen. What the system says of a file
    that nobody foresaw names that file. Anything else that is not a ``TorcxdError`` is a defect of this program: it is
    logged with its traceback at debug level and becomes a :class:`PermanentError` with EX_SOFTWARE.

    :param logs: whether the command has a log whose level can be set, so that the hint may say so.
    """
    leaves = [_typed(each) for each in leaves_of(raised)]
    defects = [each for each in leaves if not isinstance(each, TorcxdError)]
    if defects:
        log.debug("Unexpected error.", exc_info=raised)
        first = defects[0]
        return PermanentError(
            f"internal error: {type(first).__name__}: {first}",
            hint="this is a defect; "
            + ("run with --verbose=debug for its traceback and " if logs else "")
            + "report it",
            exit_code=EX_SOFTWARE,
        )
    return max((each for each in leaves if isinstance(each, TorcxdError)), key=lambda each: _SEVERITY[each.kind])


def leaves_of(raised: BaseException) -> list[BaseException]:
    """The exceptions in a group of groups; one that is no group is its own."""
    if isinstance(raised, BaseExceptionGroup):
        return [leaf for each in raised.exceptions for leaf in leaves_of(each)]
    return [raised]


def _typed(raised: BaseException) -> BaseException:
    if isinstance(raised, OSError) and raised.filename is not None:
        return from_os_error(raised, "access", os.fsdecode(raised.filename))
    return raised
