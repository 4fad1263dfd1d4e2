"""``study``: can readers tell restored images from real ones? The page to ask them, and the score of their answers."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

__all__ = ["add_command"]

_MAKE = """\
Write a page that shows pairs of a real image and the one generated of it, side by side and in random order, and asks
which one is real. OUT.html is one file that works in any browser without a network: give it to readers. OUT.key.json
beside it says which images are real: keep it. An image in GENERATED has the name of its partner in REAL, perhaps with
_sr, _denoise or _inpaint at its end. Of volumes the middle slice is shown. Research only."""
_SCORE = """\
Score the answers that readers saved. The fool rate is the share of pairs in which the generated image was taken for
the real one: 0.5 means that a reader could not tell them apart, 0 that they always could."""
_HEAD = ("reader", "n", "fool rate", "95 % interval", "p (0.5)", "chose left", "median time")
# Argument of the function -> that of the command.
_NAMES = {"real": "REAL", "generated": "GENERATED", "out": "OUT", "num_pairs": "--pairs", "answers": "ANSWERS"}
_NAMES |= {name: f"--{name}" for name in ("seed", "title")}


def add_command(commands: Any) -> None:
    """Add ``study`` to the commands of an argument parser."""
    group = commands.add_parser("study", help="ask readers which of two images is real")
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    make = actions.add_parser("make", help="write the page and its key", description=_MAKE, formatter_class=raw)
    make.add_argument("real", metavar="REAL", help="folder of real images: PNG, JPEG, BMP, TIFF or NIfTI")
    make.add_argument("generated", metavar="GENERATED", help="folder of the images generated of them")
    make.add_argument("out", metavar="OUT", help="the page to write, ending in .html")
    make.add_argument("--pairs", type=int, metavar="N", help="how many pairs to draw (default: all)")
    make.add_argument(
        "--seed",
        type=int,
        help="draw the same pairs, sides and order again (default: a new one, which only the key tells; who knows the "
        "seed and the names of the images can work out which are real)",
    )
    make.add_argument("--title", default="Reader study", help='what the page is called (default: "Reader study")')
    make.add_argument("--overwrite", action="store_true", help="replace OUT and its key if they exist")
    score = actions.add_parser("score", help="score answers", description=_SCORE, formatter_class=raw)
    score.add_argument("key", metavar="KEY", help="OUT.key.json of the study")
    score.add_argument("answers", metavar="ANSWERS", nargs="+", help="what the page saved, a file for each reader")
    score.add_argument("--partial", action="store_true", help="score readers who did not answer every pair, too")
    score.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    score.add_argument("--json", metavar="OUT", help="write the scores to this file as well")
    score.add_argument("--overwrite", action="store_true", help="replace the file of --json if it exists")
    for parser, run in ((make, _make), (score, _score)):
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(run=run)


def _make(args: argparse.Namespace) -> int:
    from ..evaluation import key_path, make_study

    try:
        key = make_study(
            *(args.real, args.generated, args.out), args.pairs, args.seed, title=args.title, overwrite=args.overwrite
        )
    except (ValueError, OSError) as error:
        raise _in_words_of_the_command(error) from error
    print(f"study {key['study']}: {len(key['pairs'])} pairs")
    print(f"{args.out}: give it to readers")
    print(f"{key_path(args.out)}: says which images are real; keep it from them")
    return 0


def _score(args: argparse.Namespace) -> int:
    from ..evaluation import score_study
    from ..utils import write_json

    if args.json is not None and Path(args.json).exists() and not args.overwrite:
        raise FileExistsError(f"--json={args.json!r} exists; remove it, or give --overwrite.")
    try:
        score = score_study(args.key, args.answers, partial=args.partial, seed=args.seed)
    except ValueError as error:
        raise _in_words_of_the_command(error) from error
    if args.json is not None:
        write_json(dataclasses.asdict(score), args.json)
    print(_table(score))
    return 0


def _table(score: Any) -> str:
    rows = [
        (
            *(one.reader, str(one.answered), f"{one.fool_rate:.3f}", _interval(one.interval)),
            *(f"{one.p_value:.2g}", f"{one.left_rate:.2f}", f"{one.median_seconds:.1f} s"),
        )
        for one in score.readers
    ]
    all_, readers = score.pooled, len(score.readers)
    pooled = (str(all_.answered), f"{all_.fool_rate:.3f}", _interval(all_.interval), "", "")
    rows = [_HEAD, *rows, ("pooled", *pooled, f"{all_.median_seconds:.1f} s")]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    no_width = " It has no width, since all pairs were answered alike; trust the readers' own."
    notes = [
        "fool rate: share of pairs in which the generated image was taken for the real one; 0.5 is chance.",
        f"pooled interval: {all_.resamples} bootstrap resamples of the pairs, seed {all_.seed}."
        f"{no_width if all_.interval[0] == all_.interval[1] else ''}",
    ]
    head = f"{score.title}, study {score.study}: {score.pairs} pairs, {readers} reader{'s' if readers > 1 else ''}"
    return "\n".join([head, *lines, *notes])


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _in_words_of_the_command(error: ValueError | OSError) -> ValueError | OSError:
    """The error with the command's own name for an argument, where it begins with that of the function."""
    text = str(error)
    known = next((name for name in _NAMES if text.startswith(f"{name}=")), None)
    return error if known is None else type(error)(_NAMES[known] + text.removeprefix(known))
