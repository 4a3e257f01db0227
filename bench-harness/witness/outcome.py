"""The object that a witness prints: the shape of `millstream-bench load --output json`.

What a tool does not know is left out or null.
"""

import math

import usage


def outcome(options, begin, end, *, command=None, produced=None, consumed=None, latency=None,
            latency_us=None, series=()):
    """One object of what was measured between two samples."""
    seconds = end.at - begin.at
    client = end.client_cpu_seconds - begin.client_cpu_seconds
    return {
        "workload": options.tool,
        "server": options.bootstrap_server,
        "options": {"command": command, **told(options)},
        "measured": {
            "seconds": seconds,
            "from_unix_ms": round(begin.at * 1e3),
            "until_unix_ms": round(end.at * 1e3),
        },
        "produced": produced,
        "consumed": consumed,
        "latency": latency,
        "latency_us": latency_us,
        "series": list(series),
        "client": {
            "cores": options.cores,
            "cpu_seconds": client,
            "busy": client / seconds / len(options.cores),
        },
        "broker": broker(options, begin, end, seconds),
    }


def told(options):
    left_out = ("tool", "bootstrap_server", "broker_pid", "cores")
    return {name: value for name, value in vars(options).items() if name not in left_out}


def broker(options, begin, end, seconds):
    if not options.broker_pid:
        return None

    def taken(first, last):
        return None if first is None or last is None else last - first

    cpu = end.broker_cpu_seconds - begin.broker_cpu_seconds
    return {
        "pid": options.broker_pid,
        "cpu_seconds": cpu,
        "busy": cpu / seconds,
        "resident_bytes": usage.resident_bytes(options.broker_pid),
        "read_bytes": taken(begin.read_bytes, end.read_bytes),
        "written_bytes": taken(begin.written_bytes, end.written_bytes),
    }


def moved(records, size):
    """Records that went one way, of `size` bytes each."""
    return {"records": records, "bytes": records * size}


def percentiles(seconds):
    """The latencies of all records, which are given in seconds, in microseconds."""
    ordered = sorted(seconds)
    count = len(ordered)

    def at(part):
        return ordered[max(math.ceil(part * count) - 1, 0)] * 1e6

    return {
        "count": count,
        "mean": sum(ordered) / count * 1e6,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "p9999": at(0.9999),
        "max": ordered[-1] * 1e6,
    }
