"""What is found when somebody was at the audit log: every way to change it, with and without the chain."""

import pytest

from contracts.audit import AuditRow, epoch_root
from contracts.audit_check import AnchoredEpoch, check_log
from contracts.digests import ZERO_DIGEST
from tests.unit.test_contracts_audit import ENTRY, rows

SENDER = "0x" + "c0" * 20


def epochs_of(log: list[AuditRow], *ends: int) -> tuple[AnchoredEpoch, ...]:
    """The log as it was anchored, in epochs that end with these rows."""
    found: list[AnchoredEpoch] = []
    for end in ends:
        first = found[-1].last + 1 if found else 1
        found.append(AnchoredEpoch(SENDER, len(found) + 1, epoch_root(log[first - 1 : end]), first, end))
    return tuple(found)


def said(log: list[AuditRow], epochs: tuple[AnchoredEpoch, ...] = ()) -> list[tuple[str, int, int]]:
    """What is found, without the sentences."""
    return [(each.kind, each.first, each.last) for each in check_log(log, epochs)]


def rewritten(log: list[AuditRow], start: int) -> list[AuditRow]:
    """The log with another row in a place, and every hash behind it made anew."""
    forged = log[: start - 1]
    for old in log[start - 1 :]:
        change = {"principal": "nobody"} if old.number == start else {}
        entry = ENTRY.model_copy(update={"time_unix_s": old.time_unix_s, **change})
        forged.append(AuditRow.after(forged[-1] if forged else None, entry))
    return forged


LOG = rows(9)
EPOCHS = epochs_of(LOG, 3, 7)


def test_a_log_as_it_was_written_is_fine() -> None:
    assert said(LOG) == said(LOG, EPOCHS) == said([]) == said(LOG[:1]) == []


@pytest.mark.parametrize("name", sorted(set(AuditRow.model_fields) - {"hash", "previous_hash", "number"}))
def test_an_edited_field_is_found_in_its_row(name: str) -> None:
    value: object = {"time_unix_s": 1, "task": 2, "round": 1, "outcome": "refused"}.get(
        name, "0x" + "ab" * 32
    )
    log = [*LOG[:4], LOG[4].model_copy(update={name: value}), *LOG[5:]]
    assert said(log) == [("edited", 5, 5)]


def test_a_row_that_was_edited_with_its_hash_is_found_by_the_next_one() -> None:
    edited = LOG[4].model_copy(update={"principal": "nobody"})
    edited = edited.model_copy(update={"hash": edited.computed_hash()})
    log = [*LOG[:4], edited, *LOG[5:]]
    assert said(log) == [("replaced", 5, 5)]
    assert said(log, EPOCHS) == [("rewritten", 4, 7), ("replaced", 5, 5)]


@pytest.mark.parametrize("dropped", [1, 2, 5, 8])
def test_a_dropped_row_is_named(dropped: int) -> None:
    log = [row for row in LOG if row.number != dropped]
    assert ("dropped", dropped, dropped) in said(log)


def test_dropped_rows_in_a_row_are_named_together() -> None:
    assert said([*LOG[:2], *LOG[5:]], EPOCHS) == [("dropped", 3, 5)]


def test_a_gap_that_was_closed_by_new_numbers_is_found() -> None:
    log = [*LOG[:4], *(row.model_copy(update={"number": row.number - 1}) for row in LOG[5:])]
    assert [each for each in said(log) if each[1] == 5] == [("edited", 5, 5)]


def test_the_end_may_only_be_cut_off_where_nothing_is_anchored() -> None:
    assert said(LOG[:7], EPOCHS) == []
    assert said(LOG[:6], EPOCHS) == [("dropped", 7, 7)]
    assert said([], EPOCHS) == [("dropped", 1, 7)]
    assert said(LOG[:6]) == []  # only the chain knows


def test_an_inserted_row_is_named() -> None:
    again = LOG[4].model_copy(update={"principal": "nobody"})
    again = again.model_copy(update={"hash": again.computed_hash()})
    assert ("inserted", 5, 5) in said([*LOG[:5], again, *LOG[5:]])
    assert ("inserted", 5, 5) in said([*LOG[:5], LOG[4], *LOG[5:]])


def test_rows_in_another_order_are_named() -> None:
    log = [*LOG[:3], LOG[4], LOG[3], *LOG[5:]]
    assert said(log) == [("reordered", 4, 5)]
    swapped = [
        *LOG[:3],
        LOG[4].model_copy(update={"number": 4}),
        LOG[3].model_copy(update={"number": 5}),
        *LOG[5:],
    ]
    assert {("edited", 4, 4), ("edited", 5, 5)} <= set(said(swapped))


@pytest.mark.parametrize("start", range(1, 10))
def test_a_log_that_was_written_anew_does_not_fit_the_chain(start: int) -> None:
    log = rewritten(LOG, start)
    assert said(log) == []
    expected = [epoch for epoch in EPOCHS if start <= epoch.last]
    assert said(log, EPOCHS) == [("rewritten", epoch.first, epoch.last) for epoch in expected]


def test_a_beginning_that_follows_something_is_no_beginning() -> None:
    forged = AuditRow.after(LOG[0], ENTRY).model_copy(update={"number": 1})
    forged = forged.model_copy(update={"hash": forged.computed_hash()})
    assert forged.previous_hash != ZERO_DIGEST
    assert said([forged]) == [("replaced", 1, 1)]


def test_rows_that_no_epoch_covers_are_named() -> None:
    assert said(LOG, EPOCHS[1:]) == [("unanchored", 1, 3)]
