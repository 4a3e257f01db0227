"""What is printed: a line for each result as it comes, a table, the totals."""

import re

from .suite import FAILED, NOT_SERVED, PASSED, SKIPPED

MARKS = {PASSED: "ok", FAILED: "FAILED", SKIPPED: "skipped", NOT_SERVED: "not yet"}


def print_result(result):
    print(f"{MARKS[result.outcome]:8}{result.suite:14}{result.scenario:30}"
          f"{result.seconds:6.1f} s", flush=True)
    if result.detail and result.outcome != NOT_SERVED:
        for line in result.detail.splitlines():
            print(f"            {line}", flush=True)


def print_table(results, seconds):
    """Scenarios down, suites across; a dot where a client cannot do what is asked."""
    suites = list(dict.fromkeys(result.suite for result in results))
    matrix = {(result.scenario, result.suite): result for result in results}
    shared = [name for name in dict.fromkeys(result.scenario for result in results)
              if sum((name, suite) in matrix for suite in suites) > 1]
    columns = [suite for suite in suites if any((name, suite) in matrix for name in shared)]
    if shared:
        print()
        print(f"{'':30}" + "".join(f"{suite:>14}" for suite in columns))
        for name in shared:
            cells = (matrix.get((name, suite)) for suite in columns)
            print(f"{name:30}" + "".join(
                f"{MARKS[cell.outcome] if cell else '.':>14}" for cell in cells))
    print()
    print(f"{'suite':30}{'passed':>10}{'failed':>10}{'skipped':>10}{'seconds':>10}")
    for suite in suites:
        own = [result for result in results if result.suite == suite]
        counts = [sum(result.outcome in each for result in own)
                  for each in ((PASSED, NOT_SERVED), (FAILED,), (SKIPPED,))]
        spent = sum(result.seconds for result in own)
        print(f"{suite:30}" + "".join(f"{count:>10}" for count in counts) + f"{spent:>10.1f}")
    print(f"{'all, at the wall clock':60}{seconds:>10.1f}")
    failures = [result for result in results if result.outcome == FAILED]
    for result in failures:
        print(f"FAILED  {result.suite} {result.scenario}: {result.detail}")


def print_total(results):
    """The last line; returns the exit code. A run without any test has failed."""
    passed, failed, skipped = (sum(result.outcome in each for result in results)
                               for each in ((PASSED, NOT_SERVED), (FAILED,), (SKIPPED,)))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


def complaints(broker):
    """Lines of Millstream's log that no suite may cause: errors and panics."""
    if broker.kind != "millstream":
        return ""
    lines = broker.log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if re.search(r"\bERROR\b|panicked at", line)][:10])
