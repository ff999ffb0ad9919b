"""Secrets are not recorded: refused where people say them, withheld where others' files do. Serves S0-44, 5 (bad input)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_connectors.draft import block, line
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import read_declaration
from quarterdeck_domain.estate.secrets import WITHHELD, refuse_secrets, without_secrets
from quarterdeck_domain.estate.slices import RegisterAsset
from quarterdeck_domain.estate.slices_relations import RelateAssets
from quarterdeck_domain.events import Actor

TAIL = "4fT9" + "kQ7z" * 9
SECRETS = [
    f"sk-proj-{TAIL}",
    f"ghp_{TAIL}",
    "AKIA" + "Z" * 16,
    f"xoxb-{TAIL}",
    f"hf_{TAIL}",
    f"glpat-{TAIL}",
    "AIza" + "k" * 35,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----",
    "postgresql://app:hunter2@db.internal/main",
    "https://hush@pw:x@example.test/",
    "https://api.example.test/v1?api_key=abc123&page=2",
    "wss://example.test/?x-amz-signature=00ff",
]
PLAIN = [
    "ssh://git@example.test/prompts.git",
    "https://example.test/v1?page=2&tokens=",
    "The token: ask the customer for it. Passwords are never read.",
    "sk-learn-pipeline-for-customers-and-suppliers",
    "sha256:" + "a" * 64,
    "crm://orders/{order}",
    "pk of the table, sk of the index",
]
ACTOR = Actor(principal="prn_x", kind="human")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("field", ["description", "purpose", "attributes", "evidence", "name"])
def test_a_secret_is_refused_wherever_it_is_said_and_never_repeated(secret: str, field: str) -> None:
    said: dict[str, Any] = {"relations": {"writes": [{"to": "dataset:d", "evidence": "x"}]}}
    name = "tool:t"
    match field:
        case "evidence":
            said["relations"]["writes"][0]["evidence"] = f"seen in {secret}"
        case "attributes":
            said["attributes"] = {"labels": {"note": f"seen in {secret}"}}
        case "name":
            name = f"tool:{secret.replace(' ', '')}" if "BEGIN" not in secret else "tool:a://b:c@d"
        case _:
            said[field] = f"seen in {secret}"
    with pytest.raises(InvalidInput) as refused:
        read_declaration({"version": 1, "source": "x", "assets": {name: said, "dataset:d": None}})
    assert "looks like a secret" in refused.value.message
    if field != "name":
        assert secret not in json.dumps([refused.value.message, refused.value.details], default=str)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_is_let_pass(text: str) -> None:
    refuse_secrets(text, "description")
    assert without_secrets(text) == text


def test_commands_refuse_them_too() -> None:
    with pytest.raises(InvalidInput, match="looks like a secret"):
        RegisterAsset(asset="tool:x", facts={"attributes": {"scope": SECRETS[0]}}, actor=ACTOR)
    with pytest.raises(InvalidInput, match="looks like a secret"):
        RegisterAsset(asset=f"tool:{SECRETS[1]}", facts={}, actor=ACTOR)
    with pytest.raises(InvalidInput, match="looks like a secret"):
        RelateAssets(source="tool:x", relation="writes", target="dataset:y", evidence=SECRETS[9], actor=ACTOR)


@pytest.mark.parametrize("secret", SECRETS)
def test_in_other_peoples_files_they_are_withheld(secret: str) -> None:
    assert secret not in line(f"use {secret} please")
    assert secret not in block(f"one\nuse {secret} please")
    assert WITHHELD in block(f"use {secret} please")
    # Cut in the middle, it is none any more.
    assert TAIL[:20] not in block("x" * 1_990 + f" sk-proj-{TAIL}")


def test_a_proxys_file_loses_its_keys() -> None:
    config = {
        "model_list": [
            {
                "model_name": "gpt",
                "litellm_params": {
                    "model": "openai/gpt-4o",
                    "api_key": SECRETS[0],
                    "api_base": "https://u:hunter2@example.test/v1?key=1",
                },
                "model_info": {"description": f"key {SECRETS[1]}"},
            }
        ]
    }
    said = repr(read_litellm(json.dumps(config).encode(), proxy="house"))
    assert SECRETS[0] not in said
    assert SECRETS[1] not in said
    assert "hunter2" not in said


@given(st.text(alphabet="?&;=://@sk-AZ09eyJ.token ", max_size=2_000))
def test_any_text_is_read_in_time_and_once_withheld_stays_so(text: str) -> None:
    """Hypothesis has a deadline of its own for every example."""
    cleaned = without_secrets(text)
    assert without_secrets(cleaned).count(WITHHELD) >= cleaned.count(WITHHELD)
