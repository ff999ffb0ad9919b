"""Settings of every role, from the environment (`QUARTERDECK_…`), a directory of secret files, and a TOML file.

The order of precedence is: arguments, environment, secret files, TOML, defaults. `docs/configuration.md` is made
from the descriptions here. Nothing here can be changed while a process runs: what may change at run time is an event.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from quarterdeck_runtime.variables import CONFIG_VARIABLE, PREFIX, SECRETS_VARIABLE, did_you_mean, unknown

DEFAULT_CONFIG: Final = Path("quarterdeck.toml")

_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s\[\]{}\"'`,/@]+)(?::[0-9]{1,5})?")
_EXAMPLES: Final = ("crm.example.com", "models.internal:8443", "10.20.0.0/16")
"""As lists of hosts are written."""

Words = Annotated[tuple[str, ...], NoDecode]
"""In the environment: separated by commas."""

_SECRET: Final = re.compile(
    r"[a-z0-9][a-z0-9._-]{0,59} +[a-z0-9][a-z0-9-]{0,62} +[!-~]{1,260} +(?:env:[A-Za-z_][A-Za-z0-9_]*|file:/[!-~]+)"
)


class WrongSettings(ValueError):
    """The settings do not hold. `problems` says what is wrong with each, and never what a secret was."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """Everything a role can be told from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    data_dir: Path = Field(
        Path("~/.quarterdeck"),
        description="Directory of everything an embedded installation keeps: database, Temporal's file, keys, logs.",
    )
    keys_dir: Path | None = Field(
        None,
        description="Directory of signing keys and of the keys of data subjects. Back it up apart from the database. "
        "Default: `keys` in `data_dir`.",
    )
    default_tenant: str = Field(
        "default",
        pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$",
        description="Tenant of a signed-in human whose token names none, and of the embedded installation.",
    )

    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL 18 or newer with data checksums, `postgresql://user:password@host:port/name`. Unset: "
        "embedded.",
    )
    migrate_url: SecretStr | None = Field(
        None, description="The same database, as a role that may create schemas and roles. Default: `database_url`."
    )
    database_pool_size: int = Field(8, ge=1, le=200, description="Connections to PostgreSQL for each process.")

    temporal_address: str | None = Field(None, description="Temporal frontend, `host:port`. Unset: embedded.")
    temporal_namespace: str = Field("default", description="Temporal namespace.")
    temporal_task_queue: str = Field("quarterdeck", description="Temporal task queue that workers listen to.")
    temporal_api_key: SecretStr | None = Field(None, description="API key for Temporal; implies TLS.")
    temporal_tls_ca: Path | None = Field(None, description="PEM file of the authority of Temporal's certificate.")
    temporal_tls_cert: Path | None = Field(None, description="PEM file of our client certificate (mutual TLS).")
    temporal_tls_key: Path | None = Field(None, description="PEM file of our client certificate's private key.")

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8480, ge=1, le=65535, description="Port the API listens on.")
    probe_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a worker or projector answers `/healthz` and `/readyz`, at `host`; the API does so "
        "on its own port. Unset: nowhere.",
    )
    trusted_proxies: Words = Field(
        (), description="Addresses and networks of reverse proxies whose `X-Forwarded-For` and `-Proto` are believed."
    )
    public_url: str | None = Field(
        None,
        description="Address under which others reach the API, without a path: in links, metadata and cookies. "
        "Default: `http://<host>:<port>`.",
    )
    log_origin: str = Field(
        "quarterdeck",
        pattern=r"^[A-Za-z0-9.:/-]{1,120}$",
        description="First part of the name that the logs sign under; a log's name is `<log_origin>/<tenant>`. Use a "
        "host name you own, and never change it: whoever holds a checkpoint knows the log by this name.",
    )
    checkpoint_interval_s: float = Field(
        60, gt=0, le=86_400, description="Seconds between looks at every log: one that has grown is signed."
    )
    checkpoint_idle_s: float = Field(
        3_600, gt=0, le=31_536_000, description="Seconds after which a log that has not grown is signed again."
    )

    oidc_issuer: str | None = Field(
        None, description="Issuer of the OpenID Connect provider whose tokens humans present; found by discovery."
    )
    oidc_audience: str | None = Field(
        None, description="The `aud` a token must carry. Required with `oidc_issuer`; a token for others is refused."
    )
    oidc_client_id: str | None = Field(
        None,
        description="Our client id at the provider, published for command-line sign-in. "
        "When set, a token's `azp` (or `client_id`), if present, must be this.",
    )
    oidc_algorithms: Words = Field(
        ("RS256", "ES256", "EdDSA"), description="Signature algorithms accepted in tokens: RS256, ES256, EdDSA."
    )
    oidc_tenant_claim: str | None = Field(
        None,
        description="Claim that names the tenant. Unset: the header `Quarterdeck-Tenant`, or "
        "`default_tenant`; in either case the account must have been linked in that tenant.",
    )
    oidc_jwks_max_age_s: float = Field(600, gt=0, le=86_400, description="Seconds the provider's keys are kept.")
    session_hours: float = Field(12, gt=0, le=720, description="Hours for which a sign-in link's session lasts.")

    webhook_allow: Words = Field(
        (),
        description="Every host that callbacks may be sent to, public ones too. A name allows its port 443, while all "
        "its addresses are public; `host:port` that port, with http too, whatever its addresses; an address or network "
        "(CIDR) every host in it. Empty: none.",
    )
    import_allow: Words = Field(
        (),
        description="Every host that sources of the estate may be imported from, on request and on a schedule; entries "
        "as in `webhook_allow`. Empty: none.",
    )
    import_secrets: Words = Field(
        (),
        description="Secrets that sources may be read with. Each entry is `name tenant host env:VARIABLE` or `name "
        "tenant host file:/path`, with spaces between: only that tenant's sources may name it, and it is sent to that "
        "host alone (`host:port` unless that is 443). What is kept there is read when it is used.",
    )

    otlp_endpoint: str | None = Field(
        None, description="OpenTelemetry collector, OTLP over HTTP: `http://collector:4318`. Unset: nothing leaves."
    )
    otlp_headers: SecretStr | None = Field(None, description="Headers for the collector: `name=value,…`.")
    trace_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces begun here that is recorded. A caller's decision is kept."
    )
    metrics_interval_s: float = Field(30, ge=1, le=3600, description="Seconds between exports of metrics.")
    metrics_by_tenant: bool = Field(
        False, description="Whether metrics carry the tenant. It multiplies their number, and names customers."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` for machines, `console` for people, `auto`: `console` on a terminal."
    )
    access_log: bool = Field(
        False, description="Whether the API logs a line for every request: its route and how it ended, never its query."
    )

    max_body_bytes: int = Field(65_536, ge=1_024, le=16_777_216, description="Longest request body accepted, in bytes.")
    request_timeout_s: float = Field(
        30, gt=0, le=3600, description="Seconds until a request that has not begun to answer is given up (504)."
    )
    long_poll_max_s: float = Field(55, gt=0, le=3600, description="Longest time a request may ask to wait, in seconds.")
    rate_per_s: float = Field(1_000, gt=0, description="Requests a second that a principal may send to one process.")
    rate_burst: int = Field(5_000, ge=1, description="Requests a principal may send before that rate holds.")
    failed_sign_ins_per_minute: float = Field(
        60,
        gt=0,
        description="Refused credentials a minute from one address, after which others refused there have to wait "
        "(429), and after ten times as many every one not seen before.",
    )
    graphql_introspection: bool | None = Field(
        None, description="Whether GraphQL clients may ask for the schema. Unset: with the embedded database only."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence."""
        toml = TomlConfigSettingsSource(settings_cls, config_file())
        return (init_settings, env_settings, file_secret_settings, toml)

    @field_validator(
        "oidc_algorithms", "webhook_allow", "import_allow", "import_secrets", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(",") if word.strip())
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= {"RS256", "ES256", "EdDSA"}:
            raise ValueError("choose from RS256, ES256 and EdDSA")
        return value

    @field_validator("public_url", "oidc_issuer", "otlp_endpoint")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        unwanted = parts.username or parts.password or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or unwanted:
            raise ValueError("give an http:// or https:// address without user, query or fragment")
        return value

    @field_validator("import_secrets")
    @classmethod
    def _references(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [item.split()[0] for item in value if _SECRET.fullmatch(item)]
        if len(names) != len(value) or len(set(names)) != len(names):
            # Never what was given: somebody may have written the secret itself.
            raise ValueError(
                "each entry is `name tenant host env:VARIABLE` or `name tenant host file:/path`, and no name twice"
            )
        return value

    @field_validator("webhook_allow", "import_allow", "trusted_proxies")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_HOST.fullmatch(item) or _is_network(item) for item in value):
            # What somebody wrote as JSON or in quotes, as it should be written.
            plain = [item.strip("[]\"' ") for item in value]
            right = plain if all(_HOST.fullmatch(item) or _is_network(item) for item in plain) else _EXAMPLES
            raise ValueError(
                "entries are hosts, `host:port`, addresses and networks, with commas between where they are one text, "
                f"and neither brackets nor quotes around them: {', '.join(right)}"
            )
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> Settings:
        if self.public_url is not None and urlsplit(self.public_url).path not in ("", "/"):
            raise ValueError("public_url has no path: the API answers at the root of its own host name")
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("oidc_audience is required with oidc_issuer: a token for somebody else must be refused")
        if (self.temporal_tls_cert is None) != (self.temporal_tls_key is None):
            raise ValueError("temporal_tls_cert and temporal_tls_key go together")
        return self

    @property
    def base_url(self) -> str:
        """Return the address under which others reach the API, as a browser writes an origin."""
        parts = urlsplit(self.public_url or "")
        scheme, host, port = parts.scheme or "http", parts.hostname or self.host, parts.port
        if self.public_url is None:
            port = self.port
        shown = f"[{host}]" if ":" in host else host
        standard = port is None or port == {"http": 80, "https": 443}[scheme]
        return f"{scheme}://{shown}" if standard else f"{scheme}://{shown}:{port}"

    @property
    def introspection(self) -> bool:
        """Return whether GraphQL clients may ask for the schema."""
        return self.database_url is None if self.graphql_introspection is None else self.graphql_introspection

    @property
    def keys(self) -> Path:
        """Return the directory of keys."""
        return self.keys_dir.expanduser() if self.keys_dir is not None else self.data_dir.expanduser() / "keys"

    def origin(self, tenant: str) -> str:
        """Return the name a tenant's log signs under."""
        return f"{self.log_origin.rstrip('/')}/{tenant}"


def config_file() -> Path | None:
    """Return the TOML file to read: `QUARTERDECK_CONFIG`, which must exist, or `quarterdeck.toml` here if there is one.

    Raises:
        WrongSettings: the file that the variable names does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise WrongSettings(f"the configuration file: {CONFIG_VARIABLE} names {path}, which is not there")
        return path
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def load_settings(**given: object) -> Settings:
    """Return the settings of this process; `given` wins over every source.

    Raises:
        WrongSettings: a setting is unknown, malformed, or contradicts another, in whatever source; it says which.
    """
    secrets = os.environ.get(SECRETS_VARIABLE)
    wrong = list(unknown(os.environ, Settings.model_fields))
    values: dict[str, Any] = dict(given)
    if secrets:
        directory = Path(secrets).expanduser()
        values["_secrets_dir"] = directory
        if directory.is_dir() and os.access(directory, os.R_OK | os.X_OK):
            names = [path.name for path in directory.iterdir()]
            wrong += (f"in {directory}: {problem}" for problem in unknown(names, Settings.model_fields))
        else:
            wrong.append(f"{SECRETS_VARIABLE} names {directory}, which is no directory that can be read")
    if wrong:
        raise WrongSettings(*wrong)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise WrongSettings(*map(_told, error.errors(include_url=False, include_input=False))) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSettings(f"the configuration file {config_file()}: {error}") from None


def _told(error: Any) -> str:
    """Return what a validation error says, in a line: the setting, where it is one, and what is wrong with it."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{name} is no setting{did_you_mean(name, Settings.model_fields)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
