"""The report of a local run: what was measured, as ``report.json`` and as tables for people."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from deploy.local.profile import Inner
from deploy.local.test_set import Accuracy

PHASES = ("requested", "training", "committing", "revealing", "attesting")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class AccuracyReport(_Part):
    """Accuracy on the test records: base model, after each round, each network alone if measured."""

    base: float
    rounds: tuple[float, ...]
    intervals: Mapping[str, tuple[float, float]]
    """``base`` or the round's number → 95 % interval."""
    test_records: int
    alone: Mapping[str, float] | None = None


class ProposalReport(_Part):
    """One proposal and what the voters made of it."""

    node: str
    network: str
    digest: str
    median_improvement_micronats: int | None
    accepted: bool
    poisoned: bool


class RoundReport(_Part):
    """One round: its outcome and what it cost: gas by kind of transaction, seconds by phase and stage."""

    round: int
    phase: str
    parent: str
    proposals: tuple[ProposalReport, ...]
    aggregate: str | None
    gas: Mapping[str, int]
    seconds: Mapping[str, float]
    bytes: Mapping[str, int]


class AuditReport(_Part):
    """What of the hub's audit log was verified: its rows, and those whose root is on chain, in epochs."""

    rows: int
    anchored_rows: int
    epochs: int


class RunReport(_Part):
    """The whole run."""

    profile: str
    seed: int
    inner: Inner
    """Where the inner rounds ran."""
    poisoned_network: str | None
    accuracy: AccuracyReport
    rounds: tuple[RoundReport, ...]
    rewards: Mapping[str, int]
    """Node → what it earned, in base units of the token."""
    networks: Mapping[str, str]
    """Node → its network's name."""
    verified: bool
    fault: str | None
    """What the verifier found wrong, if anything."""
    audit: AuditReport | None
    """None where the log is not what was written."""
    adapter_folder: str
    seconds: Mapping[str, float]
    seconds_total: float = Field(ge=0)

    def to_json(self) -> dict[str, object]:
        """The report as JSON values; ``alone`` is left out where it was not measured."""
        return self.model_dump(mode="json", exclude_none=False) | {
            "accuracy": self.accuracy.model_dump(
                mode="json", exclude={"alone"} if self.accuracy.alone is None else None
            )
        }


def round_report(
    resource: Mapping[str, Any], network_of_node: Mapping[str, str], poisoned_node: str | None, journal: Path
) -> RoundReport:
    """One round out of the orchestrator's resource and the conductor's journal."""
    stages, traffic = _journal_of_round(journal, resource["task"], resource["round"])
    return RoundReport(
        round=resource["round"],
        phase=resource["phase"],
        parent=resource["parent_digest"],
        proposals=tuple(
            ProposalReport(
                node=proposal["node"],
                network=network_of_node[proposal["node"]],
                digest=proposal["adapter_digest"],
                median_improvement_micronats=proposal["median_improvement_micronats"],
                accepted=proposal["standing"] == "accepted",
                poisoned=proposal["node"] == poisoned_node,
            )
            for proposal in resource["proposals"]
        ),
        aggregate=resource["aggregate_digest"],
        gas=resource["gas"],
        seconds={**resource["seconds"], **stages},
        bytes=traffic,
    )


def _journal_of_round(journal: Path, task: int, round_number: int) -> tuple[dict[str, float], dict[str, int]]:
    """The slowest node of each stage, since nodes work side by side, and the bytes of all.

    ``answer_STAGE`` is from the question to the answer, waiting included (questions go out ahead of their
    phase); ``work_STAGE`` is what the node itself took for it.
    """
    slowest: dict[str, float] = defaultdict(float)
    traffic = {"to_nodes": 0, "from_nodes": 0}
    for line in journal.read_text().splitlines():
        entry = json.loads(line)
        if (entry["task"], entry["round"]) != (task, round_number):
            continue
        seconds = {f"answer_{entry['stage']}": entry["seconds"]}
        seconds |= {f"work_{stage}": spent for stage, spent in entry["node_seconds"].items()}
        for stage, spent in seconds.items():
            slowest[stage] = round(max(slowest[stage], spent), 2)
        traffic["to_nodes"] += entry["bytes_to_nodes"]
        traffic["from_nodes"] += entry["bytes_from_nodes"]
    return dict(slowest), traffic


def accuracy_report(
    base: Accuracy, rounds: Mapping[int, Accuracy], alone: Mapping[str, Accuracy] | None
) -> AccuracyReport:
    """The accuracies as the report holds them."""
    intervals = {"base": (base.interval_low, base.interval_high)}
    intervals |= {str(number): (a.interval_low, a.interval_high) for number, a in rounds.items()}
    return AccuracyReport(
        base=base.accuracy,
        rounds=tuple(rounds[number].accuracy for number in sorted(rounds)),
        intervals=intervals,
        test_records=base.records,
        alone=None if alone is None else {name: a.accuracy for name, a in alone.items()},
    )


def show(report: RunReport, console: Console) -> None:
    """Print the report for people."""
    console.print(_accuracy_table(report))
    console.print(_round_table(report))
    console.print(_reward_table(report))


def _accuracy_table(report: RunReport) -> Table:
    table = Table(title=f"Accuracy on {report.accuracy.test_records} test records nobody trained on")
    table.add_column("model")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval", justify="right")
    rows = [("base model", report.accuracy.base, "base")]
    rows += [
        (f"after round {entry.round}", accuracy, str(entry.round))
        for entry, accuracy in zip(report.rounds, report.accuracy.rounds, strict=True)
    ]
    for name, accuracy, key in rows:
        low, high = report.accuracy.intervals[key]
        table.add_row(name, f"{accuracy:.3f}", f"{low:.3f} to {high:.3f}")
    for network, accuracy in (report.accuracy.alone or {}).items():
        table.add_row(f"{network} alone", f"{accuracy:.3f}", "")
    return table


def _round_table(report: RunReport) -> Table:
    table = Table(title=f"Rounds (inner rounds: {report.inner})")
    for column in ("round", "phase", "proposals (median improvement, nats)", "gas", "MB moved", "seconds"):
        table.add_column(column, justify="left" if column.startswith(("ph", "prop")) else "right")
    for entry in report.rounds:
        table.add_row(
            str(entry.round),
            entry.phase,
            "\n".join(_proposal_line(proposal) for proposal in entry.proposals),
            f"{sum(entry.gas.values()):,}",
            f"{sum(entry.bytes.values()) / 1e6:.1f}",
            f"{sum(entry.seconds[phase] for phase in PHASES if phase in entry.seconds):.0f}",
        )
    return table


def _proposal_line(proposal: ProposalReport) -> str:
    median = proposal.median_improvement_micronats
    figure = "no median" if median is None else f"{median / 1e6:+.3f}"
    verdict = "accepted" if proposal.accepted else "refused"
    return f"{proposal.network}: {figure} {verdict}{' (poisoned)' if proposal.poisoned else ''}"


def _reward_table(report: RunReport) -> Table:
    table = Table(title="Rewards")
    table.add_column("node")
    table.add_column("tokens", justify="right")
    for node, amount in report.rewards.items():
        table.add_row(f"{report.networks[node]} {node}", f"{amount / 10**18:,.3f}")
    return table
