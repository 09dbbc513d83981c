"""What Prometheus is told, by a live app and worker; and that rules and dashboard ask for nothing else."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from contracts.digests import sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.domain.witnesses import Verdict
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.promql import NotUnderstood, asked

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
JOBS = ("collegium-api", "collegium-worker")
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Sample:
    """One line of an answer to a scrape."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> list[Sample]:
    return [
        Sample(sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def value(found: list[Sample], name: str, **labels: str) -> float:
    (sample,) = [each for each in found if each.name == name and each.labels == labels]
    return sample.value


def scrape(rig: Rig) -> list[Sample]:
    answer = rig.auditor.get("/metrics")
    assert answer.is_success, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def test_metrics_need_a_token(rig: Rig) -> None:
    assert rig.anonymous.get("/metrics").status_code == 401


def test_rounds_tasks_and_gas_are_counted(rig: Rig) -> None:
    rig.start_task()
    rig.play_round()
    found = scrape(rig)
    assert value(found, "collegium_rounds", phase="final") == 1
    assert value(found, "collegium_rounds", phase="aborted") == 0
    assert value(found, "collegium_tasks", status="active") == 1
    gas = rig.get("/v1/tasks/1/rounds/1")["gas"]
    assert value(found, "collegium_gas_used", kind="proposal") == gas["proposal"] > 0
    assert value(found, "collegium_indexed_block") == rig.chain.head().number
    assert value(found, "collegium_indexer_lag_seconds") >= 0


def test_the_outbox_has_depth_and_age(rig: Rig) -> None:
    rig.order_admission(0)
    rig.clock.unix_s += 90
    found = scrape(rig)
    assert value(found, "collegium_outbox_intents", status="queued") == 1
    assert value(found, "collegium_outbox_oldest_seconds", status="queued") == 90
    assert value(found, "collegium_outbox_oldest_seconds", status="sent") == 0
    for _ in range(3):
        rig.turn()
    found = scrape(rig)
    assert value(found, "collegium_outbox_intents", status="mined") == 1
    assert value(found, "collegium_outbox_oldest_seconds", status="queued") == 0


def test_what_is_wrong_with_the_chains_nodes_is_a_figure(rig: Rig) -> None:
    assert value(scrape(rig), "collegium_chain_disputed") == 0
    lagging = Verdict("second RPC endpoint", 90, 1, "the second RPC endpoint is 10 blocks behind another")
    with rig.records.write() as unit:
        unit.witnesses.replace([Verdict("first RPC endpoint", 100, 1, None), lagging])
    found = scrape(rig)
    for name, head, sound in (("first RPC endpoint", 100, 1), ("second RPC endpoint", 90, 0)):
        assert value(found, "collegium_rpc_endpoint_head_block", endpoint=name) == head
        assert value(found, "collegium_rpc_endpoint_sound", endpoint=name) == sound
    assert value(found, "collegium_chain_disputed") == 0
    with rig.records.write() as unit:
        unit.witnesses.replace([replace(lagging, is_disputed=True)])
    assert value(scrape(rig), "collegium_chain_disputed") == 1


def test_artifacts_are_counted_at_most_once_a_minute(rig: Rig) -> None:
    rig.put(b"one")
    found = scrape(rig)
    assert (value(found, "collegium_artifacts"), value(found, "collegium_artifacts_bytes")) == (1, 3)
    rig.put(b"another")
    assert value(scrape(rig), "collegium_artifacts") == 1
    rig.clock.unix_s += 60
    assert value(scrape(rig), "collegium_artifacts_bytes") == 10


def test_what_is_coming_in_is_not_stored_yet(tmp_path: Path) -> None:
    store = FolderArtifactStore(tmp_path / "store", 100)
    assert store.usage().artifacts == 0

    def pieces() -> Iterator[bytes]:
        yield b"12"
        assert store.usage().artifacts == 0
        yield b"3"

    store.put(sha256_digest(b"123"), pieces())
    assert (store.usage().artifacts, store.usage().size_bytes) == (1, 3)


def test_requests_are_counted_by_operation_and_never_by_path(rig: Rig) -> None:
    for path in ("/v1/tasks/1", "/v1/tasks/2", "/v1/tasks/lots"):
        rig.auditor.get(path)
    rig.anonymous.get("/v1/nodes")
    rig.auditor.delete("/v1/nodes")
    rig.auditor.get("/nowhere/at/all?token=1")
    rig.auditor.get("/nowhere/else")
    found = scrape(rig)
    counted = {
        (each.labels["operation"], each.labels["status"]): each.value
        for each in found
        if each.name == "collegium_http_requests_total"
    }
    assert counted == {
        ("get_task", "4xx"): 3,
        ("list_nodes", "4xx"): counted["list_nodes", "4xx"],
        ("unmatched", "4xx"): counted["unmatched", "4xx"],
    }
    # A method that a path does not know may be counted with either.
    assert counted["list_nodes", "4xx"] + counted["unmatched", "4xx"] == 4
    timed = {each.labels["operation"] for each in found if each.name.endswith("request_seconds_count")}
    assert timed == {operation for operation, _ in counted}


def test_an_unexpected_error_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(rig.app.state.services.listings), "slashes", broken)
    assert rig.auditor.get("/v1/slashes").status_code == 500
    assert value(scrape(rig), "collegium_http_requests_total", operation="list_slashes", status="5xx") == 1


def test_a_database_that_is_down_is_a_figure(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise RecordsUnavailable("down")

    monkeypatch.setattr(rig.app.state.services.figures, "hub", down)
    found = scrape(rig)
    assert value(found, "collegium_database_up") == 0
    assert not [each for each in found if each.name == "collegium_rounds"]


def test_a_worker_tells_of_its_turns_and_of_the_chain(rig: Rig) -> None:
    worker = rig.new_worker()
    server = worker.metrics.serve("127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=[stop])
    try:
        thread.start()
        rig.chain.mine()
        _eventually(
            lambda: value(samples(httpx.get(url).text), "collegium_worker_turns_total", outcome="done")
        )
        began_s = time.time()
        name = "collegium_worker_last_success_timestamp_seconds"
        _eventually(lambda: value(samples(httpx.get(url).text), name) >= began_s - 60)
        _eventually(lambda: value(samples(httpx.get(url).text), "collegium_indexer_lag_blocks") == 0)
        rig.chain.broken = True
        failed = "collegium_worker_turns_total"
        _eventually(lambda: value(samples(httpx.get(url).text), failed, outcome="failed") > 0)
        assert value(samples(httpx.get(url).text), "collegium_chain_up") == 0
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        server.shutdown()
        server.server_close()


def _eventually(look: Any) -> None:
    give_up_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def queries() -> list[tuple[str, str]]:
    """Every query of the rules and of the dashboard, with where it stands."""
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    found = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    panels = json.loads((MONITORING / "grafana.json").read_text())["panels"]
    return found + [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_rules_and_dashboard_ask_only_for_what_there_is(rig: Rig) -> None:
    rig.start_task()
    rig.play_round()
    rig.auditor.get("/v1/tasks/9")
    worker = rig.new_worker()
    worker.run_once()
    worker.metrics.turn_done()
    with rig.records.write() as unit:
        unit.witnesses.replace([Verdict("first RPC endpoint", 100, 1, None)])
    server = worker.metrics.serve("127.0.0.1", 0)
    try:
        told = samples(httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text)
    finally:
        server.shutdown()
        server.server_close()
    # What Prometheus adds by itself.
    own = [Sample("up", {"job": job, "instance": "127.0.0.1"}, 1) for job in JOBS]
    jobs = dict(zip(JOBS, (scrape(rig), told), strict=True))
    present = [
        Sample(each.name, each.labels | {"job": job, "instance": "127.0.0.1"}, each.value)
        for job, found in jobs.items()
        for each in found
    ] + own
    # An app that has just been started has answered little; what else the label may say is a closed set.
    closed = {"collegium_http_requests_total": {f"{hundreds}xx" for hundreds in range(1, 6)}}
    for where, query in queries():
        selectors = asked(query)
        assert selectors, where
        for selector in selectors:
            series = [each for each in present if each.name == selector.metric]
            assert series, f"{where}: nobody tells {selector.metric}"
            labels = set(series[0].labels)
            assert selector.grouped_by <= labels, f"{where}: {selector.metric} has only {labels}"
            for label, operator, wanted in selector.matchers:
                assert label in labels, f"{where}: {selector.metric} has no label {label}"
                values = {each.labels[label] for each in series}
                if label == "status":
                    values |= closed.get(selector.metric, set())
                pattern = wanted if operator in ("=~", "!~") else re.escape(wanted)
                assert any(re.fullmatch(pattern, each) for each in values), f"{where}: {label} {wanted}"


def test_every_metric_of_ours_is_looked_at_and_explained(rig: Rig) -> None:
    """A metric that no rule and no panel asks for is one too many, or a panel too few."""
    rig.start_task()
    rig.play_round()
    with rig.records.write() as unit:
        unit.witnesses.replace([Verdict("first RPC endpoint", 100, 1, None)])
    worker = samples(generate_latest(rig.new_worker().metrics.registry).decode())
    told = {
        re.sub(r"_(sum|count|created)$", "_bucket", each.name)
        for each in (*scrape(rig), *worker)
        if each.name.startswith("collegium_") and not each.name.endswith("_total_created")
    }
    told = {name for name in told if f"{name.removesuffix('_bucket')}_total" not in told}
    shown = {selector.metric for _, query in queries() for selector in asked(query)}
    # Two heights, of which the dashboard shows the difference.
    assert told - shown == {"collegium_indexed_block", "collegium_chain_head_block"}
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert [name for name in sorted(told) if f"`{name.removesuffix('_bucket')}`" not in page] == []


def test_legends_name_labels_that_the_query_keeps() -> None:
    panels = json.loads((MONITORING / "grafana.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            (selector, *_) = asked(target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert not selector.grouped_by or label in selector.grouped_by, panel["title"]


def test_the_scrape_example_is_of_our_jobs_and_rules() -> None:
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert tuple(job["job_name"] for job in scraped["scrape_configs"]) == JOBS
    assert all((MONITORING / name).is_file() for name in scraped["rule_files"])


def test_every_alert_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in page, rule["alert"]
            assert rule["annotations"]["summary"]
            assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize(
    "query",
    [
        "foo{bar}",
        "foo{bar=1}",
        "sum without (a) (foo)",
        "foo offset 5m",
        "rate(foo[5m]",
        "foo bar",
        "{a='b'}",
        "",
    ],
)
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(NotUnderstood):
        asked(query)


def test_what_a_query_asks_for() -> None:
    (first, second) = asked('sum by (a, b) (rate(x_total{s="5xx",t!~"u|v"}[5m])) / max(y) > 0.01')
    assert (first.metric, first.grouped_by) == ("x_total", {"a", "b"})
    assert first.matchers == (("s", "=", "5xx"), ("t", "!~", "u|v"))
    assert (second.metric, second.matchers, second.grouped_by) == ("y", (), frozenset())
