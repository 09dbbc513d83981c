"""What the pages say in every state of a task, and what a browser may do with them."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from contracts.events import (
    ExitRequested,
    NodeLeft,
    SlashWaived,
    TaskCancelled,
    TaskEnded,
    TaskPauseChanged,
)
from contracts.phase import Phase
from orchestrator.dashboard import live, pages
from orchestrator.dashboard.live import panel_stream
from orchestrator.dashboard.words import PANELS
from orchestrator.services.queries import QueryService
from tests.integration.dashboard_story import (
    AARE,
    APPEAL_S,
    BIRS,
    CONFIG,
    DOUBS,
    HONEST,
    NAMES,
    PROPOSED,
    START_UNIX_S,
    TASK,
    TOKEN,
    Story,
    auditors_browser,
    digest,
)


@pytest.fixture
def browser(story: Story, tmp_path: Path) -> TestClient:
    return auditors_browser(story, tmp_path)


def _words(html: str) -> str:
    """The text that a reader sees, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def _panel(browser: TestClient, name: str) -> str:
    answer = browser.get(f"/tasks/{TASK}/panels/{name}")
    assert answer.status_code == 200, answer.text
    return _words(answer.text)


def test_without_a_task_the_first_page_says_so(browser: TestClient) -> None:
    answer = browser.get("/")
    assert answer.status_code == 200
    assert "There is no task yet" in answer.text


def test_the_first_page_leads_to_the_newest_task(story: Story, browser: TestClient) -> None:
    story.found()
    assert browser.get("/").headers["location"] == f"/tasks/{TASK}"


def test_a_new_task_shows_what_it_waits_for_and_invents_nothing(story: Story, browser: TestClient) -> None:
    story.found(approved=(AARE, BIRS))
    decisions = _panel(browser, "decisions")
    assert "2 of 4 nodes that a round needs have approved it" in decisions
    assert "Not approved by: Cassarate, Doubs." in decisions
    header = _panel(browser, "header")
    assert "Waiting for approvals" in header
    assert "Time left —" in header
    assert "Accuracy — not measured yet" in header
    assert "Rounds done 0 of 3" in header
    assert "No round was requested yet" in _panel(browser, "rounds")
    assert "none has closed yet" in _panel(browser, "rewards")
    assert "No model of this task was tested yet" in _panel(browser, "accuracy")
    assert _panel(browser, "nodes").count("not approved") == 2


def test_approvals_end_the_wait(story: Story, browser: TestClient) -> None:
    story.found()
    assert "Nothing waits for your decision" in _panel(browser, "decisions")
    assert "Between rounds" in _panel(browser, "header")


def test_an_open_round_shows_its_phase_its_deadline_and_who_voted(story: Story, browser: TestClient) -> None:
    story.found()
    story.request(1)
    story.draw(1)
    story.train(1)
    story.commit(1)
    story.enter(1, Phase.REVEALING, CONFIG.revealing_s)
    story.reveal(1, BIRS, HONEST[BIRS])
    story.time_unix_s += 9
    header = browser.get(f"/tasks/{TASK}/panels/header").text
    assert f'data-seconds-left="{CONFIG.revealing_s - 10}"' in header
    rounds = _panel(browser, "rounds")
    assert "1 of 4 votes revealed" in rounds
    assert "Birs revealed +0.113 +0.041 +0.248" in rounds
    assert "Aare committed own — —" in rounds
    assert rounds.count("the vote is not over") == 3
    assert "proposal 282,630" in rounds


def test_a_final_round_shows_medians_votes_aggregate_and_rewards(story: Story, browser: TestClient) -> None:
    story.found()
    story.evaluate(0, 21)
    story.play_round(1, poisoned=DOUBS)
    story.evaluate(1, 49)
    rounds = _panel(browser, "rounds")
    assert "2 of 3 proposals accepted" in rounds
    assert re.search(r"Aare 0x\w+…\w+ \+0\.113 accepted", rounds)
    assert re.search(r"Doubs 0x\w+…\w+ −2\.210 refused", rounds)
    assert "Aare 60.33" in rounds
    html = browser.get(f"/tasks/{TASK}/panels/rounds").text
    assert digest("aggregate 1") in html
    assert "Doubs was refused: the median is not above the task&#39;s threshold of −0.250 nats." in rounds
    accuracy = _panel(browser, "accuracy")
    assert "Base model 7.0 %" in accuracy
    assert "Round 1 16.3 % 11.3 % to 21.8 % 49 of 300" in accuracy
    assert "16.3 % +9.3 pts" in _panel(browser, "header")
    assert "Aare 60.33 60.33" in _panel(browser, "rewards")


