"""What a starting hub does not do: import what it does not need, and look for garbage in what stays."""

import gc
import subprocess
import sys

from orchestrator.start_up import uncollected

HEAVY = ("web3", "eth_account", "py_ecc", "alembic", "opentelemetry", "torch", "flwr", "nvflare")


def test_the_application_imports_nothing_heavy() -> None:
    code = f"import sys, orchestrator.app; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_made_at_the_start_is_never_looked_at_again() -> None:
    code = (
        "import gc\n"
        "from orchestrator.start_up import uncollected\n"
        "before = gc.get_freeze_count()\n"
        "with uncollected():\n"
        "    assert not gc.isenabled()\n"
        "    made = [[] for _ in range(5000)]\n"
        "print(gc.isenabled(), gc.get_freeze_count() - before > 5000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_an_error_at_the_start_leaves_the_collector_on() -> None:
    try:
        with uncollected():
            raise ValueError("no such setting")
    except ValueError:
        assert gc.isenabled()
    finally:
        gc.unfreeze()
