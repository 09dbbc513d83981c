"""Runs benchmarks one after the other, prints their rows, and writes var/bench/NAME.json for each."""

import argparse
import importlib
import json
import pkgutil
import sys
from dataclasses import asdict
from pathlib import Path

import tests.bench
from tests.bench._rows import Row

OUTPUT = Path("var/bench")


def main() -> int:
    """Run what was asked for; 1 if a target was missed."""
    modules = [module.name for module in pkgutil.iter_modules(tests.bench.__path__)]
    known = [name for name in modules if not name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="measure, and write the rows")
    parser.add_argument("--only", default="", help=f"some of {','.join(known)}, with commas between them")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for NAME.json")
    arguments = parser.parse_args()
    names = [name for name in arguments.only.split(",") if name] or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(known)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    met = True
    for name in names:
        rows: list[Row] = importlib.import_module(f"tests.bench.{name}").run()
        for row in rows:
            sys.stdout.write(f"{row}\n")
        text = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)
        (arguments.output / f"{name}.json").write_text(text + "\n")
        met = met and all(row.met for row in rows)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
