"""The dashboard in a real browser: signing in, following rounds live, light and dark, on a phone."""

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from typer.testing import CliRunner

from contracts.events import SlashWaived
from contracts.phase import Phase
from orchestrator import cli
from orchestrator.services.tokens import TokenService
from tests.integration.dashboard_story import (
    AARE,
    BIRS,
    CONFIG,
    DOUBS,
    HONEST,
    TASK,
    TOKEN,
    VOTERS,
    Story,
    app_over,
    digest,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
START_WITHIN_S = 30.0

# Busy machines are slow; a page that never changes still fails.
expect.set_options(timeout=20_000)

# Where nothing may be skipped, a missing browser is a missing install step and fails.
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "COLLEGIUM_NO_SKIPS" not in os.environ,
    reason="Chromium is not installed (Debian's package chromium)",
)


@dataclass
class Complaints:
    """What a page must never do: script errors, warnings on the console, violations of its policy."""

    heard: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def listen(self, page: Page) -> None:
        """Note everything that this page complains about."""
        page.on("pageerror", lambda error: self.heard.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                self.heard.append(f"{message.type}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )

    def check(self) -> None:
        """Fail on anything that was not expected."""
        assert [each for each in self.heard if not any(known in each for known in self.expected)] == []


class Hub:
    """The hub's application on a port of its own, which it keeps when it is started again."""

    def __init__(self, app: FastAPI, token: str) -> None:
        self.token = token
        self._app = app
        self._port = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on a free port the first time."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]
        config = uvicorn.Config(self._app, log_level="warning", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        _wait_until(lambda: self._server.started, "the hub to listen")

    def stop(self) -> None:
        """End it, open streams included."""
        self._server.should_exit = True
        self._thread.join(timeout=START_WITHIN_S)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def hub(story: Story, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(app_over(story, tmp_path), TokenService(story.records, story).issue("auditor", "an-auditor"))
    hub.start()
    yield hub
    hub.stop()


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    complaints.check()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Page:
    page = context.new_page()
    complaints.listen(page)
    return page


def _sign_in(page: Page, hub: Hub) -> None:
    page.goto(hub.url)
    expect(page).to_have_url(f"{hub.url}/login")
    page.get_by_label("API token").fill(hub.token)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{hub.url}/tasks/{TASK}")


def _live(page: Page) -> None:
    expect(page.locator("[data-live-text]")).to_have_text("Live")


def _drawn_pixels(page: Page, chart: str) -> int:
    """Pixels of a chart's canvas that are not empty."""
    count: int = page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector + " canvas");
            if (!canvas) return 0;
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let drawn = 0;
            for (let i = 3; i < data.length; i += 4) if (data[i] > 0) drawn += 1;
            return drawn;
        }""",
        chart,
    )
    return count


def test_signing_in_and_seeing_a_round(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.evaluate(0, 21)
    story.play_round(1, poisoned=DOUBS)
    story.evaluate(1, 49)
    _sign_in(page, hub)
    _live(page)
    expect(page.get_by_role("heading", name="icd10cm-first-letter")).to_be_visible()
    card = page.locator("#round-1")
    expect(card).to_contain_text("2 of 3 proposals accepted")
    expect(card.get_by_text("refused", exact=True)).to_be_visible()
    expect(card.locator(".matrix td.score--3")).to_have_count(3)
    expect(page.locator("#panel-nodes tbody tr")).to_have_count(4)
    _wait_until(lambda: _drawn_pixels(page, "#chart-accuracy") > 1000, "the accuracy chart")
    _wait_until(lambda: _drawn_pixels(page, "#chart-rewards") > 1000, "the rewards chart")


def test_what_the_chain_may_take_back_is_shown_apart(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.play_round(1, poisoned=DOUBS)
    _sign_in(page, hub)
    round_card, rewards = page.locator("#round-1"), page.locator("#panel-rewards")
    expect(round_card.locator("summary")).to_contain_text("provisional")
    expect(rewards.locator("th", has_text="Round 1")).to_contain_text("provisional")
    expect(page.locator("#panel-header")).to_contain_text("provisional")
    for _ in range(12):
        story.happen()
    page.reload()
    expect(round_card.locator("summary")).to_contain_text("settled")
    expect(page.locator("#panel-header .settled")).to_be_visible()
    # Fresh blocks on top of what is settled.
    story.request(2)
    story.draw(2)
    page.reload()
    expect(page.locator("#round-2 summary")).to_contain_text("provisional")
    expect(round_card.locator("summary .settled")).to_have_count(1)
    expect(rewards.locator(".provisional")).to_have_count(0)


def test_the_ledger_is_one_click_away_and_stays_current(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.play_round(1)
    story.record_fault(1, DOUBS)
    _sign_in(page, hub)
    page.get_by_role("link", name="Ledger").click()
    expect(page).to_have_url(f"{hub.url}/ledger")
    expect(page.get_by_role("link", name="Ledger")).to_have_attribute("aria-current", "page")
    expect(page.locator("#slash-0")).to_contain_text("in appeal")
    page.evaluate("window.notLoadedAgain = true")
    story.happen(SlashWaived(0, DOUBS, 1000 * TOKEN))
    expect(page.locator("#slash-0")).to_contain_text("waived", timeout=40_000)
    assert page.evaluate("window.notLoadedAgain") is True


def test_a_wrong_token_is_explained(story: Story, hub: Hub, page: Page, complaints: Complaints) -> None:
    complaints.expected = ("status of 401",)
    page.goto(f"{hub.url}/login")
    page.get_by_label("API token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")


def test_a_link_signs_in_and_the_session_can_be_left(
    story: Story, hub: Hub, page: Page, tmp_path: Path
) -> None:
    story.found()
    token_file = tmp_path / "token"
    token_file.write_text(hub.token)
    command = ["dashboard-link", "--url", hub.url, "--token-file", str(token_file), "--json"]
    answer = CliRunner().invoke(cli.app, command)
    assert answer.exit_code == 0, answer.output
    page.goto(json.loads(answer.stdout)["data"]["url"])
    expect(page).to_have_url(f"{hub.url}/tasks/{TASK}")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{hub.url}/login")
    page.goto(hub.url)
    expect(page).to_have_url(f"{hub.url}/login")


def test_the_first_task_opens_by_itself(story: Story, hub: Hub, page: Page) -> None:
    page.goto(hub.url)
    page.get_by_label("API token").fill(hub.token)
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no task yet")).to_be_visible()
    story.found()
    expect(page.get_by_role("heading", name="icd10cm-first-letter")).to_be_visible(timeout=20_000)


def test_events_change_the_page_without_loading_it_again(story: Story, hub: Hub, page: Page) -> None:
    story.found(approved=(AARE, BIRS))
    _sign_in(page, hub)
    _live(page)
    page.evaluate("window.notLoadedAgain = true")
    expect(page.locator("#panel-decisions")).to_contain_text("The task waits for approvals")
    story.approve(VOTERS[1])
    story.approve(VOTERS[3])
    expect(page.locator("#panel-decisions")).to_contain_text("Nothing waits for your decision")

    story.request(1)
    expect(page.locator("#round-1")).to_contain_text("waiting for the draw")
    story.draw(1)
    expect(page.locator("#panel-header")).to_contain_text("Training")
    expect(page.locator(".countdown")).to_contain_text("min")
    story.propose(1, AARE)
    expect(page.locator("#round-1")).to_contain_text("1 of 3 proposals in")
    expect(page.locator("#panel-events li").first).to_contain_text("Round 1: Aare proposed an adapter")

    for node in (VOTERS[1], VOTERS[3]):
        story.propose(1, node)
    story.enter(1, Phase.COMMITTING, CONFIG.committing_s)
    story.commit(1)
    story.enter(1, Phase.REVEALING, CONFIG.revealing_s)
    for voter in VOTERS:
        story.reveal(1, voter, HONEST[voter])
    story.tally(1)
    story.attest(1)
    story.close(1)
    story.evaluate(0, 21)
    story.evaluate(1, 49)
    expect(page.locator("#round-1")).to_contain_text("3 of 3 proposals accepted")
    expect(page.locator("#panel-accuracy")).to_contain_text("16.3 %")
    expect(page.locator("#panel-rewards")).to_contain_text("60.33")
    _wait_until(lambda: _drawn_pixels(page, "#chart-accuracy") > 1000, "the accuracy chart")
    assert page.evaluate("window.notLoadedAgain") is True


def test_what_the_reader_opened_stays_open_and_the_canvas_stays(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.evaluate(0, 21)
    story.play_round(1)
    story.play_round(2)
    _sign_in(page, hub)
    _live(page)
    first, second = page.locator("#round-1"), page.locator("#round-2")
    expect(second).to_have_attribute("open", "")
    expect(first).not_to_have_attribute("open", "")
    first.locator("summary").click()
    second.locator("summary").click()
    page.evaluate("window.canvas = document.querySelector('#chart-accuracy canvas')")
    story.request(3)
    expect(page.locator("#round-3")).to_have_attribute("open", "")
    story.evaluate(2, 106)
    expect(page.locator("#panel-accuracy")).to_contain_text("35.3 %")
    expect(first).to_have_attribute("open", "")
    expect(second).not_to_have_attribute("open", "")
    assert page.evaluate("window.canvas === document.querySelector('#chart-accuracy canvas')") is True


def test_the_clock_counts_down(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.request(1)
    story.draw(1)
    _sign_in(page, hub)
    clock = page.locator(".countdown")
    before = clock.inner_text()
    expect(clock).not_to_have_text(before)
    expect(clock).to_have_text(re.compile(r"9 min 5\d s"))


def test_a_lost_connection_is_shown_and_what_was_missed_arrives(
    story: Story, hub: Hub, page: Page, complaints: Complaints
) -> None:
    complaints.expected = ("Failed to load resource", "htmx:sseError", "[object Event]")
    story.found(approved=(AARE,))
    _sign_in(page, hub)
    _live(page)
    page.evaluate("window.notLoadedAgain = true")
    hub.stop()
    expect(page.locator("[data-live]")).to_have_attribute("data-live", "lost")
    story.approve(BIRS)
    hub.start()
    _live(page)
    expect(page.locator("#panel-decisions")).to_contain_text("2 of 4 nodes")
    assert page.evaluate("window.notLoadedAgain") is True


def test_an_ended_session_leads_back_to_signing_in(
    story: Story, hub: Hub, page: Page, complaints: Complaints
) -> None:
    complaints.expected = ("status of 401",)
    story.found(approved=(AARE,))
    _sign_in(page, hub)
    _live(page)
    with story.records.write() as unit:
        unit.tokens.remove_named("an-auditor")
    story.approve(BIRS)
    expect(page).to_have_url(f"{hub.url}/login")


def test_light_and_dark(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    _sign_in(page, hub)
    theme = page.locator("html")
    expect(theme).to_have_attribute("data-bs-theme", "light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    expect(theme).to_have_attribute("data-bs-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(theme).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(theme).to_have_attribute("data-bs-theme", "light")


def test_the_keyboard_reaches_everything(story: Story, hub: Hub, page: Page) -> None:
    story.found()
    story.play_round(1)
    _sign_in(page, hub)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    summary = page.locator("#round-1 summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#round-1")).not_to_have_attribute("open", "")


def test_a_digest_can_be_copied(story: Story, hub: Hub, page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    story.found()
    story.play_round(1)
    _sign_in(page, hub)
    page.get_by_role("button", name="Copy the aggregate's digest").click()
    expect(page.locator("[data-toast]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == digest("aggregate 1")


@pytest.mark.parametrize("width", [390, 768])
def test_narrow_screens_never_scroll_sideways(story: Story, hub: Hub, page: Page, width: int) -> None:
    story.found()
    story.evaluate(0, 21)
    story.play_round(1, poisoned=DOUBS)
    story.evaluate(1, 49)
    page.set_viewport_size({"width": width, "height": 844})
    _sign_in(page, hub)
    _live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.locator("#round-1")).to_contain_text("2 of 3 proposals accepted")
    # A voter's name stays in sight while its scores scroll.
    page.locator("#round-1 .table-responsive").last.evaluate("box => { box.scrollLeft = box.scrollWidth }")
    box = page.locator("#round-1 .matrix tbody th").first.bounding_box()
    assert box is not None
    assert 0 <= box["x"] < width
