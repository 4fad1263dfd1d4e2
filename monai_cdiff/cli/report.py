"""``report``: tables, figures and page of results that an evaluation left, made anew."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_command"]

_DESCRIPTION = """\
Write tables.md, tables.csv, figures and report.html anew from the results.json that evaluate left in each OUT; nothing
is restored or measured. The figures need the images that evaluate left beside it: without them, ask for --tables.
The same results give the same bytes."""


def add_command(commands: Any) -> None:
    """Add ``report`` to the commands of an argument parser."""
    parser = commands.add_parser(
        "report",
        help="tables, figures and page of results, made anew",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", nargs="+", help="folder that evaluate wrote")
    parser.add_argument("--tables", action="store_true", help="write tables.md and tables.csv only")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from ..evaluation import read_results, write_report, write_tables

    for folder in args.out:
        read_results(folder)  # a wrong folder is found before one is written
    for folder in args.out:
        print(*(str(path) for path in (write_tables if args.tables else write_report)(folder)), sep="\n")
    return 0
