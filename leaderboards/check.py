"""Review a pull request that adds results: ``python leaderboards/check.py PULLED [--out DIR]``.

PULLED is the folder ``leaderboards/results`` with the pull request; the one next to this file is without it. Each new
bundle is checked, clips of it are run again if predictor, data and weights are here or public, and the boards and the
report are built into DIR. The exit code is 1 if anything refuses the pull request.

Code of the pull request never runs: this file, vpbench and its plugins are those of this checkout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vpbench.errors import VpbenchError
from vpbench.output import say
from vpbench.pages.reported import load_reported
from vpbench.plugin.loader import load_plugins
from vpbench.submission.review import review

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Print the findings, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pulled", type=Path, metavar="PULLED")
    parser.add_argument("--accepted", type=Path, default=HERE / "results", metavar="DIR", help="results without it")
    parser.add_argument("--out", type=Path, default=Path("review"), metavar="DIR", help="folder of boards and report")
    parser.add_argument("--clips", type=_count, default=8, metavar="N", help="clips to run again")
    args = parser.parse_args()
    faults = 0
    try:
        tables = load_reported(HERE / "reported")
        for finding in review(args.pulled, args.accepted, load_plugins(), args.out, clips=args.clips, reported=tables):
            faults += finding.kind == "fault"
            say(f"{finding.kind}: {finding.subject}: {finding.text}")
    except (VpbenchError, OSError) as error:
        say(f"fault: {error}")
        return 1
    return 1 if faults else 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of clips: at least 1 is run again")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
