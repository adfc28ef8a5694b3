"""Metrics for Prometheus: counts from the rows, and counters of this process.

Labels have a bounded set of values: no ids, no names, and nothing that an agent can choose.
"""

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.money import to_usd
from agentcontainer_local.process import build
from agentcontainer_local.store.db import Database, Row, iso, parse_iso, path, reading, rows, single

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
CALL_SECONDS = (1, 2.5, 5, 10, 30, 60, 300)
START_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 120, 600)
TASK_SECONDS = (10, 60, 300, 900, 3600, 14400, 86400)


class Requests:
    """Counts answered requests by method and status class, with the time to the answer's head."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks the type
        self.registry = CollectorRegistry()
        self._answered = Counter(
            "agentcontainer_http_requests", "Answered requests.", ["method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "agentcontainer_http_request_duration_seconds",
            "Time to the head of the answer.",
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        Info("agentcontainer", "Version.", registry=self.registry).info({"version": build.version()})
        ProcessCollector(registry=self.registry)

    def count(self, method: str, status: int, seconds: float) -> None:
        self._answered.labels(method if method in METHODS else "other", f"{status // 100}xx").inc()
        self._seconds.observe(seconds)


class _Once:
    """A collector with values that were counted before."""

    def __init__(self, found: list[Metric]):
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


async def text(host: Host, requests: Requests) -> str:
    """The metrics in the exposition format 0.0.4."""
    counted = await asyncio.to_thread(_counted, path(host.db), iso(host.now())[:7])
    registry = CollectorRegistry()
    registry.register(_Once([*_of_tasks(host, counted), *_of_models(counted), *_of_account(counted), *_of_disks(host)]))
    return (generate_latest(registry) + generate_latest(requests.registry)).decode()


# Counting takes longer the more rows there are, so it is done in a thread.

PROVIDER = "CASE WHEN model = 'scripted' THEN 'scripted' ELSE provider END"
CALLS = f"""
SELECT {PROVIDER} AS provider, count(*) AS calls, total(input_tokens) AS input, total(output_tokens) AS output,
  total(cache_read_tokens) AS cache_read, total(cache_write_tokens) AS cache_write, total(cost_microusd) AS microusd
FROM model_calls GROUP BY 1"""
FAILURES = f"SELECT {PROVIDER} AS provider, status, count(*) AS n FROM model_calls WHERE status >= 400 GROUP BY 1, 2"
CALL_TIMES = f"""
SELECT {PROVIDER} AS label, (julianday(ended_at) - julianday(created_at)) * 86400 AS seconds
FROM model_calls WHERE ended_at IS NOT NULL"""
START_TIMES = """
SELECT '' AS label, (julianday(started_at) - julianday(created_at)) * 86400 AS seconds
FROM tasks WHERE started_at IS NOT NULL"""
TASK_TIMES = """
SELECT status AS label, (julianday(completed_at) - julianday(started_at)) * 86400 AS seconds
FROM tasks WHERE completed_at IS NOT NULL AND started_at IS NOT NULL"""
BUDGET = """
SELECT total(max_cost_microusd) AS max_microusd, total(microusd) AS used_microusd,
  total(balance_microusd) AS credit_microusd
