"""The log of a process: JSON, a line each, on the standard error stream; readable lines in development.

Everything goes through one pipeline: our modules, which use ``logging``, and every library. A line has the
time, the level, the logger, the event, and what is bound at the time: a request's or an intent's correlation
id. Secrets are not logged by anybody; what looks like one is blotted out here all the same.
"""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, ProcessorReturnValue, WrappedLogger

BLOT = "[redacted]"
_SECRETS = re.compile(
    # Our tokens and the secrets of webhooks; credentials in headers and in addresses.
    r"collegium_[A-Za-z0-9_\-]{20,}"
    r"|whsec_[A-Za-z0-9+/=_\-]{16,}"
    r"|(?i:(?<=bearer ))[A-Za-z0-9._~+/=\-]{8,}"
    r"|(?<=://)[^/\s:@\"]*:[^/\s@\"]+(?=@)"
)
_CHATTY = ("httpx", "httpcore", "urllib3", "alembic", "web3")
"""Libraries that write a line for each request that they make."""


def configure_logs(development: bool) -> None:
    """Send every line of this process through the pipeline, and through nothing else."""
    root = logging.getLogger()
    root.handlers[:] = [log_handler(development, sys.stderr)]
    root.setLevel(logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def log_handler(development: bool, stream: TextIO) -> logging.Handler:
    """What writes the pipeline's lines to ``stream``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(development, stream),
                _without_secrets,
            ],
        )
    )
    return handler


def _renderers(development: bool, stream: TextIO) -> list[Processor]:
    if development:
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), timestamp_key="time", exception_formatter=plain
            )
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]


def _without_secrets(_: WrappedLogger, __: str, line: EventDict) -> ProcessorReturnValue:
    """The rendered line with everything blotted out that looks like a secret: it is the last to see it."""
    return _SECRETS.sub(BLOT, str(line))
