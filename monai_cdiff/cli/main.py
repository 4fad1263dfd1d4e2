"""Which commands there are, and how errors are shown."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from . import bundle, dicom, evaluate, report, restore, study
from .errors import FAILURE, WRONG_INPUT, CommandError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: its words; default: those of the command line.

    Returns:
        0 when it did its work, 2 for wrong arguments or input, 1 for every other failure.

    Example:
        >>> main(["dicom", "scan", "/nowhere"])
        2
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    _log_warnings()
    try:
        return int(args.run(args))
    except CommandError as error:
        return _report(error.cause, error.code, args.debug)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return FAILURE
    except (OSError, ValueError) as error:
        return _report(error, WRONG_INPUT, args.debug)
    except Exception as error:
        return _report(error, FAILURE, args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_cdiff",
        description="Restore medical images by conditional diffusion. Research software, not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"monai_cdiff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    restore.add_command(commands)
    dicom.add_command(commands)
    bundle.add_command(commands)
    evaluate.add_command(commands)
    report.add_command(commands)
    study.add_command(commands)
    return parser


def _report(error: BaseException, code: int, debug: bool) -> int:
    if debug:
        raise error
    print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
    return code


def _log_warnings() -> None:
    """Warnings as lines of their own, without those of libraries about what they lack."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.name.split(".")[0] == "monai_cdiff")
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
