"""Numbers, digests and events as the dashboard words them."""

import pytest

from contracts.phase import Phase
from orchestrator.dashboard import text
from orchestrator.dashboard.words import PANELS, event_row, panels_of, says_twice
from orchestrator.domain.ports import StreamEvent
from orchestrator.domain.projection import Announcement


@pytest.mark.parametrize(
    ("micronats", "words"),
    [
        (113_400, "+0.113"),
        (-2_210_000, "−2.210"),
        (0, "0.000"),
        (-400, "0.000"),
        (8_000_000, "+8.000"),
        (None, "—"),
    ],
)
def test_nats_are_signed_with_a_real_minus(micronats: int | None, words: str) -> None:
    assert text.nats(micronats) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0.00"),
        (10**18 - 1, "0.99"),
        (1250 * 10**18, "1,250.00"),
        (10**30, "1,000,000,000,000.00"),
        (None, "—"),
    ],
)
def test_tokens_are_rounded_down_and_exact_at_any_size(amount: int | None, words: str) -> None:
    assert text.tokens(amount) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (59, "59 s"),
        (91, "1 min 31 s"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (None, "—"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert text.duration(seconds) == words


def test_points_of_a_difference() -> None:
    assert [text.points(each) for each in (0.44, -0.021, 0.0001, None)] == ["+44.0", "−2.1", "0.0", "—"]


def test_a_digest_is_shortened_by_its_middle() -> None:
    assert text.short("0x" + "ab" * 32) == "0xabab…abab"
    assert text.short(None) == "—"


def test_every_phase_has_a_name_and_a_meaning() -> None:
    for phase in Phase:
        assert text.phase_name(phase)
        assert text.phase_meaning(phase)


def _event(kind: str, **facts: str | int) -> StreamEvent:
    return StreamEvent(7, 1_795_000_000, Announcement(kind, 1, 2, "0x" + "11" * 20, facts))


def test_an_event_is_a_sentence() -> None:
    row = event_row(_event("round.proposed", adapter_digest="0x12"), "Aare")
    assert (row.id, row.text, row.round) == (7, "Round 2: Aare proposed an adapter", 2)
    assert (
        event_row(_event("task.funded", amount=str(900 * 10**18)), None).text
        == "900.00 tokens were added to the pool"
    )
    assert event_row(_event("round.closed", phase="aborted"), None).tone == "bad"


def test_a_fault_is_told_in_words() -> None:
    event = _event("fault.recorded", fault="unrevealed", slash=0, amount=str(5 * 10**18))
    row = event_row(event, "Aare")
    assert row.text == "Round 2: Aare committed and did not reveal; 5.00 tokens are set aside"
    assert row.tone == "warn"


def test_an_unknown_event_is_shown_plainly_and_refreshes_everything() -> None:
    row = event_row(_event("oven.door_{opened}", heat=3), None)
    assert row.text == "Oven door opened"
    assert panels_of("oven.door_opened") == PANELS


def test_an_event_without_its_facts_does_not_break_the_page() -> None:
    assert event_row(_event("round.tallied"), None).text == "Round 2: — of — proposals accepted"


def test_a_closing_phase_is_not_told_twice() -> None:
    assert says_twice(_event("round.phase", phase="final"))
    assert not says_twice(_event("round.phase", phase="training"))
    assert not says_twice(_event("round.closed", phase="final"))
