"""What the suites need on the machine: fetched, built and kept in a cache outside the clone.

Everything is pinned (requirements.txt, go.sum, kafka.pom.xml, package-lock.json, Cargo.lock) but
kcat, which is Debian's.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
COMPAT = ROOT / "compat"


class Missing(Exception):
    """A tool is not on this machine and cannot be brought here; says what to do."""


def cache():
    folder = os.environ.get("MILLSTREAM_CACHE")
    return pathlib.Path(folder) if folder else pathlib.Path.home() / ".cache" / "millstream"


def in_ci():
    return os.environ.get("CI") == "true"


@contextlib.contextmanager
def made_once(name, sources):
    """Yields a folder for what is made of `sources`, and whether it is still to be made."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source if isinstance(source, bytes) else source.read_bytes())
    folder = cache() / f"{name}-{digest.hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    complete = folder / "complete"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not complete.exists()
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, missing
        complete.touch()


def run(command, what, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Missing(f"{what} failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def debian_package(program, package):
    """Finds a program, or installs its package where that is possible."""
    if not shutil.which(program):
        install(package, f"{program} is missing")


def install(package, why):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"{why} (Debian: apt-get install {package})")
    print(f"installing {package}", flush=True)
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / "apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], "apt-get", env=environment)
        run(["apt-get", "install", "-y", "-qq", *package.split()], "apt-get", env=environment)


def python():
    """A Python with the clients of compat/python/requirements.txt."""
    requirements = COMPAT / "python" / "requirements.txt"
    with made_once("python", [requirements, sys.version.encode()]) as (folder, missing):
        program = folder / "venv" / "bin" / "python"
        if missing:
            made = subprocess.run([sys.executable, "-m", "venv", folder / "venv"],
                                  capture_output=True, text=True)
            if made.returncode != 0:
                install("python3-venv", "python3 cannot make a virtual environment")
                run([sys.executable, "-m", "venv", "--clear", folder / "venv"], "venv")
            run([program, "-m", "pip", "install", "-q", "--only-binary", ":all:",
                 "--prefer-binary", "-r", requirements], "pip")
        return program


def kafka():
    """Fetches Apache Kafka; returns the Java class path of broker, tools and client."""
    debian_package("javac", "openjdk-17-jdk-headless")
    debian_package("mvn", "maven")
    return run([SCRIPTS / "peers" / "kafka", "classpath"], "fetching Apache Kafka").strip()


def kafka_version():
    return run([SCRIPTS / "peers" / "kafka", "version"], "asking for the version").strip()


def java(main):
    """The command that runs a main class of compat/java beside Apache Kafka's classes."""
    class_path = kafka()
    sources = sorted((COMPAT / "java").glob("*.java"))
    with made_once("java", [*sources, class_path.encode()]) as (folder, missing):
        if missing:
            run(["javac", "-d", folder, "-cp", class_path, *sources], "javac")
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={SCRIPTS / 'peers' / 'kafka.log4j2.properties'}",
            "-Dmillstream.log.level=WARN", "-Dmillstream.log.target=SYSTEM_ERR",
            "-cp", f"{folder}:{class_path}", main]


def java_agent():
    """The command that runs the agent of Apache Kafka's Java client."""
    return java("Agent")


def java_tools():
    """The command that runs Kafka's command-line tools, one after another in one process."""
    return java("Tools")


@functools.cache
def class_of(tool):
    """The main class of one of Kafka's command-line tools."""
    return run([SCRIPTS / "peers" / "kafka", "class", tool], "asking for a class").strip()