FROM accounts LEFT JOIN spending ON account_id = accounts.id AND month = ?"""


def _counted(path: str, month: str) -> Row:
    with reading(path) as db:
        statuses = rows(db, "SELECT status, count(*) AS n FROM tasks GROUP BY status")
        return {
            "statuses": {found["status"]: found["n"] for found in statuses},
            "calls": rows(db, CALLS),
            "failures": rows(db, FAILURES),
            "call_times": _histogram(db, CALL_TIMES, CALL_SECONDS),
            "start_times": _histogram(db, START_TIMES, START_SECONDS),
            "task_times": _histogram(db, TASK_TIMES, TASK_SECONDS),
            **single(db, BUDGET, (month,)),
            **single(db, "SELECT count(*) AS runs, count(*) - count(ended_at) AS at_work FROM runs"),
            **single(db, "SELECT total(used_ms) / 1000 AS seconds, total(kept_bytes) AS kept_bytes FROM tasks"),
            **single(db, "SELECT min(created_at) AS oldest FROM tasks WHERE status = 'pending'"),
            **single(db, "SELECT count(*) AS files, total(size_bytes) AS bytes FROM files"),
        }


def _histogram(db: Database, times: str, bounds: Sequence[float]) -> list[Row]:
    """Histograms by label. `times`: a query of label and seconds. Each row has the count within each bound, the sum and
    the total."""
    within = "".join(f"count(*) FILTER (WHERE seconds <= ?) AS b{at}, " for at in range(len(bounds)))
    return rows(
        db,
        f"SELECT label, {within} total(seconds) AS seconds, count(*) AS n FROM ({times}) GROUP BY label",
        tuple(bounds),
    )


def _histogram_of(name: str, about: str, label: str, bounds: Sequence[float], found: list[Row]) -> Metric:
    family = HistogramMetricFamily(name, about, labels=[label] if label else [])
    for one in found or ([] if label else [{"n": 0, "seconds": 0, **{f"b{at}": 0 for at in range(len(bounds))}}]):
        buckets = [(f"{bound:g}", one[f"b{at}"]) for at, bound in enumerate(bounds)] + [("+Inf", one["n"])]
        family.add_metric([one["label"]] if label else [], buckets, one["seconds"])
    return family


def _labelled(
    family: CounterMetricFamily | GaugeMetricFamily, values: dict[tuple[str, ...], float]
) -> CounterMetricFamily | GaugeMetricFamily:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _of_tasks(host: Host, counted: Row) -> Iterator[Metric]:
    oldest = counted["oldest"]
    waited = (host.now() - parse_iso(oldest)).total_seconds() if oldest else 0
    yield _labelled(
        GaugeMetricFamily("agentcontainer_tasks", "Tasks by status.", labels=["status"]),
        {(status,): counted["statuses"].get(status, 0) for status in lifecycle.STATUSES},
    )
    yield GaugeMetricFamily("agentcontainer_pending_age_seconds", "Age of the first task in the queue.", max(0, waited))
    yield GaugeMetricFamily("agentcontainer_runs", "Running containers.", counted["at_work"])
    yield GaugeMetricFamily("agentcontainer_guests", "Running containers that are connected.", len(host.followed))
    yield GaugeMetricFamily("agentcontainer_runs_max", "Maximum of running containers.", host.settings.max_running)
    yield CounterMetricFamily("agentcontainer_runs", "Started containers.", counted["runs"])
    yield CounterMetricFamily(
        "agentcontainer_container_seconds",
        "Container time of tasks, without the time since they last started.",
        counted["seconds"],
    )
    yield _histogram_of(
        "agentcontainer_task_start_seconds",
        "Time from a task's creation to its first start.",
        "",
        START_SECONDS,
        counted["start_times"],
    )
    yield _histogram_of(
        "agentcontainer_task_duration_seconds",
        "Time from a task's first start to its end.",
        "status",
        TASK_SECONDS,
        counted["task_times"],
    )


def _of_models(counted: Row) -> Iterator[Metric]:
    calls, label = counted["calls"], ["provider"]
    yield _labelled(
        CounterMetricFamily("agentcontainer_model_calls", "Model calls.", labels=label),
        {(one["provider"],): one["calls"] for one in calls},
    )
    yield _labelled(
        CounterMetricFamily("agentcontainer_model_call_failures", "Failed model calls.", labels=["provider", "status"]),
        {(one["provider"], str(one["status"])): one["n"] for one in counted["failures"]},
    )
    yield _labelled(
        CounterMetricFamily("agentcontainer_model_cost_usd", "Cost of model calls in US dollars.", labels=label),
        {(one["provider"],): to_usd(one["microusd"]) for one in calls},
    )
    yield _labelled(
        CounterMetricFamily("agentcontainer_model_tokens", "Tokens, as reported.", labels=["provider", "kind"]),
        {
            (one["provider"], kind): one[kind]
            for one in calls
            for kind in ("input", "output", "cache_read", "cache_write")
        },
    )
    yield _histogram_of(
        "agentcontainer_model_call_duration_seconds",
        "Time from a model call's start to its end.",
        "provider",
        CALL_SECONDS,
        counted["call_times"],
    )


def _of_account(counted: Row) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "agentcontainer_budget_used_usd",
        "Cost of this month's model calls in US dollars, running calls at their maximum.",
        to_usd(counted["used_microusd"]),
    )
    if counted["max_microusd"]:
        yield GaugeMetricFamily(
            "agentcontainer_budget_max_usd", "This month's budget in US dollars.", to_usd(counted["max_microusd"])
        )
    yield GaugeMetricFamily(
        "agentcontainer_credit_usd", "Credit balance in US dollars.", to_usd(counted["credit_microusd"])
    )
    yield GaugeMetricFamily("agentcontainer_files", "Stored files.", counted["files"])
    yield GaugeMetricFamily("agentcontainer_files_bytes", "Size of stored files.", counted["bytes"])
    yield GaugeMetricFamily("agentcontainer_workspaces_bytes", "Size of kept workspaces.", counted["kept_bytes"])


def _of_disks(host: Host) -> Iterator[Metric]:
    """The disks of the data directory and of runs."""
    size = GaugeMetricFamily("agentcontainer_disk_size_bytes", "Size of the file system.", labels=["place"])
    free = GaugeMetricFamily("agentcontainer_disk_free_bytes", "Free space for the account.", labels=["place"])
    for name, disk in host.disks.items():
        size.add_metric([name], disk.size_bytes)
        free.add_metric([name], disk.free_bytes)
    yield from (size, free)
