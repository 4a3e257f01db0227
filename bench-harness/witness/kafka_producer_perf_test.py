"""kafka-producer-perf-test: its last lines tell what it measured, from the end of its warm-up on.

It tells when it is done how many records it sent a second, from which follows when it began.
"""

import dataclasses
import re

import kafka_tool
from outcome import moved, outcome

NUMBER = r"([\d.]+)"
TOTAL = re.compile(
    rf"(\d+)( steady state)? records sent, {NUMBER} records/sec \({NUMBER} MB/sec\), "
    rf"{NUMBER} ms avg latency, {NUMBER} ms max latency, "
    r"(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99\.9th\.")
PROGRESS = re.compile(
    rf"\d+ records sent, {NUMBER} records/sec \({NUMBER} MB/sec\), "
    rf"{NUMBER} ms avg latency, {NUMBER} ms max latency\.")
WARM = "In steady state."


@dataclasses.dataclass(frozen=True)
class Measured:
    begin: float
    end: float
    records: int
    latency_us: dict
    series: list


def parse(lines, records, warm_up_records, size):
    found = [(line.at, match) for line in lines if (match := TOTAL.fullmatch(line.text))]
    wanted = [(at, match) for at, match in found if bool(match[2]) == bool(warm_up_records)]
    if not wanted:
        raise kafka_tool.Unclear("no line tells all that was sent")
    at, total = wanted[-1]
    sent = int(total[1])
    if sent != records - warm_up_records:
        raise kafka_tool.Unclear(f"{sent} records were sent of {records - warm_up_records}")
    # The first of these lines comes when the last record was sent, the other one a moment later.
    end = found[0][0]
    latency_us = {
        "count": sent,
        "mean": float(total[5]) * 1e3,
        "p50": int(total[7]) * 1e3,
        "p99": int(total[9]) * 1e3,
        "p999": int(total[10]) * 1e3,
        "max": float(total[6]) * 1e3,
    }
    return Measured(end - sent / float(total[3]), end, sent, latency_us,
                    series(lines, warm_up_records, size))


def series(lines, warm_up_records, size):
    """A point for each line of progress, which comes once a second."""
    texts = [line.text for line in lines]
    if warm_up_records:
        texts = texts[texts.index(WARM) + 1:] if WARM in texts else []
    told = [match for text in texts if (match := PROGRESS.fullmatch(text))]
    return [{"second": number, "produced_bytes": float(each[1]) * size,
             "max_us": float(each[4]) * 1e3} for number, each in enumerate(told, 1)]


def run(options):
    said = kafka_tool.run(
        options, "--bootstrap-server", options.bootstrap_server, "--topic", options.topic,
        "--num-records", options.records, "--warmup-records", options.warm_up_records,
        "--record-size", options.size, "--throughput", -1, "--reporting-interval", 1000,
        "--command-property", "acks=all", f"batch.size={options.batch_bytes}",
        f"linger.ms={options.linger_ms:g}", "buffer.memory=67108864")
    found = parse(said.lines, options.records, options.warm_up_records, options.size)
    return outcome(
        options, said.watch.at(found.begin), said.watch.at(found.end), command=said.command,
        produced=moved(found.records, options.size), latency="from send",
        latency_us=found.latency_us, series=found.series)
