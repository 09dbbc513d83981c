"""The egress log: what is found when somebody was at it, and what a death at any write leaves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.local_policies import PARENT_DIGEST
from tier_local import egress, files
from tier_local.budgets import has_left, mu_squared_of_year, steps_of_day, steps_of_task
from tier_local.egress import (
    HEAD_FILE,
    LOG_FILE,
    Departure,
    EgressRow,
    Part,
    Release,
    Work,
    check_log,
    locked,
    read_rows,
)
from tier_local.errors import Refused
from tier_local.rules import Rule

TASK = "0x" + "11" * 32
REPOSITORY = Path(__file__).parent.parent.parent


def work(time_unix_s: int = 1000, steps: int = 5, task: str = TASK) -> Work:
    return Work(
        time_unix_s=time_unix_s,
        task_digest=task,
        parent_digest=PARENT_DIGEST,
        policy_digest=PARENT_DIGEST,
        steps=steps,
    )


def part(number: int = 0) -> Part:
    return Part(what="adapter", size_bytes=100, digest="0x" + f"{number:064x}")


def departure(number: int = 0, time_unix_s: int = 1000, mu_squared: float = 0.25) -> Departure:
    return Departure(
        time_unix_s=time_unix_s,
        task_digest=TASK,
        parent_digest=PARENT_DIGEST,
        policy_digest=PARENT_DIGEST,
        recipient="the server of aurora",
        parts=(part(number),),
        release=Release(
            clip_norm=1.0, noise_multiplier=4.0, mu_squared=mu_squared, delta=1e-6, epsilon_of_year=1.5
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of six rows."""
    folder = tmp_path / "state"
    with locked(folder) as log:
        for number in range(3):
            log.append(work(1000 + number))
            log.append(departure(number, 1000 + number))
    return folder


def found(folder: Path) -> list[tuple[str, int, int]]:
    return [(each.kind, each.first, each.last) for each in check_log(folder, read_rows(folder))]


def lines(folder: Path) -> list[str]:
    return (folder / LOG_FILE).read_text().splitlines(keepends=True)


def put(folder: Path, new: list[str]) -> None:
    (folder / LOG_FILE).write_text("".join(new))


def require_refused(folder: Path) -> None:
    with pytest.raises(Refused) as caught, locked(folder):
        pass
    assert caught.value.rule is Rule.EGRESS_LOG


# As it was written


def test_rows_are_read_as_they_were_written(folder: Path) -> None:
    assert found(folder) == []
    rows = read_rows(folder)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[1].entry == departure(0, 1000)
    with locked(folder) as log:
        assert tuple(log.rows) == rows
        assert log.newest_unix_s == 1002


def test_only_the_owner_reads_the_log(folder: Path) -> None:
    assert [path.stat().st_mode & 0o077 for path in (folder, folder / LOG_FILE)] == [0, 0]


