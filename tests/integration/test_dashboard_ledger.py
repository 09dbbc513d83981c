"""The ledger's page: transactions, faults and accounts, as the records have them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from contracts.events import Claimed, ExitRequested, SlashWaived
from orchestrator.domain.chain import Advance
from orchestrator.domain.outbox import Intent, IntentStatus
from orchestrator.services.ledger_facts import TRANSACTIONS_ON_A_PAGE
from tests.integration.dashboard_story import (
    AARE,
    APPEAL_S,
    BIRS,
    DOUBS,
    TASK,
    TOKEN,
    Story,
    auditors_browser,
    digest,
)


@pytest.fixture
def browser(story: Story, tmp_path: Path) -> TestClient:
    return auditors_browser(story, tmp_path)


def read(browser: TestClient, path: str = "/ledger") -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def row(html: str, identifier: str) -> str:
    """The words of one row, with single spaces."""
    found = re.search(rf'<tr id="{identifier}">(.*?)</tr>', html, re.DOTALL)
    assert found, identifier
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found[1])).strip()


def put(story: Story, number: int, **changes: object) -> Intent:
    """A transaction of the hub, brought to where the test wants it."""
    with story.records.write() as unit:
        intent = unit.outbox.add(f"put {number}", Advance(TASK), 1, story.time_unix_s)
        changed = replace(intent, **changes)  # type: ignore[arg-type]
        unit.outbox.save(changed, IntentStatus.QUEUED)
    return changed


def test_an_empty_hub_has_an_empty_ledger(browser: TestClient) -> None:
    html = read(browser)
    for words in ("No node has been at fault", "No node is admitted yet", "The hub has sent nothing yet"):
        assert words in html


def test_each_transaction_says_how_far_it_is(story: Story, browser: TestClient) -> None:
    story.found()
    mined = {"block_number": 7, "block_hash": digest("block"), "transaction_hash": digest("sent")}
    waiting = put(story, 1)
    young = put(story, 2, status=IntentStatus.MINED, gas_used=1_234, **mined)
    old = put(story, 3, status=IntentStatus.FINAL, is_final=True, gas_used=1_234, **mined)
    refused = put(story, 4, status=IntentStatus.REFUSED, error="WrongPhase", is_final=True)
    html = read(browser)
    assert "advance task 1 the hub queued — — —" in row(html, f"intent-{waiting.id}")
    assert "in a block provisional 7 1,234" in row(html, f"intent-{young.id}")
    assert "in a block settled 7 1,234" in row(html, f"intent-{old.id}")
    said = row(html, f"intent-{refused.id}")
    assert "refused WrongPhase" in said
    assert "settled" not in said, "no block has it"

    only = read(browser, "/ledger?status=refused")
    assert re.findall(r'id="intent-(\d+)"', only) == [str(refused.id)]
    assert "No transaction is in this state." in read(browser, "/ledger?status=resent")


def test_older_transactions_are_on_older_pages_each_once(story: Story, browser: TestClient) -> None:
    story.found()
    known = [put(story, number).id for number in range(2 * TRANSACTIONS_ON_A_PAGE + 3)]
    seen: list[int] = []
    path: str | None = "/ledger?status=queued"
    while path is not None:
        html = read(browser, path)
        seen += map(int, re.findall(r'id="intent-(\d+)"', html))
        older = re.search(r'rel="next" href="([^"]*)"', html)
        path = older and older[1].replace("&amp;", "&")
        # Only the newest page is kept current: older ones do not change under the reader.
        assert ("hx-trigger" in html) == (len(seen) == TRANSACTIONS_ON_A_PAGE)
    assert seen == sorted(known, reverse=True)


def test_a_fault_is_in_appeal_and_then_over_or_waived(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    story.record_fault(1, DOUBS)
    story.record_fault(1, AARE, slash=1)
    story.time_unix_s += 60
    said = row(read(browser), "slash-0")
    assert "Doubs Task 1 , round 1 committed and did not reveal 50.00 in appeal 59 min 00 s left" in said
    story.happen(SlashWaived(0, DOUBS, 1000 * TOKEN))
    assert "waived" in row(read(browser), "slash-0")
    story.time_unix_s += APPEAL_S
    html = read(browser)
    assert "appeal over goes to the task" in row(html, "slash-1")
    assert html.index("slash-1") < html.index("slash-0"), "what is pending stands first"


def test_accounts_add_up(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    earned = 67 * TOKEN + TOKEN // 3
    story.happen(Claimed(BIRS, earned))
    leaves_unix_s = story.time_unix_s + 10
    story.happen(ExitRequested(AARE, 400 * TOKEN, leaves_unix_s, 600 * TOKEN))
    html = read(browser)
    assert row(html, f"account-{BIRS}") == "Birs 1,000.00 0.00 67.33 67.33 0.00 provisional"
    assert row(html, f"account-{AARE}") == "Aare 600.00 400.00 60.33 0.00 60.33 provisional"
    story.time_unix_s = leaves_unix_s
    assert "400.00 may be withdrawn" in row(read(browser), f"account-{AARE}")


@pytest.mark.parametrize("query", ["before=0", "before=x", f"before={1 << 63}", "status=lost", "before=-1"])
def test_a_bad_address_is_a_page_that_says_so(browser: TestClient, query: str) -> None:
    answer = browser.get(f"/ledger?{query}")
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]


def test_no_inline_script_or_style(story: Story, browser: TestClient) -> None:
    story.found()
    story.play_round(1)
    html = read(browser)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