def go():
    """A `go` that go.mod can be built with: it fetches the version that it names if need be."""
    debian_package("go", "golang")
    said = run(["go", "version"], "go version").split()[2]
    if _go_version(said) >= (1, 21):
        return "go"
    # Older ones cannot fetch another version by themselves, but it is a module like any other.
    wanted = re.search(r"^go (\S+)$", (COMPAT / "go" / "go.mod").read_text(), re.M).group(1)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    module = f"golang.org/toolchain@v0.0.1-go{wanted}.linux-{machine}"
    with made_once("go-toolchain", [module.encode()]) as (made, missing):
        if missing:
            told = json.loads(run(["go", "mod", "download", "-json", module], "go mod download",
                                  cwd=made, env=_go_environment()))
            shutil.copytree(told["Dir"], made / "go", copy_function=shutil.copyfile)
            # A module's files are not executable.
            for program in [*(made / "go" / "bin").iterdir(),
                            *(made / "go" / "pkg" / "tool").rglob("*")]:
                program.chmod(0o755)
        return made / "go" / "bin" / "go"


def _go_version(said):
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def _go_environment():
    return {
        # Another Go's root would be taken for its own by the one that is fetched.
        **{name: value for name, value in os.environ.items() if name != "GOROOT"},
        "GOMODCACHE": str(cache() / "go" / "mod"),
        "GOCACHE": str(cache() / "go" / "build"),
        "GOFLAGS": "-buildvcs=false",
        "GOTOOLCHAIN": "auto",
    }


def go_agents():
    """The folder of the agents of Go's clients: `franz-go`, `sarama` and `kafka-go`."""
    program = go()
    folder = COMPAT / "go"
    sources = sorted(folder.rglob("*.go")) + [folder / "go.mod", folder / "go.sum"]
    with made_once("go-agents", sources) as (made, missing):
        if missing:
            run([program, "build", "-mod=readonly", "-o", f"{made}/", "./..."], "go build",
                cwd=folder, env=_go_environment())
    return made


def go_agent():
    """The agent of franz-go; also a load for crashes, and measures latency."""
    return go_agents() / "franz-go"


def node_agent():
    """The command that runs the agent of KafkaJS."""
    debian_package("node", "nodejs")
    debian_package("npm", "npm")
    folder = COMPAT / "node"
    sources = [folder / "agent.js", folder / "package.json", folder / "package-lock.json"]
    with made_once("node-agent", sources) as (made, missing):
        if missing:
            for source in sources:
                shutil.copy(source, made)
            run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], "npm", cwd=made)
    return ["node", made / "agent.js"]


def rust_agent():
    """The agent of rskafka, which has a workspace and a lock file of its own."""
    if not shutil.which("cargo"):
        raise Missing("cargo is missing: install rustup, which takes rust-toolchain.toml from here")
    folder = COMPAT / "rust"
    sources = [*sorted((folder / "src").glob("*.rs")), folder / "Cargo.toml", folder / "Cargo.lock"]
    with made_once("rust-agent", sources) as (made, missing):
        if missing:
            built = cargo_target() / "compat-rust"
            run(["cargo", "build", "--locked", "--quiet"], "cargo", cwd=folder,
                env={**os.environ, "CARGO_TARGET_DIR": str(built), "CARGO_INCREMENTAL": "0"})
            shutil.copy(built / "debug" / "rskafka-agent", made / "agent")
    return made / "agent"


def kcat():
    debian_package("kcat", "kcat")
    return "kcat"


def millstreamd(chosen=None):
    """The daemon: the one that was named, or a release build."""
    if chosen:
        path = pathlib.Path(chosen).resolve()
        if not path.exists():
            raise Missing(f"{path} does not exist")
        return path
    if not shutil.which("cargo"):
        raise Missing("cargo is missing: install rustup, which takes rust-toolchain.toml from here")
    built = subprocess.run(
        ["cargo", "build", "--release", "-p", "millstream-broker"], cwd=ROOT,
        env={**os.environ, "CARGO_TARGET_DIR": str(cargo_target())})
    if built.returncode != 0:
        raise Missing("millstreamd does not build")
    return cargo_target() / "release" / "millstreamd"


def cargo_target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or cache() / "target")
