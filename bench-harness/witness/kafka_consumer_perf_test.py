"""kafka-consumer-perf-test: it tells every second how much it has consumed.

What is measured lies between two of these lines: one that comes when the warm-up is over, and the
last one. The time until it had joined its group comes before the first of them.
"""

import dataclasses
import datetime

import kafka_tool
from outcome import outcome

MIB = 1 << 20
INTERVAL_MS = 500
# So that a line tells its moment exactly; the tool's own form has no time zone.
DATE_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSSZ"
FIRST_COLUMN = "time"


@dataclasses.dataclass(frozen=True)
class Point:
    at: float
    mib: float
    records: int


def parse(lines):
    """The lines with figures, as points."""
    for line in lines:
        # It gives up when nothing comes for a while, and calls that a success.
        if line.text.startswith("WARNING"):
            raise kafka_tool.Unclear(line.text)
    rows = [line.text.split(", ") for line in lines if ", " in line.text]
    if not rows or rows[0][0] != FIRST_COLUMN:
        raise kafka_tool.Unclear("no line names the columns")
    header, *rows = rows
    columns = [header.index(name)
               for name in ("time", "data.consumed.in.MB", "data.consumed.in.nMsg")]
    points = []
    for row in rows:
        moment, mib, records = (row[column] for column in columns)
        at = datetime.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
        points.append(Point(at, float(mib), int(records)))
    return points


def window(points, warm_up):
    """The points between which it was measured."""
    warm = [point for point in points if point.at >= points[0].at + warm_up]
    if len(warm) < 2:
        raise kafka_tool.Unclear(
            f"all was consumed within {warm_up} s of warm-up and {INTERVAL_MS} ms")
    return warm


def run(options):
    said = kafka_tool.run(
        options, "--bootstrap-server", options.bootstrap_server, "--topic", options.topic,
        "--num-records", options.records, "--show-detailed-stats",
        "--reporting-interval", INTERVAL_MS, "--date-format", DATE_FORMAT)
    points = window(parse(said.lines), options.warm_up)
    first, last = points[0], points[-1]
    series = [{"second": round(later.at - first.at, 1),
               "consumed_bytes": (later.mib - earlier.mib) * MIB / (later.at - earlier.at)}
              for earlier, later in zip(points, points[1:])]
    consumed = {"records": last.records - first.records, "bytes": (last.mib - first.mib) * MIB}
    return outcome(options, said.watch.at(first.at), said.watch.at(last.at), command=said.command,
                   consumed=consumed, series=series)
