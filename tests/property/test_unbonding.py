"""What leaves a stake: nothing is lost, nothing is made, and nothing that matures earlier is moved."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.unbonding import MOST_ENTRIES, UnbondingEntry, total, with_exit, without_latest

AMOUNTS = st.integers(1, 2**96)


@given(amounts=st.lists(AMOUNTS, max_size=3 * MOST_ENTRIES))
def test_exits_fill_the_places_and_then_join_the_last(amounts: list[int]) -> None:
    queue: tuple[UnbondingEntry, ...] = ()
    for time, amount in enumerate(amounts):
        before, queue = queue, with_exit(queue, UnbondingEntry(time, amount))
        assert queue[: MOST_ENTRIES - 1] == (*before, queue[-1])[: MOST_ENTRIES - 1]
        assert queue[-1].matures_unix_s == time
    assert total(queue) == sum(amounts)
    assert len(queue) == min(len(amounts), MOST_ENTRIES)


@given(amounts=st.lists(AMOUNTS, max_size=MOST_ENTRIES), most=st.integers(0, 2**99))
def test_a_slash_takes_the_latest_first(amounts: list[int], most: int) -> None:
    queue = tuple(UnbondingEntry(time, amount) for time, amount in enumerate(amounts))
    left = without_latest(queue, most)
    assert total(left) == max(total(queue) - most, 0)
    assert left[:-1] == queue[: len(left[:-1])], "only the last that stays gave a part"
    assert all(entry.amount for entry in left)
