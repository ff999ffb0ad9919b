"""Settings: where they come from, what is refused, and their page. Serves the configuration of section 5."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from quarterdeck_runtime.reference import as_markdown
from quarterdeck_runtime.settings import Settings, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables, no file in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"QUARTERDECK_{name.upper()}", raising=False)


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
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        load_settings()
    (tmp_path / "nowhere.toml").write_text("oidc_isuer = 'https://issuer.test'\n")
    with pytest.raises(ValidationError, match="oidc_isuer"):
        load_settings()


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
        {"trace_sample_ratio": 1.5},
        {"log_origin": "with space"},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_does_not_start(given: dict[str, object]) -> None:
    """Refused when the process starts, not when the setting is first used."""
    with pytest.raises(ValidationError):
        load_settings(**given)


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
