"""What a deployment decides about the web application, beside the adapters that it works with."""

from dataclasses import dataclass, field

from orchestrator.domain.single_sign_on import IdentityProvider, RoleMap
from orchestrator.services.throttle import Limits


@dataclass(frozen=True)
class AppOptions:
    """``public_url`` is the address by which nodes and people reach the hub.

    Without ``identity_provider`` there is no single sign-on; ``roles`` says what its groups may do.
    """

    public_url: str = "http://127.0.0.1:8080"
    limits: Limits = field(default_factory=Limits)
    identity_provider: IdentityProvider | None = None
    roles: RoleMap = field(default_factory=RoleMap)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the hub over TLS."""
        return self.public_url.lower().startswith("https://")
