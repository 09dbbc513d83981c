"""A model's card as a document for people (Markdown)."""

from collections.abc import Iterable

from orchestrator.domain.models import ModelCard


def as_markdown(card: ModelCard) -> str:
    """The card."""
    model = card.model
    return "\n".join(
        (
            f"# Model {model.digest}",
            "",
            f"The adapter that round {model.round} of task {model.task} ({model.task_name or 'unnamed'}) "
            "ended with.",
            "",
            *_table(
                ("what", "value"),
                (
                    ("base model", f"{card.base_model}, {card.base_model_digest}"),
                    ("method", f"{card.method}, rank {card.rank}, on {', '.join(card.target_modules)}"),
                    ("size", f"{card.adapter_bytes} bytes"),
                    ("task spec", card.spec_digest),
                    ("labels", str(card.labels)),
                    ("aggregation", f"{card.rule}, outer optimiser {card.outer_optimiser}"),
                ),
            ),
            "",
            "## Lineage",
            "",
            *_table(
                ("round", "model", "proposals", "accepted"),
                (
                    (str(each.round), each.digest, str(each.proposed), str(each.accepted))
                    for each in card.lineage
                ),
            ),
            "",
            "## Contributions that were accepted",
            "",
            *_table(
                ("round", "network", "adapter", "median improvement (micronats)"),
                (
                    (
                        str(each.round),
                        each.node_name or each.node,
                        each.adapter_digest,
                        _number(each.median_improvement_micronats),
                    )
                    for each in card.contributions
                ),
            ),
            "",
            "## Data, as the networks declared it",
            "",
            *_table(
                ("network", "hospitals", "training records", "first loss (nats)", "last loss (nats)"),
                (
                    (
                        each.node_name or each.node,
                        str(each.report.sites),
                        str(each.report.records),
                        _number(each.report.first_loss_nats),
                        _number(each.report.last_loss_nats),
                    )
                    for each in card.reports
                    if each.report is not None
                ),
            ),
            "",
            "## Evaluations",
            "",
            *_table(
                ("round", "test set", "accuracy", "95 % interval", "records", "loss (nats)"),
                (
                    (
                        str(each.round),
                        each.name,
                        f"{each.accuracy:.4f}",
                        f"{each.interval_low:.4f} to {each.interval_high:.4f}",
                        str(each.records),
                        f"{each.loss_nats:.4f}",
                    )
                    for each in card.evaluations
                ),
            ),
            "",
            "## Limits",
            "",
            *(f"* {each}" for each in card.limits),
            "",
        )
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [_row(head), _row(tuple("---" for _ in head))]
    lines += [_row(row) for row in rows]
    return lines if len(lines) > 2 else ["None."]


def _row(cells: tuple[str, ...]) -> str:
    # Some of it was typed by people: it shall not become another cell or line.
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
