"""Why the hub did not do what was asked."""


class HubError(Exception):
    """The hub did not do what was asked; the message is one sentence for a person."""


class HubUnreachable(HubError):
    """The hub does not answer, or what it answers cannot be read; trying again may help."""


class HubRefused(HubError):
    """The hub said no, with a problem document."""

    def __init__(self, status: int, code: str, detail: str, correlation_id: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.correlation_id = correlation_id


class WrongBytes(HubError):
    """What was downloaded does not have the digest that it was asked by."""
