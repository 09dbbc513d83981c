"""Settings of the orchestrator's processes, from the environment (``COLLEGIUM_…``).

Private keys and tokens are never settings: settings name the files that hold them.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.deployment import Deployment
from orchestrator.domain.outbox import OutboxRules
from orchestrator.domain.single_sign_on import IdentityProvider, RoleMap
from orchestrator.options import AppOptions
from orchestrator.services.private_files import PrivateFileError, read_private
from orchestrator.services.throttle import Limits

_LEAST_KEY_BYTES = 32
_WEI_PER_GWEI = 10**9


class SettingsError(Exception):
    """A setting is missing or wrong; the message names its environment variable."""


class Settings(BaseSettings):
    """Every field is the environment variable ``COLLEGIUM_`` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="COLLEGIUM_", frozen=True, extra="ignore")

    mode: Literal["production", "development"] = "production"
    """In development, plain http and weak secrets are taken, and webhooks may go to this machine."""
    log_format: Literal["json", "lines"] = "json"
    """``lines`` are for reading."""
    database_url: str = "sqlite:///collegium.sqlite3"
    """Where the records are, as SQLAlchemy writes it."""
    artifact_folder: Path = Path("artifacts")
    artifact_limit_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """The largest artifact that is taken."""
    artifact_quota_bytes: Annotated[int, Field(ge=0)] = 0
    """How much all artifacts together may take; 0 for no bound but the disk's."""
    artifact_reserve_bytes: Annotated[int, Field(ge=0)] = 1 << 26
    """How much of the disk artifacts leave free."""
    artifact_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """After how many days the worker removes an artifact that nothing names; 0 for never."""
    rpc_url: str | None = None
    """The chain's JSON-RPC."""
    second_rpc_url: str | None = None
    """Another node of the same chain: asked when the first fails, and held against it."""
    confirmations: Annotated[int, Field(ge=0, le=10_000)] = 12
    """Blocks on top of a block that make it final; 0 on a chain whose blocks are final at once."""
    stuck_after_s: Annotated[int, Field(ge=1)] = 60
    """How long a transaction may wait before another at its nonce pays more."""
    most_fee_gwei: Annotated[int, Field(ge=1)] = 500
    """The most that a transaction offers for a unit of gas."""
    most_batch_gas: Annotated[int, Field(ge=100_000, le=11_000_000)] = 8_000_000
    """The gas by estimate that messages relayed in one transaction may use."""
    deployment_file: Path = Path("deployment.json")
    """Where the contracts live, as ``collegium deploy-contracts`` writes it."""
    relayer_key_file: Path | None = None
    """The account that pays for relaying messages and advancing rounds."""
    council_key_file: Path | None = None
    """The account that admits nodes, creates and funds tasks, and owns new contracts."""
    token_folder: Path = Path("tokens")
    """Where ``collegium tokens bootstrap`` writes the first tokens."""
    flower_app_folder: Path | None = None
    """The conductor's app folder; without it this worker starts no conductors."""
    flower_home: Path | None = None
    """FLWR_HOME of ``flwr run``; its config.toml names the connection."""
    flower_connection: str = "collegium"
    flower_follow_every_s: Annotated[int, Field(ge=1)] = 30
    """How often the worker asks whether a conductor still runs."""
    webhook_key_file: Path | None = None
    """What secrets of webhooks are derived from: 32 random bytes or more. Without it there are none."""
    audit_epoch_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    """After how long the audit log's new rows are anchored on chain, if there are any."""
    audit_epoch_rows: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    """After how many rows they are anchored earlier."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    public_url: str | None = None
    """The address by which nodes and people reach the hub; without it, host and port over plain http."""
    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where the worker answers Prometheus, without a token; nowhere when the port is not set."""
    otlp_endpoint: str | None = None
    """Where traces go (OTLP over HTTP); nowhere when it is not set."""
    worker_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Who holds the worker's lease; this machine's name without it. Workers at the same time need two names:
    one that starts takes over from its namesake at once."""
    lease_s: Annotated[int, Field(ge=3)] = 15
    """How long another worker waits for one that is silent."""
    poll_s: Annotated[float, Field(gt=0, le=10)] = 0.25
    """How often the worker looks for new blocks and new intents."""

    trusted_proxies: str = ""
    """Addresses of proxies whose X-Forwarded-For is believed, with commas between them."""
    api_processes: Annotated[int, Field(ge=1, le=256)] = 1
    """How many ``collegium serve`` answer for this hub; each allows its share of the limits."""
    request_limit: str | None = "30000/minute"
    """Requests of one principal."""
    sign_in_limit: str = "60/minute"
    """Attempts to sign in, and wrong credentials, of one address."""
    oidc_issuer: str | None = None
    """The identity provider of people; without it there is no single sign-on."""
    oidc_client_id: str = "collegium"
    oidc_client_secret_file: Path | None = None
    oidc_role_claim: str = "groups"
    """The claim of the ID token that roles are read from."""
    oidc_scopes: str = ""
    """Scopes to ask for beside openid, profile and email, with blanks between them."""
    oidc_roles: dict[str, str] = {}
    """Role by the claim's value: admin, auditor or operator:0x… with a node's address. JSON."""

    @property
    def development(self) -> bool:
        """Whether this is a developer's machine."""
        return self.mode == "development"

    def app_options(self) -> AppOptions:
        """What the web application takes of the settings. Raises SettingsError."""
        try:
            roles = RoleMap.parse(self.oidc_roles)
            limits = Limits(
                requests=self.request_limit,
                attempts=self.sign_in_limit,
                wrong_credentials=self.sign_in_limit,
                processes=self.api_processes,
            )
            limits.check()
        except ValueError as error:
            raise SettingsError(f"COLLEGIUM_OIDC_ROLES or a limit: {error}") from error
        return AppOptions(
            public_url=self.public_url or f"http://{self.host}:{self.port}",
            limits=limits,
            identity_provider=self._identity_provider(),
            roles=roles,
        )

    def _identity_provider(self) -> IdentityProvider | None:
        if self.oidc_issuer is None:
            return None
        # Authlib is loaded where people sign in by it, and nowhere else.
        from orchestrator.adapters.oidc import OidcClient, OidcProvider

        secret_file = _given(self.oidc_client_secret_file, "COLLEGIUM_OIDC_CLIENT_SECRET_FILE")
        try:
            secret = read_private(secret_file)
        except PrivateFileError as error:
            raise SettingsError(f"COLLEGIUM_OIDC_CLIENT_SECRET_FILE: {error}") from error
        return OidcProvider(
            OidcClient(
                issuer=self.oidc_issuer,
                client_id=self.oidc_client_id,
                client_secret=secret,
                role_claim=self.oidc_role_claim,
                scopes=tuple(self.oidc_scopes.split()),
                allows_http=self.development,
            )
        )

    def deployment(self) -> Deployment:
        """The deployment in its file.

        Raises:
            SettingsError: the file cannot be read.
            InvalidDeployment: it is not a deployment.
        """
        try:
            return Deployment.parse(self.deployment_file.read_bytes())
        except OSError as error:
            raise SettingsError(
                f"COLLEGIUM_DEPLOYMENT_FILE {self.deployment_file}: {error.strerror}; "
                "`collegium deploy-contracts --out` writes it"
            ) from error

    def outbox_rules(self) -> OutboxRules:
        """How the outbox treats its transactions."""
        return OutboxRules(self.confirmations, self.stuck_after_s, self.most_fee_gwei * _WEI_PER_GWEI)

    def chain_rpc_url(self) -> str:
        """``rpc_url``. Raises SettingsError without it."""
        return _given(self.rpc_url, "COLLEGIUM_RPC_URL")

    def chain_rpc_urls(self) -> tuple[str, ...]:
        """``rpc_url``, and ``second_rpc_url`` where there is one. Raises SettingsError without the first."""
        second = () if self.second_rpc_url is None else (self.second_rpc_url,)
        return (self.chain_rpc_url(), *second)

    def relayer_key(self) -> Path:
        """``relayer_key_file``. Raises SettingsError without it."""
        return _given(self.relayer_key_file, "COLLEGIUM_RELAYER_KEY_FILE")

    def council_key(self) -> Path:
        """``council_key_file``. Raises SettingsError without it."""
        return _given(self.council_key_file, "COLLEGIUM_COUNCIL_KEY_FILE")

    def webhook_key(self) -> bytes | None:
        """What is in ``webhook_key_file``; None without it. Raises SettingsError."""
        if self.webhook_key_file is None:
            return None
        try:
            key = self.webhook_key_file.read_bytes().strip()
        except OSError as error:
            raise SettingsError(
                f"COLLEGIUM_WEBHOOK_KEY_FILE {self.webhook_key_file}: {error.strerror}"
            ) from error
        if len(key) < _LEAST_KEY_BYTES:
            raise SettingsError(
                f"COLLEGIUM_WEBHOOK_KEY_FILE {self.webhook_key_file}: fewer than {_LEAST_KEY_BYTES} bytes; "
                "`openssl rand -hex 32` makes a key"
            )
        return key


def load_settings() -> Settings:
    """The settings in the environment. Raises SettingsError; the message names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "COLLEGIUM_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from error


Value = TypeVar("Value")


def _given(value: Value | None, variable: str) -> Value:
    if value is None:
        raise SettingsError(f"{variable} is not set")
    return value
