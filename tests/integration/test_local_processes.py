"""Process trees leave no orphan, whoever is killed. Real processes, in sessions of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tier_local.processes import MARK_VARIABLE, ProcessTree, runs

DEADLINE_SECONDS = 20.0

# A daemon that leaves its session, and starts another one that ignores SIGTERM.
DAEMON = """
import signal, subprocess, sys, time
inner = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
time.sleep(600)
"""

# A supervisor that starts two daemons in a tree, says the tree's identity, and waits to be killed.
SUPERVISOR = f"""
import os, sys, time
from pathlib import Path
from tier_local.processes import ProcessTree
parent = os.getppid() if "exit" in sys.argv else None
tree = ProcessTree.guard(exit_with_parent=parent, scratch_folder=Path(sys.argv[1]))
for _ in range(2):
    tree.start([sys.executable, "-c", {DAEMON!r}], start_new_session=True)
while len(tree.members()) < 4:
    time.sleep(0.01)
print(tree.identity, os.getpid(), flush=True)
time.sleep(600)
"""

# A supervisor that says its id, and asks for a tree only when its parent is dead.
LATE_SUPERVISOR = """
import os, pathlib, sys, time
parent = os.getppid()
print("-", os.getpid(), flush=True)
while os.getppid() == parent:
    time.sleep(0.01)
from tier_local.processes import ParentGone, ProcessTree
try:
    ProcessTree.guard(exit_with_parent=parent)
except ParentGone as gone:
    pathlib.Path(sys.argv[1], "said").write_text(str(gone))
"""

# The real command, whose imports never end; it says its id when they begin.
IMPORTING_COMMAND = """
import os, runpy, sys, time

class Endless:
    def find_spec(name, path=None, target=None):
        if name == "tier_local.cli":
            print("-", os.getpid(), flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Endless)
sys.argv = ["tier_local", "train", "--exit-with-parent", str(os.getppid())]
runpy.run_module("tier_local", run_name="__main__", alter_sys=True)
"""

# A parent that starts a supervisor and waits to be killed.
PARENT_OF = """
import subprocess, sys
subprocess.run([sys.executable, "-c", {!r}, *sys.argv[1:]])
"""
PARENT = PARENT_OF.format(SUPERVISOR)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.02)


def marked(identity: str) -> list[int]:
    """Processes with the mark, found independently of the module under test."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if any(
                v.startswith(MARK_VARIABLE.encode()) and identity.encode() in v
                for v in environment.split(b"\0")
            ):
                found.append(int(folder.name))
    return found


