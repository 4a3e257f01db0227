"""A copy of a crate that holds all of its mutants at once, of which a variable chooses one.

What is slow about mutants is building each: here a function that has mutants becomes a `match` on
the number of the chosen one, with a changed copy of the body for each, and the crate is built
once ("mutant schemata", Untch, Offutt and Harrold, 1993). cargo-mutants says what to change.
"""

import collections
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess

VARIABLE = "MILLSTREAM_MUTANT"
CHOICE = f"""
static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{
    std::env::var("{VARIABLE}").map_or(0, |number| number.parse().expect("a number"))
}});

pub(crate) fn chosen() -> u32 {{
    *CHOSEN
}}
"""
# These cannot be a `match` on something known only when the program runs.
NOT_CHOSEN_AT_RUN_TIME = re.compile(r"\bconst\b[^{]*\bfn\b|->\s*impl\b")
SKIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""",
    re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Mutant:
    number: int
    name: str
    file: str
    # Where its function, if it is in one, and the text it changes begin and end in the file.
    function: tuple | None
    changed: tuple
    replacement: str


def copy(root, to):
    """The clone's files as git knows them, those not yet added included."""
    shutil.rmtree(to, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
                            cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, to / name)


def mutants(root, given):
    """What cargo-mutants would change, from the JSON of its `--list`."""
    starts = {}

    def position(file, at):
        if file not in starts:
            lengths = [len(line) for line in (root / file).read_text().splitlines(keepends=True)]
            starts[file] = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
        return starts[file][at["line"] - 1] + at["column"] - 1

    def span(file, text):
        return position(file, text["start"]), position(file, text["end"])

    found = []
    for entry in given:
        file, start = entry["file"], entry["span"]["start"]
        what = entry["diff"].split("\n")[1].removeprefix("+++ ")
        within = entry["function"]
        found.append(Mutant(len(found) + 1, f"{file}:{start['line']}:{start['column']}: {what}", file,
                            within and span(file, within["span"]), span(file, entry["span"]),
                            entry["replacement"]))
    return found


def body(text, function):
    """Where the braces of a function begin and end."""
    start, end = function
    depth, at = 0, start
    while at < end:
        skipped = SKIPPED.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        if text[at] == "{" and depth == 0:
            return at, end
        depth += (text[at] in "([") - (text[at] in ")]")
        at += 1
    raise ValueError(f"no body in {text[start:end]!r}")


def changed(text, region, mutant):
    start, end = mutant.changed
    return text[region[0]:start] + f" {mutant.replacement} " + text[end:region[1]]


def fit(text, mutant):
    """Whether a mutant can be one of many in a build."""
    if mutant.function is None:
        return False
    start, _ = mutant.function
    return not NOT_CHOSEN_AT_RUN_TIME.search(text[start:body(text, mutant.function)[0]])


def together(text, chosen):
    """The text of a file with these mutants of it."""
    by_function = collections.defaultdict(list)
    for mutant in chosen:
        by_function[mutant.function].append(mutant)
    edits = []
    for function, of_it in by_function.items():
        region = body(text, function)
        arms = "".join(f"\n/*mutant {mutant.number}*/ {mutant.number} => {changed(text, region, mutant)}"
                       for mutant in of_it)
        edits.append((region[0], 1, f"{{ match crate::mutant::chosen() {{{arms}\n/*mutant 0*/ _ => "))
        edits.append((region[1], 0, "}}"))
    # A function within another ends before it.
    for at, _, inserted in sorted(edits, reverse=True):
        text = text[:at] + inserted + text[at:]
    return text


class Tree:
    """The crate `folder` of the clone `root`, copied to `to`, with those mutants that build."""

    def __init__(self, root, folder, package, to, environment):
        self.root, self.folder, self.package, self.to = root, folder, package, to
        self.environment = {**environment, "RUSTFLAGS": "--cap-lints allow"}

    def cargo(self, *arguments):
        """Runs cargo, and returns what it says of each thing."""
        done = subprocess.run(["cargo", *arguments, "--package", self.package, "--message-format=json"],
                              cwd=self.to, env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done, said

    def programs(self):
        """Builds the tests, and returns the programs; None where they do not build."""
        done, said = self.cargo("test", "--no-run", "--lib", "--tests")
        if done.returncode != 0:
            return None
        return [message["executable"] for message in said if message.get("executable")]

    def write(self, chosen):
        for file in {mutant.file for mutant in chosen}:
            of_it = [mutant for mutant in chosen if mutant.file == file]
            (self.to / file).write_text(together((self.root / file).read_text(), of_it))

    def write_one(self, mutant):
        text = (self.root / mutant.file).read_text()
        (self.to / mutant.file).write_text(changed(text, (0, len(text)), mutant))

    def restore(self, mutant):
        shutil.copy(self.root / mutant.file, self.to / mutant.file)

    def fill(self, chosen, report):
        """Puts mutants into the copy; returns those that build. The others are said to `report`."""
        source = self.to / self.folder / "src"
        (source / "mutant.rs").write_text(CHOICE)
        with (source / "lib.rs").open("a") as file:
            file.write("\nmod mutant;\n")
        while True:
            self.write(chosen)
            done, said = self.cargo("check", "--lib")
            if done.returncode == 0:
                return chosen
            bad = self.blamed(said)
            report(bad & {mutant.number for mutant in chosen})
            left = [mutant for mutant in chosen if mutant.number not in bad]
            if len(left) == len(chosen):
                raise RuntimeError(f"the copy does not build, whatever is left out:\n{done.stderr}")
            chosen = left

    def blamed(self, said):
        """The numbers of the mutants in which the compiler found errors."""
        bad, numbers = set(), {}
        for message in said:
            message = message.get("message", {})
            if message.get("level") != "error":
                continue
            for span in message["spans"]:
                file = span["file_name"]
                if file not in numbers:
                    numbers[file] = self.numbers(file)
                bad.add(numbers[file][span["line_start"] - 1])
        return bad

    def numbers(self, file):
        """For each line of a file the mutant it belongs to, or 0."""
        current, of_line = 0, []
        for line in pathlib.Path(self.to, file).read_text().splitlines():
            begun = re.match(r"/\*mutant (\d+)\*/", line)
            current = int(begun[1]) if begun else current
            of_line.append(current)
        return of_line
