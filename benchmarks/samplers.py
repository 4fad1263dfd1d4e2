"""Samplers beside their peers: ``python -m benchmarks.samplers`` prints the tables that docs/samplers.md is made of.

The tables come from the raw results in ``benchmarks/results``. ``--measure exact|overhead|network`` measures a part
again, on this machine, and writes its results first; ``--figure FILE`` draws them. From the root of the repository::

    python -m benchmarks.samplers --measure exact
    python -m benchmarks.samplers --measure network --datalist SPLIT.json --whole_chain 2000
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.exact_model import CALLS, MIXTURES, sampling_error
from benchmarks.overhead import measure_overhead
from benchmarks.sampler_list import ON_NETWORK, ON_WHOLE_CHAIN, OURS, PEERS, run
from benchmarks.tables import draw, exact_tables, network_tables, overhead_table
from benchmarks.trained_network import RestorationTask

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NETWORK_CALLS = [1, 2, 3, 5, 10, 20]


def measure_exact(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wasserstein-1 distance by mixture, sampler and calls."""
    return {
        name: {
            sampler: {n: sampling_error(lambda net, start: run(make(), n, net, start), mixture) for n in CALLS}
            for sampler, make in {**PEERS, **OURS}.items()
        }
        for name, mixture in MIXTURES.items()
    }


def measure_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """PSNR, SSIM and acutance ratio by sampler and calls; 0 calls are the degraded input."""
    if arguments.datalist is None:
        raise SystemExit("--measure network needs --datalist FILE, a datalist JSON whose test list names one patient.")
    task = RestorationTask(arguments.checkpoint, arguments.datalist)
    rows: dict[str, Any] = {"degraded input": {0: task.score(task.condition)}}
    for name, make in ON_NETWORK.items():
        calls = [*NETWORK_CALLS, *([arguments.whole_chain] if name in ON_WHOLE_CHAIN and arguments.whole_chain else [])]
        rows[name] = {n: task.score(task.restore(make(), n)) for n in calls}
        print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
    return rows


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "exact": measure_exact,
    "overhead": lambda arguments: measure_overhead(),
    "network": measure_network,
}


def save(part: str, results: dict[str, Any]) -> None:
    """Write the raw results of a part with what made them."""
    content = {
        "command": shlex.join(["python", "-m", "benchmarks.samplers", *sys.argv[1:]]),
        "versions": {name: version(name) for name in ("torch", "monai", "diffusers", "numpy")},
        "threads": torch.get_num_threads(),
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")


def load(part: str) -> Any:
    """The raw results of a part."""
    return json.loads((RESULTS / f"{part}.json").read_text())["results"]


def main() -> None:
    """Measure what is asked for, then print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=__doc__.split("\n")[0])
    parser.add_argument("--measure", nargs="+", choices=list(MEASURES), default=[], help="parts to measure again")
    parser.add_argument("--checkpoint", default=str(ROOT / "bundles/sr/models/model.pt"), help="for 'network'")
    parser.add_argument("--datalist", help="for 'network': datalist JSON with one test patient")
    parser.add_argument("--whole_chain", type=int, help="for 'network': calls of the whole chain, 2000; takes an hour")
    parser.add_argument("--figure", type=Path, help="draw the results to this file")
    arguments = parser.parse_args()
    for part in arguments.measure:
        save(part, MEASURES[part](arguments))
    exact, network = load("exact"), load("network")
    print("\n\n".join([*exact_tables(exact), *network_tables(network), overhead_table(load("overhead"))]))
    if arguments.figure is not None:
        draw(exact, network, arguments.figure)


if __name__ == "__main__":
    main()