def start_and_read_identity(script: str, *arguments: str) -> tuple[subprocess.Popen[str], str, int]:
    """The process that runs ``script``, the tree's identity, and the tree's supervisor."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    identity, supervisor = process.stdout.readline().split()
    return process, identity, int(supervisor)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "left-over").write_text("x")
    return folder


def test_leaving_the_with_ends_daemons_in_their_own_sessions() -> None:
    with ProcessTree.guard() as tree:
        tree.start([sys.executable, "-c", DAEMON], start_new_session=True)
        wait_until(lambda: len(tree.members()) == 2, "the daemon and its child run")
        assert sorted(tree.members()) == sorted(marked(tree.identity))
    assert marked(tree.identity) == []
    assert not tree.guarded


def test_sigterm_comes_first_when_there_is_a_grace(tmp_path: Path) -> None:
    said_goodbye = tmp_path / "goodbye"
    polite = (
        "import signal, sys, time, pathlib\n"
        f"file = pathlib.Path({str(said_goodbye)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(file.write_text('x') - 1))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    with ProcessTree.guard(grace_seconds=DEADLINE_SECONDS) as tree:
        daemon = tree.start([sys.executable, "-c", polite], stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        daemon.stdout.readline()
    assert said_goodbye.exists()
    assert daemon.wait() == 0


def test_what_is_started_within_the_grace_is_asked_too(tmp_path: Path) -> None:
    said_goodbye = tmp_path / "goodbye"
    late = (
        "import signal, sys, time, pathlib\n"
        f"file = pathlib.Path({str(said_goodbye)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(file.write_text('x') - 1))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\n"
        "time.sleep(600)"
    )
    # The mask is inherited, so that a signal waits until the late one can take it.
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "def start(*_):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        f"    subprocess.Popen([sys.executable, '-c', {late!r}])\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, start)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    with ProcessTree.guard(grace_seconds=DEADLINE_SECONDS) as tree:
        daemon = tree.start([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        daemon.stdout.readline()
    assert said_goodbye.exists()
    assert daemon.wait() == 0


def test_when_the_supervisor_is_killed_the_guardian_ends_the_tree(scratch: Path) -> None:
    supervisor, identity, _ = start_and_read_identity(SUPERVISOR, str(scratch))
    assert len(marked(identity)) == 4
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not marked(identity), "the tree is gone")
    wait_until(lambda: not scratch.exists(), "the scratch folder is gone")


def test_when_the_guardian_is_killed_the_supervisor_knows_and_can_still_stop() -> None:
    with ProcessTree.guard() as tree:
        tree.start([sys.executable, "-c", DAEMON])
        wait_until(lambda: len(tree.members()) == 2, "the daemon and its child run")
        assert tree.guarded
        tree._guardian.kill()
        wait_until(lambda: not tree.guarded, "the death is noticed")
    assert marked(tree.identity) == []


@pytest.mark.parametrize("exits", [True, False])
def test_the_parents_death_ends_the_tree_if_asked(scratch: Path, exits: bool) -> None:
    parent, identity, supervisor = start_and_read_identity(PARENT, str(scratch), *(["exit"] if exits else []))
    parent.kill()
    parent.wait()
    if exits:
        wait_until(lambda: not marked(identity), "the tree is gone")
    else:
        assert len(marked(identity)) == 4
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not marked(identity), "the guardian of the killed supervisor ended the tree")


def test_a_parent_that_died_before_the_tree_was_asked_for_is_noticed(scratch: Path) -> None:
    parent, _, supervisor = start_and_read_identity(PARENT_OF.format(LATE_SUPERVISOR), str(scratch))
    parent.kill()
    parent.wait()
    wait_until(lambda: not runs(supervisor), "the supervisor has ended")
    assert (scratch / "said").read_text() == f"the process {parent.pid} that asked for this one is gone"


def test_the_command_follows_its_parent_while_it_imports() -> None:
    parent, _, command = start_and_read_identity(PARENT_OF.format(IMPORTING_COMMAND))
    parent.kill()
    parent.wait()
    wait_until(lambda: not runs(command), "the command has ended")


@pytest.mark.parametrize("pid", [os.getpid(), 1, (1 << 22) - 1, 1 << 40, 0, -1])
def test_only_the_parent_itself_is_followed(pid: int) -> None:
    script = f"from tier_local.processes import ProcessTree; ProcessTree.guard(exit_with_parent={pid})"
    # Started by a process between, so that even this test's own id is not the parent's.
    between = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    done = subprocess.run(
        [sys.executable, "-c", between], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    assert "ParentGone" in done.stderr


def test_an_outer_tree_ends_an_inner_one_with_its_supervisor(scratch: Path) -> None:
    with ProcessTree.guard() as outer:
        supervisor = outer.start(
            [sys.executable, "-c", SUPERVISOR, str(scratch)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
        )
        assert supervisor.stdout is not None
        inner = supervisor.stdout.readline().split()[0].decode()
        assert len(marked(inner)) == 4
    assert marked(inner) == []
    assert marked(outer.identity) == []
    assert supervisor.wait() == -signal.SIGKILL


def test_ending_the_inner_tree_spares_the_outer_one() -> None:
    with ProcessTree.guard() as outer:
        bystander = outer.start([sys.executable, "-c", "import time; time.sleep(600)"])
        with ProcessTree.guard() as inner:
            inner.start([sys.executable, "-c", "import time; time.sleep(600)"], env=outer.environment())
            wait_until(lambda: len(inner.members()) == 1, "the inner process runs")
            assert len(outer.members()) == 2
        assert outer.members() == [bystander.pid]


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert runs(process.pid)
    process.kill()
    wait_until(lambda: not runs(process.pid), "dead, although nobody has waited for it")
    process.wait()
    assert not runs(process.pid)
