"""What a policy permits, in words."""

from collections.abc import Iterator

from tier_local import privacy
from tier_local.policy import Policy, PrivacyFloor

_GIB = 1 << 30


def words_of(policy: Policy) -> list[str]:
    """A line for each thing that the policy says."""
    return list(_lines(policy))


def _lines(policy: Policy) -> Iterator[str]:
    yield f"policy of {policy.site}, digest {policy.digest}"
    yield f"tasks: {_some_or_any(policy.tasks)}"
    yield f"base models: {_some_or_any(policy.base_models)}"
    for data_set in policy.data_sets:
        yield f"records in {data_set.folder}: {' and '.join(data_set.uses)}"
    work = policy.work
    yield f"steps in a round: {_most(work.most_steps_per_round)}"
    yield f"passes over the records in a round: {_most(work.most_epochs_per_round)}"
    yield f"steps in 24 hours: {_most(work.most_steps_per_day)}"
    yield f"steps of a task in all: {_most(work.most_steps_per_task)}"
    memory = policy.resources.most_memory_bytes
    yield f"memory: {'no limit' if memory is None else f'at most {memory / _GIB:.1f} GiB'}"
    share = policy.resources.gpu_memory_share
    yield f"GPU: {'none' if share is None else f'at most {share:.0%} of its memory'}"
    yield from _hours(policy)
    yield f"records: at least {policy.least_records}"
    yield from _privacy(policy.privacy)
    yield f"words of errors: {'may leave' if policy.logs_may_leave else 'stay'}"
    yield f"kill switch: a file {policy.kill_switch_file} beside the policy stops everything"


def _hours(policy: Policy) -> Iterator[str]:
    if policy.hours is None:
        yield "hours: at any time"
        return
    for window in policy.hours.windows:
        days = ", ".join(window.days)
        yield f"hours: {window.begins} to {window.ends} ({policy.hours.time_zone}), beginning on {days}"


def _privacy(floor: PrivacyFloor | None) -> Iterator[str]:
    if floor is None:
        yield "privacy: updates leave as they are, without noise"
        return
    cost = privacy.mu_squared(floor)
    one = privacy.epsilon_of(cost, floor.delta)
    yield (
        f"privacy: updates are clipped to {floor.clip_norm:g} and get noise of {floor.noise_multiplier:g} "
        f"times that; one departure is ({one:.2f}, {floor.delta:g})-private for the whole hospital"
    )
    departures = departures_of_a_year(floor)
    yield f"privacy: ε at most {floor.most_epsilon_per_year:g} in 365 days: {departures} departures"
    exact = "leave without noise, and ε does not speak of them"
    withheld = "stay, and evaluations are refused"
    yield f"privacy: counts and losses {exact if floor.figures == 'exact' else withheld}"


def departures_of_a_year(floor: PrivacyFloor) -> int:
    """How many departures the budget of a year is enough for."""
    cost = privacy.mu_squared(floor)

    def is_enough_for(departures: int) -> bool:
        return privacy.epsilon_of(departures * cost, floor.delta) <= floor.most_epsilon_per_year

    # ε grows with every departure: double until it is too much, then halve the gap.
    most = 1
    while is_enough_for(most):
        most *= 2
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if is_enough_for(middle) else (least, middle)
    return least


def _some_or_any(digests: tuple[str, ...] | str) -> str:
    return "any" if isinstance(digests, str) else ", ".join(digests)


def _most(limit: float | None) -> str:
    return "no limit" if limit is None else f"at most {limit:g}"
