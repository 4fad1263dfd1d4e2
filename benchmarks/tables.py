"""Tables and figure of raw results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["bridge_table", "draw", "exact_tables", "fill", "markdown", "network_tables", "overhead_table"]

PEER_WORDS = ("MONAI", "diffusers")


def is_peer(sampler: str) -> bool:
    """Whether a row belongs to another library."""
    return sampler.startswith(PEER_WORDS)


def exact_tables(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """Error by sampler and calls, one table for each mixture, with the best peer of each column."""
    for mixture, rows in results.items():
        calls = list(next(iter(rows.values())))
        peers, ours = ([row for name, row in rows.items() if is_peer(name) is kind] for kind in (True, False))
        best = [min(row[n] for row in peers) for n in calls]
        shown = [[name, *(f"{row[n]:.5f}" for n in calls)] for name, row in rows.items()]
        shown.append(["best peer / best of ours", *(f"{b / min(r[n] for r in ours):.2f}" for b, n in zip(best, calls))])
        default = rows[next(name for name in rows if "default" in name)]
        shown.append(["best peer / our default", *(f"{b / default[n]:.2f}" for b, n in zip(best, calls))])
        yield f"Exact model, {mixture}: Wasserstein-1 error\n\n" + markdown(["sampler", *calls], shown)


def network_tables(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """One table for each metric; the last rows are the best of a column."""
    calls = sorted({n for row in results.values() for n in row if n != "0"}, key=int)
    degraded = results["degraded input"]["0"]
    samplers = {name: row for name, row in results.items() if name != "degraded input"}
    for metric, digits in (("psnr", 2), ("ssim", 4), ("acutance_ratio", 2)):
        shown = [
            [name, *(f"{row[n][metric]:.{digits}f}" if n in row else "" for n in calls)]
            for name, row in samplers.items()
        ]
        if metric != "acutance_ratio":
            for label, kind in (("best peer", True), ("best of ours", False)):
                rows = [row for name, row in samplers.items() if is_peer(name) is kind]
                shown.append([label, *(_best(rows, n, metric, digits) for n in calls)])
        yield f"Trained network: {metric} (degraded input {degraded[metric]:.{digits}f})\n\n" + markdown(
            ["sampler", *calls], shown
        )


def bridge_table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """PSNR, SSIM and acutance ratio in one cell, by sampler and calls."""
    samplers = {name: row for name, row in results.items() if name != "degraded input"}
    calls = list(next(iter(samplers.values())))
    rows = [
        [name, *(f"{row[n]['psnr']:.2f} / {row[n]['ssim']:.3f} / {row[n]['acutance_ratio']:.2f}" for n in calls)]
        for name, row in samplers.items()
    ]
    return "Bridge: PSNR / SSIM / acutance ratio\n\n" + markdown(["sampler", *calls], rows)


def overhead_table(results: Mapping[str, float]) -> str:
    """Milliseconds per step, and the ratio to MONAI's DDIM."""
    reference = results["MONAI DDIM"]
    rows = [[name, f"{ms:.3f}", f"{ms / reference:.2f}"] for name, ms in results.items()]
    return "Overhead of a step\n\n" + markdown(["sampler", "ms per step", "ratio to MONAI DDIM"], rows)


def fill(page: str, tables: Sequence[str]) -> str:
    """A Markdown page with each table put below its mark, ``<!-- table N -->``, in the place of what stood there."""
    for number, table in enumerate(tables, start=1):
        body = table.split("\n\n", maxsplit=1)[1]
        page = re.sub(rf"(<!-- table {number} -->\n)(\|.*\n)*", lambda match: f"{match[1]}{body}\n", page)
    return page


def draw(exact: Mapping[str, Any], network: Mapping[str, Any], path: Path) -> None:
    """Error against calls, and on real slices PSNR against calls and against sharpness."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(16, 5.2), constrained_layout=True)
    anchor = next(iter(exact.values()))
    calls = [int(n) for n in next(iter(anchor.values()))]
    for name, row in anchor.items():
        if not name.startswith("MONAI"):
            left.loglog(calls, list(row.values()), label=name, **_style(name))
    left.set(title="Exact model: error of the sampler alone", xlabel="network calls", ylabel="Wasserstein-1 distance")
    for name in _DRAWN:
        few = {int(n): score for n, score in network[name].items() if int(n) <= 20}
        psnr = [score["psnr"] for score in few.values()]
        middle.semilogx(list(few), psnr, label=name, **_style(name))
        right.plot([score["acutance_ratio"] for score in few.values()], psnr, label=name, **_style(name))
    middle.set(title="Trained network, real slices", xlabel="network calls", ylabel="PSNR in dB")
    right.set(title="The same, against sharpness", xlabel="acutance, restored / original", ylabel="PSNR in dB")
    right.axvline(1, color="0.7", linewidth=1, zorder=0)
    ticks = [1, 2, 3, 5, 10, 20]
    middle.set_xticks(ticks, [str(n) for n in ticks], minor=False)
    middle.minorticks_off()
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left")
    left.set_ylim(bottom=1e-7)  # room for the legend
    left.minorticks_off()
    left.set_xticks(calls, [str(n) for n in calls])
    figure.savefig(path, dpi=110)


# Of the rows on real slices; all of them would hide one another.
_DRAWN = ["diffusers DDIM trailing", "diffusers DPM++ 2 log-SNR", "diffusers SDE-DPM++ 2 log-SNR"]
_DRAWN += ["diffusers UniPC 2 log-SNR", "DDPM fixed_small", "DDIM", "DDIM log-SNR", "SDE-DPM++ 2", "UniPC 3"]
_COLOURS = {"DDPM": "C7", "DDIM": "C0", "SDE": "C1", "DPM": "C2", "UniPC": "C3"}


def _style(name: str) -> dict[str, Any]:
    family = next(word for word in ("SDE", "DDPM", "DDIM", "DPM", "UniPC") if word in name)
    order = "s" if "3" in name else "o"
    if name == "DDIM log-SNR":
        return {"color": "C9", "marker": order, "markersize": 4}
    style = {"color": _COLOURS[family], "marker": order, "markersize": 4}
    return {**style, "linestyle": "--", "markerfacecolor": "none"} if is_peer(name) else style


def _best(rows: Sequence[Mapping[str, Mapping[str, float]]], calls: str, metric: str, digits: int) -> str:
    values = [row[calls][metric] for row in rows if calls in row]
    return f"{max(values):.{digits}f}" if values else ""


def markdown(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
