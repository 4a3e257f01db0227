"""What the run says: differences as they are to be mended, sums by API, the page for users."""

import collections
import dataclasses
import json
import re

BEGIN, END = "<!-- differential: begin -->", "<!-- differential: end -->"
SHOWN_EACH = 3


def print_differences(differences):
    """One block for each field that differs in one way, with the cases where it does."""
    groups = collections.defaultdict(list)
    for each in differences:
        groups[(each.api, each.path, _short(each.kafka), _short(each.ours))].append(each)
    for (api, path, kafka, ours), members in sorted(groups.items(), key=lambda item: item[0]):
        versions = sorted({each.version for each in members})
        cases = list(dict.fromkeys(each.case for each in members))
        print(f"\n{api} {_span(versions)} {path}: Kafka {kafka}, Millstream {ours}"
              f" ({len(members)})")
        for case in cases[:SHOWN_EACH]:
            print(f"    {case}")


def print_table(rows):
    print(f"\n{'API':28}{'versions':>10}{'pairs':>8}{'accepted':>10}{'different':>11}")
    for row in rows:
        print(f"{row.api:28}{row.versions:>10}{row.pairs:>8}{row.accepted:>10}{row.different:>11}")


def write_page(path, rows, entries, pairs, kafka):
    """Puts the table between two marks of the page; what others write stays."""
    text = path.read_text()
    lines = [
        BEGIN,
        "",
        f"`scripts/compat differential` sends the same requests to Apache Kafka {kafka} and to "
        f"Millstream, {pairs:,} pairs in the last run that was written here, and compares the "
        "answers field by field. `compat/differential/normalise.py` lists what is replaced "
        "before, `compat/differential/accepted.json` each difference that remains.",
        "",
        "| API | Versions | Pairs | Differences accepted |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {row.api} | {row.versions} | {row.pairs} | {row.accepted} |" for row in rows]
    lines += ["", "What differs, and why:", "", "| API | Versions | Field | Why |",
              "| --- | --- | --- | --- |"]
    grouped = collections.defaultdict(list)
    for each in entries:
        grouped[(each.api.replace("*", "all"), each.versions.replace("-", "–"), each.reason)
                ].append(f"`{each.path}`")
    lines += [f"| {api} | {versions} | {', '.join(dict.fromkeys(paths))} | {reason} |"
              for (api, versions, reason), paths in grouped.items()]
    lines += ["", END]
    block = "\n".join(lines)
    if BEGIN in text:
        text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, text, flags=re.S)
    else:
        text = f"{text.rstrip()}\n\n## Side by side with Apache Kafka\n\n{block}\n"
    path.write_text(text)


def write_details(path, differences):
    with open(path, "w") as out:
        for each in differences:
            print(json.dumps(dataclasses.asdict(each), default=str), file=out)


def _short(value):
    if isinstance(value, dict):
        # What tells elements apart is in the cases.
        value = {name: each for name, each in value.items()
                 if "Error" in name or name in ("Value", "MinVersion", "MaxVersion")}
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) < 160 else text[:157] + "..."


def _span(versions):
    return f"{versions[0]}" if len(versions) == 1 else f"{versions[0]}-{versions[-1]}"
