"""Settings: where they come from, what is refused, and their page. Serves the configuration of section 5."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from quarterdeck_cli.installation import _environment
from quarterdeck_runtime.reference import as_markdown
from quarterdeck_runtime.settings import Settings, WrongSettings, load_settings
from quarterdeck_runtime.variables import ELSEWHERE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables, no file in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("QUARTERDECK_"):
            monkeypatch.delenv(name)


def test_the_page_is_what_the_code_says() -> None:
    """Run `python -m quarterdeck_runtime.reference > docs/configuration.md` after changing a setting."""
    assert PAGE.read_text() == as_markdown()


def test_every_setting_is_described() -> None:
    """In a sentence, with a full stop."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) > 15, name
        assert field.description.rstrip().endswith((".", "(429).", "(504).")), name


def test_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arguments, environment, secret files, TOML, defaults."""
    (tmp_path / "conf.toml").write_text('port = 1001\nhost = "0.0.0.0"\nlog_level = "error"\ndatabase_pool_size = 3\n')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "quarterdeck_host").write_text("192.0.2.7\n")
    (tmp_path / "secrets" / "quarterdeck_port").write_text("1002")
    monkeypatch.setenv("QUARTERDECK_CONFIG", str(tmp_path / "conf.toml"))
    monkeypatch.setenv("QUARTERDECK_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("QUARTERDECK_PORT", "1003")
    monkeypatch.setenv("QUARTERDECK_DATABASE_POOL_SIZE", "")
    found = load_settings(log_level="debug")
    assert (found.port, found.host, found.log_level) == (1003, "192.0.2.7", "debug")
    assert (found.database_pool_size, found.session_hours) == (3, 12)
    assert load_settings(port=1004).port == 1004


def test_a_file_that_is_named_must_exist_and_hold_known_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A typing error in a setting's name must not leave it at its default unnoticed."""
    monkeypatch.setenv("QUARTERDECK_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(WrongSettings, match=r"nowhere\.toml"):
        load_settings()
    (tmp_path / "nowhere.toml").write_text("oidc_isuer = 'https://issuer.test'\n")
    with pytest.raises(WrongSettings, match=r"oidc_isuer is no setting; did you mean oidc_issuer\?"):
        load_settings()
    (tmp_path / "nowhere.toml").write_text("port = = 1\n")
    with pytest.raises(WrongSettings, match=r"the configuration file .*nowhere\.toml: .*line 1"):
        load_settings()


def wrong(**given: object) -> tuple[str, ...]:
    """Return what is wrong with the settings as they stand."""
    with pytest.raises(WrongSettings) as refused:
        load_settings(**given)
    return refused.value.problems


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a typing error would leave the setting at its default, unnoticed. Every one is told, however it is written."""
    monkeypatch.setenv("QUARTERDECK_DATABSE_URL", "postgresql://u:hunter2@db/q")
    monkeypatch.setenv("quarterdeck_prot", "8480")
    monkeypatch.setenv("QUARTERDECK_XYZZY", "")
    assert wrong() == (
        "QUARTERDECK_DATABSE_URL is no setting; did you mean QUARTERDECK_DATABASE_URL?",
        "quarterdeck_prot is no setting; did you mean QUARTERDECK_PORT?",
        "QUARTERDECK_XYZZY is no setting",
    )


def test_what_others_read_and_what_kubernetes_adds_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a service named `quarterdeck-api`, nobody wrote these; without one, they are typing errors."""
    for name in ELSEWHERE - {"QUARTERDECK_CONFIG", "QUARTERDECK_SECRETS_DIR"}:
        monkeypatch.setenv(name, "there")
    for end in ("PORT", "PORT_8480_TCP", "PORT_8480_TCP_ADDR", "SERVICE_PORT", "SERVICE_PORT_HTTP"):
        monkeypatch.setenv(f"QUARTERDECK_API_{end}", "tcp://10.0.0.1:8480")
    assert len(wrong()) == 5
    monkeypatch.setenv("QUARTERDECK_API_SERVICE_HOST", "10.0.0.1")
    assert load_settings().port == 8480


def test_every_variable_that_our_code_reads_is_known() -> None:
    """Nothing that a page or a part of ours names is refused, and nothing is let through that nobody reads."""
    files = [*ROOT.glob("*.yml"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "infra" / "Dockerfile"]
    for folder in ("services", "bench", "examples", "tests/helpers"):
        files += (ROOT / folder).glob("**/*.py")
    found = {name for file in files for name in re.findall(r"\bQUARTERDECK(?:_[A-Z]+)+\b", file.read_text())}
    settings = {f"QUARTERDECK_{name.upper()}" for name in Settings.model_fields}
    assert found - settings - {"QUARTERDECK_BENCH"} == ELSEWHERE


def test_the_directory_of_secrets_must_be_there_and_hold_known_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may hold what is not ours as well, as `/run/secrets` does."""
    monkeypatch.setenv("QUARTERDECK_SECRETS_DIR", "/nonexistent")
    assert wrong() == ("QUARTERDECK_SECRETS_DIR names /nonexistent, which is no directory that can be read",)
    monkeypatch.setenv("QUARTERDECK_SECRETS_DIR", str(tmp_path))
    (tmp_path / "tls.pem").write_text("x")
    (tmp_path / "quarterdeck_host").write_text("192.0.2.7")
    assert load_settings().host == "192.0.2.7"
    (tmp_path / "quarterdeck_databse_url").write_text("postgresql://u:hunter2@db/q")
    (told,) = wrong()
    assert told.endswith("quarterdeck_databse_url is no setting; did you mean QUARTERDECK_DATABASE_URL?")


def test_what_is_wrong_is_told_in_words_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting's name where it is one setting, no name where it is several, and never the value of a secret."""
    (told,) = wrong(oidc_issuer="https://issuer.test")
    assert told.startswith("oidc_audience is required with oidc_issuer")
    monkeypatch.setenv("QUARTERDECK_PORT", "many")
    told = "\n".join(wrong(database_url=["hunter2"], webhook_allow="10.0.0.0/99"))
    assert [line.partition(": ")[0] for line in told.split("\n")] == ["database_url", "port", "webhook_allow"]
    assert "hunter2" not in told
    assert "https://" not in told


def test_the_file_in_the_working_directory_is_read(tmp_path: Path) -> None:
    """Without any variable."""
    (tmp_path / "quarterdeck.toml").write_text('webhook_allow = ["10.0.0.0/8", "hooks.internal"]\n')
    assert load_settings().webhook_allow == ("10.0.0.0/8", "hooks.internal")


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """And blanks around them do not matter."""
    monkeypatch.setenv("QUARTERDECK_WEBHOOK_ALLOW", "10.0.0.0/8, hooks.internal,")
    monkeypatch.setenv("QUARTERDECK_OIDC_ALGORITHMS", "ES256")
    found = load_settings()
    assert found.webhook_allow == ("10.0.0.0/8", "hooks.internal")
    assert found.oidc_algorithms == ("ES256",)


@pytest.mark.parametrize("name", ["webhook_allow", "import_allow", "trusted_proxies"])
@pytest.mark.parametrize(
    ("given", "right"),
    [
        ('["127.0.0.1:18413"]', "127.0.0.1:18413"),
        ('["crm.test", "10.0.0.0/8"]', "crm.test, 10.0.0.0/8"),
        ("['crm.test']", "crm.test"),
        ('"crm.test"', "crm.test"),
        ("[crm.test, [::1]:8443]", "crm.example.com, models.internal:8443, 10.20.0.0/16"),
    ],
)
def test_a_list_that_would_allow_nothing_is_refused_with_what_would_be_right(name: str, given: str, right: str) -> None:
    """Written as JSON, it would start without a word and match no host."""
    (told,) = wrong(**{name: given})
    assert told.startswith(f"{name}: entries are hosts")
    assert told.endswith(f": {right}")


def test_every_way_to_write_a_host_is_one() -> None:
    """With and without a port, in both versions of the protocol."""
    given = (
        "crm.test",
        "crm_1.test:8443",
        "10.0.0.1",
        "10.0.0.1:80",
        "10.0.0.0/8",
        "::1",
        "2001:db8::/32",
        "[::1]:8443",
    )
    assert load_settings(import_allow=",".join(given)).import_allow == given


@pytest.mark.parametrize(
    "given",
    [
        {"oidc_issuer": "https://issuer.test"},
        {"oidc_algorithms": "none"},
        {"oidc_algorithms": ""},
        {"public_url": "https://user:pw@host"},
        {"public_url": "https://host/path"},
        {"public_url": "ftp://host"},
        {"public_url": "https://host?x=1"},
        {"port": 0},
        {"port": 70_000},
        {"default_tenant": "Not A Tenant"},
        {"temporal_tls_cert": "c.pem"},
        {"webhook_allow": "10.0.0.0/99"},
        {"webhook_allow": "10.0.0.1/8"},
        {"import_allow": "https://crm.example.com"},
        {"import_allow": "crm.example.com models.internal"},
        {"trusted_proxies": "{10.0.0.1}"},
        {"trace_sample_ratio": 1.5},
        {"log_origin": "with space"},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_does_not_start(given: dict[str, object]) -> None:
    """Refused when the process starts, not when the setting is first used."""
    assert wrong(**given)


def test_secrets_are_not_shown() -> None:
    """Neither in a representation nor in a dump."""
    found = load_settings(
        database_url="postgresql://u:hunter2@db/q", temporal_api_key="hunter2", otlp_headers="k=hunter2"
    )
    assert "hunter2" not in repr(found) + str(found) + str(found.model_dump()) + found.model_dump_json()
    assert found.database_url is not None
    assert found.database_url.get_secret_value().endswith("@db/q")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "http://127.0.0.1:8480"),
        ({"host": "::1", "port": 9}, "http://[::1]:9"),
        ({"public_url": "https://Example.COM:443/"}, "https://example.com"),
        ({"public_url": "http://example.com:80"}, "http://example.com"),
        ({"public_url": "https://example.com:8443"}, "https://example.com:8443"),
        ({"port": 80}, "http://127.0.0.1"),
    ],
)
def test_the_base_address_is_written_as_a_browser_writes_an_origin(given: dict[str, object], expected: str) -> None:
    """It is compared with the Origin header, letter by letter."""
    assert load_settings(**given).base_url == expected


def test_keys_and_origins() -> None:
    """Keys live in the data directory unless they are kept elsewhere; a log's name ends with its tenant."""
    assert load_settings(data_dir="/data").keys == Path("/data/keys")
    assert load_settings(keys_dir="/keys").keys == Path("/keys")
    assert load_settings(log_origin="log.example.com/").origin("acme") == "log.example.com/acme"


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, True),
        ({"database_url": "postgresql://db/q"}, False),
        ({"database_url": "postgresql://db/q", "graphql_introspection": True}, True),
        ({"graphql_introspection": False}, False),
    ],
)
def test_the_schema_may_be_asked_for_at_home(given: dict[str, object], asked: bool) -> None:
    """With the embedded database, unless somebody says otherwise. The roles are told, as they know an address only."""
    found = load_settings(**given)
    assert found.introspection is asked
    environment = _environment(found, Path("/data"), "postgresql://db/q", "localhost:7233")
    assert environment["QUARTERDECK_GRAPHQL_INTROSPECTION"] == str(asked).lower()
