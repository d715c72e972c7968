"""How does it look? Latency over backlog, throughput over workers, and how latencies are distributed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from ssq_stress.bench.raw import SHORT
from ssq_stress.bench.series import Results, Series

WIDTH, HEIGHT = 420, 280
SCALE = 2.0
SHOWN_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)


def draw(results: Results, folder: Path) -> list[Path]:
    """Write each plot as SVG and PNG, and return the files. Raises `ImportError`: it needs an extra."""
    import altair as alt  # noqa: PLC0415 - slow to load, and an extra

    plots = {
        "latency-over-backlog": _latency_over_backlog(alt, results),
        "throughput-over-workers": _throughput_over_workers(alt, results),
        "latency-distribution": _distribution(alt, results),
    }
    written = []
    for name, chart in plots.items():
        for path in (folder / f"{name}.svg", folder / f"{name}.png"):
            chart.save(str(path), scale_factor=SCALE)
            written.append(path)
    return written


def _latency_over_backlog(alt: Any, results: Results) -> Any:
    rows = [
        _row(series) | {"percentile": name, "ms": getattr(series.median.claim, f"{name}_ms")}
        for series in results.series
        for name in ("p50", "p95")
    ]
    return (
        alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT)
        .mark_line(point=True)
        .encode(
            x=alt.X("backlog:Q", scale=alt.Scale(type="log"), title="backlog (jobs)"),
            y=alt.Y("ms:Q", scale=alt.Scale(type="log"), title="claim latency (ms)"),
            color=alt.Color("queue:N", title="queue"),
            strokeDash=alt.StrokeDash("percentile:N", title=None, legend=alt.Legend(symbolType="stroke")),
            detail="workers:N",
        )
        .properties(title="Claim latency over backlog")
    )


def _throughput_over_workers(alt: Any, results: Results) -> Any:
    rows = [_row(series) | {"throughput": series.median.jobs_min} for series in results.series]
    return (
        alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT)
        .mark_line(point=True)
        .encode(
            x=alt.X("workers:Q", title="workers", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("throughput:Q", scale=alt.Scale(type="log"), title="jobs/min"),
            color=alt.Color("queue:N", title="queue"),
            strokeDash=alt.StrokeDash("backlog:N", title="backlog", legend=alt.Legend(symbolType="stroke")),
        )
        .properties(title="Throughput over workers")
    )


def _distribution(alt: Any, results: Results) -> Any:
    last = results.series[-1]
    shown = [
        series
        for series in results.series
        if (series.backlog, series.workers) == (last.backlog, last.workers)
    ]
    rows = [_row(series) | point for series in shown for point in _points(series)]
    return (
        alt.Chart(alt.Data(values=rows), width=WIDTH, height=HEIGHT)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("beyond:Q", scale=alt.Scale(type="log", reverse=True), title="share of slower claims"),
            y=alt.Y("ms:Q", scale=alt.Scale(type="log"), title="claim latency (ms)"),
            color=alt.Color("queue:N", title="queue"),
        )
        .properties(title=f"Claim latency, backlog {last.backlog:,}, {last.workers} workers")
    )


def _points(series: Series) -> Iterator[dict[str, float]]:
    histogram = HdrHistogram.decode(series.median.histogram)
    for percentile in SHOWN_PERCENTILES:
        yield {"beyond": 1 - percentile / 100, "ms": histogram.get_value_at_percentile(percentile) / 1e6}


def _row(series: Series) -> dict[str, Any]:
    name, batch = SHORT.get(series.subject, series.subject), series.median.batch
    queue = name if batch == 1 else f"{name}, {batch} a call"
    return {"queue": queue, "backlog": series.backlog, "workers": str(series.workers)}
