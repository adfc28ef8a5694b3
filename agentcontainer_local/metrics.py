"""What an operator's Prometheus reads: counts out of the rows, and what the process itself counts.

No label has an unbounded set of values: no ids, no names, nothing that an agent chose.
"""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

from agentcontainer_local import __version__, lifecycle
from agentcontainer_local.db import Row, parse_iso, path, reading, row, rows
from agentcontainer_local.host import Host

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)


class Requests:
    """How many requests were answered, by method and class of status, and how long the answer's head took."""

    def __init__(self) -> None:
        self.began = time.time()
        self.answered: Counter[tuple[str, str]] = Counter()
        self.within: Counter[float] = Counter()
        self.seconds = 0.0

    def count(self, method: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        self.answered[known, f"{status // 100}xx"] += 1
        self.seconds += seconds
        for bucket in REQUEST_BUCKETS:
            if seconds <= bucket:
                self.within[bucket] += 1
                break


async def text(host: Host, requests: Requests) -> str:
    """The exposition format 0.0.4."""
    counted = await asyncio.to_thread(_counted, path(host.db))
    return "".join(f"# HELP {name} {about}\n# TYPE {name} {kind}\n" + "".join(f"{line}\n" for line in lines)
                   for name, kind, about, lines in (
                       *_of_rows(host, counted), *_of_requests(requests), *_of_process(requests)))


def _counted(path: str) -> Row:
    """Counts of all that there is, which takes the longer the more there is."""
    with reading(path) as db:
        statuses = rows(db, "SELECT status, count(*) AS n FROM tasks GROUP BY status")
        return {
            "statuses": {found["status"]: found["n"] for found in statuses},
            **row(db, "SELECT count(*) AS calls, total(input_tokens) AS input, total(output_tokens) AS output,"
                      " total(cache_read_tokens) AS cache_read, total(cache_write_tokens) AS cache_write,"
                      " count(*) FILTER (WHERE status >= 400) AS failed FROM model_calls"),
            **row(db, "SELECT count(*) AS runs, count(*) - count(ended_at) AS at_work FROM runs"),
            **row(db, "SELECT total(used_ms) / 1000 AS seconds FROM tasks"),
            **row(db, "SELECT min(created_at) AS oldest FROM tasks WHERE status = 'pending'"),
            **row(db, "SELECT count(*) AS files, total(size_bytes) AS bytes FROM files"),
        }


def _of_rows(host: Host, counted: Row) -> list[tuple[str, str, str, list[str]]]:
    statuses, oldest = counted["statuses"], counted["oldest"]
    waited = (host.now() - parse_iso(oldest)).total_seconds() if oldest else 0
    tokens = [f'agentcontainer_model_tokens_total{{kind="{kind}"}} {counted[kind]:.0f}'
              for kind in ("input", "output", "cache_read", "cache_write")]
    return [
        ("agentcontainer_tasks", "gauge", "Tasks by status.",
         [f'agentcontainer_tasks{{status="{status}"}} {statuses.get(status, 0)}' for status in lifecycle.STATUSES]),
        _one("agentcontainer_pending_age_seconds", "gauge", "How long the first in the queue has waited.",
             max(0, waited)),
        _one("agentcontainer_runs", "gauge", "Containers at work.", counted["at_work"]),
        _one("agentcontainer_guests", "gauge", "Containers whose agent listens to us.", len(host.followed)),
        _one("agentcontainer_runs_max", "gauge", "Containers that may be at work.", host.settings.max_running),
        _one("agentcontainer_runs_total", "counter", "Containers that were started.", counted["runs"]),
        _one("agentcontainer_container_seconds_total", "counter", "Container time of tasks, up to their last rest.",
             counted["seconds"]),
        _one("agentcontainer_model_calls_total", "counter", "Model calls.", counted["calls"]),
        _one("agentcontainer_model_call_failures_total", "counter", "Model calls that were refused.",
             counted["failed"]),
        ("agentcontainer_model_tokens_total", "counter", "Tokens, as the providers reported them.", tokens),
        _one("agentcontainer_files", "gauge", "Stored files.", counted["files"]),
        _one("agentcontainer_files_bytes", "gauge", "Bytes of stored files.", counted["bytes"]),
    ]


def _of_requests(requests: Requests) -> list[tuple[str, str, str, list[str]]]:
    name, below, buckets = "agentcontainer_http_request_duration_seconds", 0, []
    for bucket in REQUEST_BUCKETS:
        below += requests.within[bucket]
        buckets.append(f'{name}_bucket{{le="{bucket:g}"}} {below}')
    total = sum(requests.answered.values())
    answered = [f'agentcontainer_http_requests_total{{method="{method}",status="{status}"}} {count}'
                for (method, status), count in sorted(requests.answered.items())]
    buckets += [f'{name}_bucket{{le="+Inf"}} {total}', f"{name}_sum {requests.seconds:.6f}", f"{name}_count {total}"]
    return [
        ("agentcontainer_http_requests_total", "counter", "Requests that were answered.", answered),
        (name, "histogram", "Time to the head of the answer.", buckets),
    ]


def _of_process(requests: Requests) -> list[tuple[str, str, str, list[str]]]:
    times = os.times()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return [
        ("agentcontainer_info", "gauge", "Which version this is.",
         [f'agentcontainer_info{{version="{__version__}"}} 1']),
        _one("process_start_time_seconds", "gauge", "When it started, in Unix time.", requests.began),
        _one("process_cpu_seconds_total", "counter", "CPU time.", times.user + times.system),
        _one("process_resident_memory_bytes", "gauge", "Resident memory.", resident),
        _one("process_open_fds", "gauge", "Open files.", len(os.listdir("/proc/self/fd"))),
    ]


def _one(name: str, kind: str, about: str, value: float) -> tuple[str, str, str, list[str]]:
    return name, kind, about, [f"{name} {value:.6f}".rstrip("0").rstrip(".")]
