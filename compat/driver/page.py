"""The part of docs/compatibility.md that says which clients and tools were run, and with what.

It stands between two marks and is made from the results of a whole run, which fails while the
page says something else.
"""

import collections
import re

from .clients import CLIENTS
from .suite import CLIENT, FAILED, NOT_SERVED, PASSED, TOGETHER

BEGIN, END = "<!-- clients: begin -->", "<!-- clients: end -->"
CELLS = {PASSED: "yes", NOT_SERVED: "not yet"}
NOT_OFFERED = "–"
# Debian's kcat is as old as the Debian it is run on.
UNPINNED = {"kcat": "kcat (Debian's)"}


def block(results, versions, tools, kafka):
    """The text between the marks, with them; `tools` has (tool, works, not served) rows."""
    names = [client.name for client in CLIENTS]
    lines = [
        BEGIN,
        "",
        "`scripts/compat clients` runs these clients against Millstream, and the same checks "
        "against Apache Kafka (`--broker kafka`). *yes*: all checks pass; *–*: the client does "
        "not offer it; *not yet*: Millstream refuses it, in a way that the client takes as final.",
        "",
        "| | " + " | ".join(UNPINNED.get(name) or versions[name] for name in names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    outcomes = collections.defaultdict(list)
    for result in results:
        outcomes[result.feature, result.suite].append(result.outcome)
    features = dict.fromkeys(each.feature for each in CLIENT.scenarios if each.feature)
    lines += [f"| {feature} | " + " | ".join(_cell(outcomes[feature, name]) for name in names)
              + " |" for feature in features]
    lines += ["", "Together: " + "; ".join(dict.fromkeys(_together(results))) + ".", ""]
    lines += [
        f"The tools of Apache Kafka {kafka}. What they print is compared with what they print of "
        "Apache Kafka in the same situation, but for those that measure and those that only "
        "produce and consume, whose records are checked.",
        "",
        "| Tool | Run with | Not yet |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {tool} | {_code(served)} | {_code(unserved)} |"
              for tool, served, unserved in tools]
    lines += ["", END]
    return "\n".join(lines)


def _cell(outcomes):
    if not outcomes:
        return NOT_OFFERED
    if FAILED in outcomes:
        return "**no**"
    return CELLS[NOT_SERVED if NOT_SERVED in outcomes else PASSED]


def _together(results):
    passed = {result.scenario for result in results
              if result.suite == "together" and result.outcome == PASSED}
    for each in TOGETHER.scenarios:
        if each.feature and each.name in passed:
            yield each.feature


def _code(options):
    return ", ".join(f"`{option}`" for option in options)


def agrees(page, made):
    return made in page.read_text()


def write(page, made):
    text = page.read_text()
    if BEGIN in text:
        text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: made, text, flags=re.S)
    else:
        text = f"{text.rstrip()}\n\n## Clients and tools\n\n{made}\n"
    page.write_text(text)
