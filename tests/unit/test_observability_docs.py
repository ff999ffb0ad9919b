"""The page on observability says what the code does. Serves C01 and the telemetry of running."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from quarterdeck_ledger.instruments import CATALOGUE, as_markdown
from quarterdeck_runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations" / "observability.md").read_text()
COLLECTOR = (ROOT / "infra" / "otel" / "collector.yaml").read_text()


def test_the_page_lists_every_metric_as_the_code_declares_it() -> None:
    """Put what `quarterdeck_ledger.instruments.as_markdown()` returns between the page's two marks."""
    listed = PAGE.partition("as_markdown -->\n")[2].partition("<!-- end -->")[0]
    assert listed == as_markdown()
    for name in re.findall(r"`(quarterdeck\.[a-z_.]+[a-z])`", PAGE):
        assert name in CATALOGUE or any(name in metric.attributes for metric in CATALOGUE.values()), name


def test_metrics_are_named_by_the_conventions() -> None:
    """Dotted lower-case names below our own, annotated or plain units, no unit in a name, few attributes."""
    for name, metric in CATALOGUE.items():
        assert re.fullmatch(r"quarterdeck(\.[a-z][a-z_]*)+", name)
        assert re.fullmatch(r"s|\{[a-z_]+\}", metric.unit)
        assert not name.endswith(("_seconds", "_total", ".count"))
        assert set(metric.attributes) <= {"quarterdeck.outcome"}
        assert metric.description.endswith(".")


def test_the_page_names_settings_that_there_are() -> None:
    """Each `QUARTERDECK_…` of the page, and every setting of telemetry is on it."""
    named = {name.lower() for name in re.findall(r"QUARTERDECK_([A-Z_]+[A-Z])", PAGE)}
    assert named <= set(Settings.model_fields)
    assert named >= {name for name in Settings.model_fields if name.startswith(("otlp", "trace", "metrics", "log_l"))}


def test_the_collector_takes_what_the_roles_of_the_compose_file_send() -> None:
    """The page shows the very file that is mounted; its pipelines are whole, and listen where the roles send."""
    assert f"```yaml\n{COLLECTOR}```" in PAGE
    collector = yaml.safe_load(COLLECTOR)
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    assert set(collector["service"]["pipelines"]) == {"traces", "metrics"}
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert composed["api"]["environment"]["QUARTERDECK_OTLP_ENDPOINT"] == f"http://collector:{port}"
    assert any(volume.startswith("./infra/otel/collector.yaml:") for volume in composed["collector"]["volumes"])
    probe = composed["worker"]["environment"]["QUARTERDECK_PROBE_PORT"]
    for role in ("worker", "projector"):
        assert f":{probe}/readyz" in composed[role]["healthcheck"]["test"][-1]
