"""``python -m tier_local``."""

import sys

from tier_local.cli import main

if __name__ == "__main__":
    sys.exit(main())