def test_another_model_is_not_taken_for_the_federated_one(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    story.evaluate(1, 120, name="alone: Aare", what=digest("another adapter"))
    html = browser.get(f"/tasks/{TASK}/panels/accuracy").text
    assert "alone: Aare" in html
    assert "&#34;accuracy&#34;: [null, null, null, null]" in html
    assert "not measured yet" in _panel(browser, "header")


def test_what_goes_wrong_is_said(story: Story, browser: TestClient) -> None:
    story.found()
    story.request(1)
    story.draw(1)
    story.refuse_attestation(1, BIRS)
    assert "Attestation of Birs in round 1: WrongPhase" in _panel(browser, "decisions")
    story.time_unix_s += CONFIG.training_s + 60
    decisions = _panel(browser, "decisions")
    assert "Round 1 is past its deadline" in decisions
    assert "The chain has gone silent" in decisions
    assert "over" in _panel(browser, "header")


def test_a_fault_is_shown_with_what_can_be_done_about_it(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    story.record_fault(1, BIRS)
    decisions = _panel(browser, "decisions")
    assert "A fault of Birs is recorded" in decisions
    assert "collegium slash waive --slash 0" in decisions
    assert "Birs committed and did not reveal 50.00 pending" in _panel(browser, "rounds")
    assert "Birs committed and did not reveal; 50.00 tokens" in _panel(browser, "events")
    story.happen(after_s=APPEAL_S)
    assert "collegium slash execute --slash 0" in _panel(browser, "decisions")
    story.happen(SlashWaived(0, BIRS, 1000 * TOKEN))
    assert "A fault of Birs" not in _panel(browser, "decisions")
    assert "Birs committed and did not reveal 50.00 waived" in _panel(browser, "rounds")


def test_a_paused_task_and_absent_nodes_are_decisions(story: Story, browser: TestClient) -> None:
    story.found()
    story.happen(TaskPauseChanged(TASK, True), NodeLeft(DOUBS))
    assert "collegium task unpause --task 1" in _panel(browser, "decisions")
    assert "Paused" in _panel(browser, "header")
    assert "Doubs dismissed" in _panel(browser, "nodes")
    story.happen(ExitRequested(AARE, 300 * TOKEN, START_UNIX_S + 99, 700 * TOKEN))
    assert "300.00 leaving" in _panel(browser, "nodes")
    story.happen(TaskPauseChanged(TASK, False), TaskCancelled(TASK), TaskEnded(TASK, 900 * TOKEN))
    assert "Cancelled" in _panel(browser, "header")
    assert "unpause" not in _panel(browser, "decisions")


def test_a_node_that_was_absent_too_often_is_a_decision(story: Story, browser: TestClient) -> None:
    story.found()
    for number in (1, 2):
        story.request(number)
        story.draw(number)
        for node in PROPOSED[1:]:
            story.propose(number, node)
        story.close(number, Phase.ABORTED)
    decisions = _panel(browser, "decisions")
    assert "Aare was absent too often" in decisions
    assert "collegium node return" in decisions
    assert "Aare absent too often" in _panel(browser, "nodes")


def test_a_refused_message_of_a_closed_round_needs_no_decision(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    story.refuse_attestation(1, BIRS)
    assert "Nothing waits for your decision" in _panel(browser, "decisions")


def test_an_empty_pool_is_a_warning(story: Story, browser: TestClient) -> None:
    story.found(pool=0)
    assert "The pool is empty" in _panel(browser, "decisions")


def test_a_name_from_outside_cannot_become_markup(story: Story, browser: TestClient) -> None:
    story.found()
    with story.records.write() as unit:
        unit.names.set_name(AARE, '<script>alert(1)</script>" onload="x')
    for name in PANELS:
        html = browser.get(f"/tasks/{TASK}/panels/{name}").text
        assert "<script" not in html
        assert 'onload="x' not in html


def test_the_page_is_whole_and_carries_no_inline_script_or_style(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    answer = browser.get(f"/tasks/{TASK}")
    assert answer.status_code == 200
    for name in PANELS:
        assert f'id="panel-{name}"' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", answer.text)
    assert not re.search(r"\sstyle=|<style|\son\w+=", answer.text)
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"


def test_the_stream_starts_where_the_page_was_read(story: Story, browser: TestClient) -> None:
    story.found()
    last_id = QueryService(story.records, story).last_event_id()
    assert f"/tasks/{TASK}/stream?after={last_id}" in browser.get(f"/tasks/{TASK}").text


def test_many_rounds_show_the_newest_and_a_way_to_the_rest(story: Story, browser: TestClient) -> None:
    story.found()
    for number in range(1, 11):
        story.request(number)
        story.close(number, Phase.ABORTED)
    newest = browser.get(f"/tasks/{TASK}").text
    assert 'id="round-10"' in newest
    assert 'id="round-1"' not in newest
    assert "Show 2 earlier rounds" in newest
    everything = browser.get(f"/tasks/{TASK}?rounds=all").text
    assert 'id="round-1"' in everything
    assert "panels/rounds?rounds=all" in everything


@pytest.mark.parametrize(
    "path", ["/tasks/7", "/tasks/0", "/tasks/x", "/tasks/1/panels/oven", "/tasks/7/panels/header"]
)
def test_what_does_not_exist_is_a_page_that_says_so(story: Story, browser: TestClient, path: str) -> None:
    story.found()
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert "content-security-policy" in answer.headers


def test_missing_libraries_are_named(
    story: Story, browser: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    story.found()
    monkeypatch.setattr(pages, "MODULES_FOLDER", tmp_path)
    answer = browser.get(f"/tasks/{TASK}")
    assert answer.status_code == 503
    assert "run npm ci in orchestrator/dashboard" in answer.text
    assert browser.get("/static/vendor/htmx.js").status_code == 404


def test_static_files_are_ours_compressed_and_kept(browser: TestClient) -> None:
    browser.cookies.clear()
    page = browser.get("/login").text
    address = re.search(r'"(/static/vendor/tabler\.css\?v=[0-9a-f]{12})"', page)
    assert address is not None
    answer = browser.get(address[1], headers={"accept-encoding": "gzip"})
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == pages.vendor_path("tabler.css").read_bytes()
    plain = browser.get("/static/dashboard.js", headers={"accept-encoding": "identity"})
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.content == (pages.STATIC_FOLDER / "dashboard.js").read_bytes()
    assert gzip.compress(plain.content) != plain.content


@pytest.mark.parametrize(
    "name",
    [
        "..%2fview.py",
        "%2e%2e/view.py",
        "package.json",
        "vendor/echarts.js.map",
        "vendor/..%2f..%2fpackage.json",
    ],
)
def test_only_known_files_are_served(browser: TestClient, name: str) -> None:
    assert browser.get(f"/static/{name}").status_code == 404


# The stream


async def _next_panels(lines: AsyncIterator[str], count: int) -> list[str]:
    panels: list[str] = []
    async with asyncio.timeout(10):
        while len(panels) < count:
            panels += re.findall(r"^event: (\w+)$", await anext(lines), re.MULTILINE)
    return panels


def test_the_stream_names_the_panels_that_changed_once_a_burst(story: Story) -> None:
    story.found(approved=())
    queries = QueryService(story.records, story)

    async def follow() -> tuple[list[str], list[str]]:
        lines = panel_stream(
            lambda after: queries.events_after(after, 500), lambda: True, TASK, queries.last_event_id()
        )
        assert "retry:" in await anext(lines)
        for node in NAMES:
            story.approve(node)
        approvals = await _next_panels(lines, 4)
        story.evaluate(0, 21)
        return approvals, await _next_panels(lines, 3)

    approvals, evaluation = asyncio.run(follow())
    assert approvals == ["header", "decisions", "nodes", "events"]
    assert evaluation == ["header", "accuracy", "events"]


def test_the_stream_ends_with_the_session(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.0)

    async def follow() -> list[str]:
        lines = panel_stream(lambda after: (), lambda: False, TASK, 0)
        async with asyncio.timeout(10):
            return [line async for line in lines]

    assert len(asyncio.run(follow())) == 1


def test_the_stream_of_a_task_is_silent_about_others(story: Story) -> None:
    story.found()
    queries = QueryService(story.records, story)

    async def follow() -> list[str]:
        lines = panel_stream(lambda after: queries.events_after(after, 500), lambda: True, 7, 0)
        return await _next_panels(lines, 4)

    # Only what concerns every task, the nodes' admissions, is told.
    assert asyncio.run(follow()) == ["decisions", "nodes", "rewards", "events"]
