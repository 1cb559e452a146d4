"""Judges the public implementations and writes docs/peers.html and docs/peers.md: ``make peers``.

``python -m studies.peers [NAME ...] [--checkout NAME:PATH ...] [--page]``, from the root of the repository.
Without names all are judged; ``--page`` judges none and draws the pages anew from the results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from multiprocessing.pool import ThreadPool

from studies.peers.catalogue import PEERS, RESULTS, ROOT, Peer, find
from studies.peers.environment import find_error, make_environment
from studies.peers.page import read_results, write_page
from studies.peers.tables import write_tables

PAGE = ROOT / "docs" / "peers.html"
LIMIT = 1800.0
"""How many seconds the judging of an implementation may take."""
PLACES = ("properties", "reference", "benchmarks/timing", "clients/python", ".")


def judge_in_environment(peer: Peer, path: str = "") -> str:
    """Judges a peer in its environment; returns why it was not judged, empty if it was."""
    if peer.checkout and not path:
        return "not tried: it comes from a checkout, and none was given"
    if not peer.peer and not peer.adapter.is_file():
        return "not tried"
    try:
        python = sys.executable if peer.peer else str(make_environment(peer))
        python = sys.executable if peer.client else python
    except ValueError as error:
        return str(error)
    line = [python, "-m", "studies.peers.judge", peer.name, *([path] if path else [])]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = os.pathsep.join([str(ROOT / place) for place in PLACES] + [place for place in known if place])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    try:
        ran = subprocess.run(
            line, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return f"was not judged within {LIMIT:g} seconds"
    return "" if ran.returncode == 0 else f"does not load: {find_error(ran.stderr)}"


def judge_all(names: list[str], checkouts: dict[str, str]) -> None:
    """Judges implementations, two at a time, and keeps why one was not judged."""

    def judge_one(peer: Peer) -> None:
        path = checkouts.get(peer.name, "")
        if peer.checkout and not path:
            return  # what was found before stays
        if reason := judge_in_environment(peer, path):
            print(f"{peer.name}: {reason}", flush=True)
            told = {"name": peer.name, "package": peer.package, "absent": reason.replace(str(ROOT), ".")}
            peer.result.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")

    with ThreadPool(2) as pool:
        pool.map(judge_one, list(map(find, names or [peer.name for peer in PEERS])), chunksize=1)


def main() -> None:
    """Judges what is asked and writes the pages."""
    parser = argparse.ArgumentParser(prog="python -m studies.peers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--checkout", action="append", default=[], metavar="NAME:PATH")
    parser.add_argument("--page", action="store_true", help="draw the pages from the results, and judge none")
    args = parser.parse_args()
    try:
        if not args.page:
            judge_all(args.names, dict(word.split(":", 1) for word in args.checkout))
    except ValueError as error:
        parser.error(str(error))
    results = read_results(RESULTS)
    PAGE.write_text(write_page(results), "utf-8")
    write_tables(results)
    print(f"wrote {PAGE.relative_to(ROOT)} and what swin-oracle's own peers have in docs/peers.md")


if __name__ == "__main__":
    main()
