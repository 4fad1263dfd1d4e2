"""Samplers beside their peers: ``python -m benchmarks.samplers`` prints the tables of docs/samplers.md.

The tables come from the raw results in ``benchmarks/results``. ``--measure exact|overhead|network`` measures a part
again, on this machine, and writes its results first; ``--page`` puts tables and figure into the page. From the root of
the repository::

    python -m benchmarks.samplers --measure exact overhead --page
    python -m benchmarks.samplers --measure network --datalist SPLIT.json
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
from benchmarks.sampler_list import BESIDE_BRIDGE, ON_BRIDGE, ON_NETWORK, OURS, PEERS, run
from benchmarks.tables import bridge_table, draw, exact_tables, fill, network_tables, overhead_table
from benchmarks.trained_network import RestorationTask

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "samplers.md"
RESULTS = ROOT / "benchmarks" / "results"
BRIDGE_CALLS = [1, 2, 3, 5]
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


def measure_bridge(arguments: argparse.Namespace) -> dict[str, Any]:
    """PSNR, SSIM and acutance ratio of a bridge and of a diffusion trained alike, for few calls."""
    if None in (arguments.datalist, arguments.bridge, arguments.diffusion):
        raise SystemExit("--measure bridge needs --datalist FILE, --bridge FILE and --diffusion FILE, two checkpoints.")
    rows: dict[str, Any] = {}
    for checkpoint, makers in ((arguments.bridge, ON_BRIDGE), (arguments.diffusion, BESIDE_BRIDGE)):
        task = RestorationTask(checkpoint, arguments.datalist)
        rows["degraded input"] = {"0": task.score(task.condition)}
        for name, make in makers.items():
            rows[name] = {str(n): task.score(task.restore(make(), n)) for n in BRIDGE_CALLS}
    return rows


def measure_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """PSNR, SSIM and acutance ratio by sampler and calls; 0 calls are the degraded input."""
    if arguments.datalist is None:
        raise SystemExit("--measure network needs --datalist FILE, a datalist JSON whose test list names one patient.")
    task = RestorationTask(arguments.checkpoint, arguments.datalist)
    rows: dict[str, Any] = {"degraded input": {"0": task.score(task.condition)}}
    if arguments.samplers:
        rows = load("network")
    for name in arguments.samplers or ON_NETWORK:
        scores = {str(n): task.score(task.restore(ON_NETWORK[name](), n)) for n in arguments.calls}
        rows[name] = {**rows.get(name, {}), **scores}
        print(name, json.dumps(scores), file=sys.stderr, flush=True)
    return rows


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "exact": measure_exact,
    "overhead": lambda arguments: measure_overhead(),
    "network": measure_network,
    "bridge": measure_bridge,
}


def save(part: str, results: dict[str, Any]) -> None:
    """Write the raw results of a part with what made them."""
    content = {
        "command": shlex.join(["python", "-m", "benchmarks.samplers", *(Path(word).name for word in sys.argv[1:])]),
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
    parser.add_argument("--bridge", help="for 'bridge': checkpoint of a training with bridge.json")
    parser.add_argument("--diffusion", help="for 'bridge': checkpoint of the same training without it")
    parser.add_argument("--samplers", nargs="+", choices=list(ON_NETWORK), help="for 'network': add to these rows only")
    parser.add_argument("--calls", nargs="+", type=int, default=NETWORK_CALLS, help="for 'network'; 2000 take an hour")
    parser.add_argument("--page", action="store_true", help="write tables and figure into docs/")
    arguments = parser.parse_args()
    for part in arguments.measure:
        save(part, MEASURES[part](arguments))
    exact, network = load("exact"), load("network")
    tables = [*exact_tables(exact), *network_tables(network)]
    tables += [overhead_table(load("overhead")), bridge_table(load("bridge"))]
    print("\n\n".join(tables))
    if arguments.page:
        draw(exact, network, PAGE.parent / "images" / "samplers.png")
        PAGE.write_text(fill(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()