def test_two_processes_take_turns(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.unit.test_local_egress import work
from tier_local.egress import locked
for number in range(20):
    with locked(Path(sys.argv[1])) as log:
        log.append(work(1000 + len(log.rows)))
"""
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(read_rows(tmp_path)) == 40
    assert found(tmp_path) == []


# Tampering


def test_an_edited_row_is_found(folder: Path) -> None:
    kept = lines(folder)
    put(folder, [*kept[:3], kept[3].replace("aurora", "nobody"), *kept[4:]])
    assert found(folder) == [("edited", 4, 4)]
    require_refused(folder)


def test_a_row_edited_with_its_hash_is_found(folder: Path) -> None:
    rows = list(read_rows(folder))
    forged = rows[3].model_copy(update={"entry": departure(9, mu_squared=0.0)})
    rows[3] = forged.model_copy(update={"hash": forged.computed_hash()})
    put(folder, [row.line() + "\n" for row in rows])
    assert found(folder) == [("replaced", 4, 4)]
    require_refused(folder)


@pytest.mark.parametrize("dropped", [1, 2, 5, 6])
def test_a_dropped_row_is_found_the_last_one_too(folder: Path, dropped: int) -> None:
    kept = lines(folder)
    put(folder, kept[: dropped - 1] + kept[dropped:])
    assert ("dropped", dropped, dropped) in found(folder)
    require_refused(folder)


def test_a_log_that_is_gone_is_found(folder: Path) -> None:
    (folder / LOG_FILE).unlink()
    require_refused(folder)


def test_reordered_rows_are_found(folder: Path) -> None:
    kept = lines(folder)
    put(folder, [kept[0], kept[2], kept[1], *kept[3:]])
    assert ("reordered", 2, 3) in found(folder)
    require_refused(folder)


def test_a_row_that_was_copied_in_is_found(folder: Path) -> None:
    kept = lines(folder)
    put(folder, [*kept, kept[0]])
    assert ("inserted", 1, 1) in found(folder)
    require_refused(folder)


def test_a_rewritten_end_is_found_by_the_head(folder: Path) -> None:
    rows = list(read_rows(folder))
    forged = rows[5].model_copy(update={"entry": departure(9, mu_squared=0.0)})
    rows[5] = forged.model_copy(update={"hash": forged.computed_hash()})
    put(folder, [row.line() + "\n" for row in rows])
    assert found(folder) == [("replaced", 6, 6)]
    require_refused(folder)


@pytest.mark.parametrize("content", [None, "", "{}", '{"number": 0, "hash": "0x"}'])
def test_a_head_that_is_gone_or_broken_is_found(folder: Path, content: str | None) -> None:
    if content is None:
        (folder / HEAD_FILE).unlink()
        assert found(folder) == [("dropped", 7, 7)]
    else:
        (folder / HEAD_FILE).write_text(content)
    require_refused(folder)


@pytest.mark.parametrize("line", ["", "null", "{", '{"number": 7}', "\x00\x00"])
def test_a_whole_line_that_is_no_row_is_found(folder: Path, line: str) -> None:
    put(folder, [*lines(folder), line + "\n"])
    with pytest.raises(ValueError, match="line 7 is not a row"):
        read_rows(folder)
    require_refused(folder)


def test_a_link_in_the_place_of_the_log_is_refused(tmp_path: Path, folder: Path) -> None:
    (folder / LOG_FILE).rename(tmp_path / "elsewhere")
    (folder / LOG_FILE).symlink_to(tmp_path / "elsewhere")
    require_refused(folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_refused(tmp_path / "file" / "state")


# Death at any write


class Killed(BaseException):
    """The process is killed here."""


CALLS = ("write", "fsync", "ftruncate", "replace")


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bool], list[str]]]:
    """Kills before or after the nth of the calls that change the disk; a write may be torn in the middle."""

    def arm(deadly: int, after: bool) -> list[str]:
        made: list[str] = []

        def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                made.append(name)
                if len(made) - 1 != deadly:
                    return real(*arguments)
                if name == "write" and not after:
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                elif after:
                    real(*arguments)
                raise Killed(name)

            return call

        calls = {name: getattr(os, name) for name in dir(os)}
        calls |= {name: wrapped(name, getattr(os, name)) for name in ("write", "fsync", "ftruncate")}
        double = SimpleNamespace(**calls)
        monkeypatch.setattr(egress, "os", double)
        monkeypatch.setattr(files, "os", double)
        monkeypatch.setattr(Path, "replace", wrapped("replace", _REAL_REPLACE))
        return made

    yield arm
    monkeypatch.undo()


_REAL_REPLACE = Path.replace


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("deadly", range(5))
@pytest.mark.parametrize("rows_before", [0, 1, 2])
def test_a_death_at_any_write_never_counts_too_little(
    tmp_path: Path,
    mortal: Callable[[int, bool], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    deadly: int,
    after: bool,
    rows_before: int,
) -> None:
    for number in range(rows_before):
        with locked(tmp_path) as log:
            log.append(departure(number))
    left = 0
    mortal(deadly, after)
    try:
        with locked(tmp_path) as log:
            log.append(departure(rows_before))
            left = 1  # the bytes leave when the row is written
    except Killed:
        pass
    monkeypatch.undo()

    with locked(tmp_path) as log:
        assert len(log.rows) in (rows_before + left, rows_before + 1)
        assert mu_squared_of_year(log.rows, 1000) >= 0.25 * (rows_before + left)
        log.append(work())
    assert found(tmp_path) == []
    assert [row.number for row in read_rows(tmp_path)] == list(range(1, len(read_rows(tmp_path)) + 1))


def test_the_killer_reaches_every_write(
    tmp_path: Path, mortal: Callable[[int, bool], list[str]], folder: Path
) -> None:
    with (folder / LOG_FILE).open("a") as log_file:
        log_file.write('{"torn')
    made = mortal(99, False)
    with locked(folder) as log:
        log.append(work())
    assert made == ["ftruncate", "write", "fsync", "fsync", "replace"]


def test_a_row_is_on_the_disk_before_append_returns(
    tmp_path: Path, mortal: Callable[[int, bool], list[str]]
) -> None:
    made = mortal(99, False)
    with locked(tmp_path) as log:
        made.clear()
        log.append(work())
        assert made == ["write", "fsync", "fsync", "replace"]


@pytest.mark.parametrize("torn", ['{"', '{"number": 7}', "\x00\x00\x00", "x" * 5000])
def test_a_torn_last_line_goes_before_the_next_row(folder: Path, torn: str) -> None:
    with (folder / LOG_FILE).open("a") as log_file:
        log_file.write(torn)
    assert found(folder) == []
    with locked(folder) as log:
        assert len(log.rows) == 6
        log.append(work())
    assert (len(read_rows(folder)), found(folder)) == (7, [])


def test_a_killed_process_leaves_all_that_it_said_it_wrote(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.unit.test_local_egress import departure
from tier_local.egress import locked
while True:
    with locked(Path(sys.argv[1])) as log:
        row = log.append(departure(len(log.rows)))
    print(row.number, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(12)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().split()]
    process.wait(30)
    with locked(tmp_path) as log:
        assert len(log.rows) >= said[-1]
    assert found(tmp_path) == []


# Budgets


def rows_of(*entries: Work | Departure) -> list[EgressRow]:
    return [
        EgressRow(number=n, previous_hash=PARENT_DIGEST, hash=PARENT_DIGEST, entry=entry)
        for n, entry in enumerate(entries, start=1)
    ]


def test_steps_are_counted_in_any_24_hours_and_per_task() -> None:
    day = 86_400
    rows = rows_of(work(day, 5), work(day + 1, 7), work(2 * day, 11, task=PARENT_DIGEST), departure())
    assert [steps_of_day(rows, now) for now in (day, 2 * day - 1, 2 * day, 2 * day + 1)] == [23, 23, 18, 11]
    assert [steps_of_task(rows, task) for task in (TASK, PARENT_DIGEST)] == [12, 11]


def test_privacy_is_counted_in_any_365_days() -> None:
    year = 365 * 86_400
    new_year = 1_767_225_600
    rows = rows_of(departure(1, new_year - 1), departure(2, new_year), work(new_year))
    assert mu_squared_of_year(rows, new_year) == 0.5, "a New Year forgives nothing"
    assert mu_squared_of_year(rows, new_year - 1 + year) == 0.25
    assert mu_squared_of_year(rows, new_year + year) == 0.0


def test_only_the_very_same_bytes_have_left_before() -> None:
    rows = rows_of(departure(1), departure(2).model_copy(update={"release": None}))
    assert [has_left(rows, part(number)) for number in (1, 2, 3)] == [True, False, False]


def test_a_line_is_canonical_json(folder: Path) -> None:
    line = lines(folder)[0]
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) + "\n"
