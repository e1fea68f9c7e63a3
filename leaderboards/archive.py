"""Copy finished results into ``leaderboards/results``: ``python leaderboards/archive.py [--add] RESULTS``.

They are written as ``vpbench submit`` writes them, and a bundle keeps its card. A copied result replaces earlier
results of the same predictor and preset on the same protocol. With ``--add``, it stands next to them, as for another
seed or budget of a training. ``make leaderboards RESULTS=DIR`` also updates the pages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vpbench.errors import VpbenchError
from vpbench.submission.bundle import archive_results

ARCHIVE = Path(__file__).with_name("results")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", action="store_true", help="keep earlier results of the same predictor and preset")
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS")
    args = parser.parse_args()
    try:
        for copied in archive_results(args.results, ARCHIVE, add=args.add):
            sys.stdout.write(f"{copied}\n")
    except VpbenchError as error:
        sys.exit(f"archive: {error}")
