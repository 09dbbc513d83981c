"""The task page, its panels and its live stream."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.responses import StreamingResponse

from orchestrator.dashboard import pages
from orchestrator.dashboard.build import task_page
from orchestrator.dashboard.html_route import HtmlRoute, problem_page
from orchestrator.dashboard.live import MOST_EVENTS, panel_stream
from orchestrator.dashboard.setting import DashboardSetting
from orchestrator.dashboard.sign_in import COOKIE, Session, Setting
from orchestrator.dashboard.view import TaskPage
from orchestrator.domain.ports import StreamEvent

router = APIRouter(route_class=HtmlRoute, include_in_schema=False)

PanelName = Literal["header", "decisions", "accuracy", "nodes", "rounds", "rewards", "events"]
TaskNumber = Annotated[int, Path(ge=1, lt=1 << 63)]
Rounds = Annotated[Literal["newest", "all"], Query()]


@router.get("/")
def show_first_page(session: Session, setting: Setting) -> Response:
    """The newest task, or a page that waits for one."""
    tasks = setting.queries.tasks()
    numbers = [task.task for task in tasks if task.task is not None]
    if numbers:
        return RedirectResponse(f"/tasks/{max(numbers)}", 303)
    return HTMLResponse(pages.render("no_tasks.html", tasks=tasks, signed_in_as=session.name, place="tasks"))


@router.get("/tasks/{task}")
def show_task(task: TaskNumber, session: Session, setting: Setting, rounds: Rounds = "newest") -> Response:
    """A task's page."""
    missing = pages.missing_vendor_files()
    if missing:
        return problem_page(
            503,
            "The dashboard is not installed",
            f"Browser libraries are missing ({', '.join(missing)}): run npm ci in orchestrator/dashboard.",
        )
    page = _page(setting, task, rounds)
    query = "?rounds=all" if rounds == "all" else ""
    return HTMLResponse(
        pages.render(
            "task.html",
            page=page,
            tasks=[each for each in setting.queries.tasks() if each.task is not None],
            query=query,
            signed_in_as=session.name,
            place="tasks",
        )
    )


@router.get("/tasks/{task}/panels/{panel}")
def show_panel(
    task: TaskNumber, panel: PanelName, _: Session, setting: Setting, rounds: Rounds = "newest"
) -> Response:
    """One panel of a task's page."""
    page = _page(setting, task, rounds)
    return HTMLResponse(pages.render(f"panel_{panel}.html", panel=getattr(page, panel)))


@router.get("/tasks/{task}/stream")
def follow_task(
    request: Request,
    task: TaskNumber,
    _: Session,
    setting: Setting,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> Response:
    """Server-sent events that name the panels which have changed."""
    secret = request.cookies.get(COOKIE)

    def read_after(event_id: int) -> tuple[StreamEvent, ...]:
        return setting.queries.events_after(event_id, MOST_EVENTS)

    def still_allowed() -> bool:
        return setting.sessions.holder_of(secret) is not None

    start = after if last_event_id is None else max(after, last_event_id)
    return StreamingResponse(
        panel_stream(read_after, still_allowed, task, start),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def _page(setting: DashboardSetting, task: int, rounds: str) -> TaskPage:
    return task_page(setting.task_facts.read(task), all_rounds=rounds == "all")
