"""``python -m tier_local``."""

import argparse
import sys

from tier_local.processes import ParentGone, follow_parent


def _follow_parent() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--exit-with-parent", type=int)
    parent: int | None = parser.parse_known_args()[0].exit_with_parent
    if parent is None:
        return
    try:
        follow_parent(parent)
    except ParentGone as gone:
        sys.exit(f"tier_local: {gone}")


if __name__ == "__main__":
    # Before the imports of the rest, which take a second: a parent that dies meanwhile leaves no orphan.
    _follow_parent()
    from tier_local.cli import main

    sys.exit(main())
