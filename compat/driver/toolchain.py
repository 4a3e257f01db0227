"""What the suites need on the machine: fetched, built and kept in a cache outside the clone.

Everything is pinned (requirements.txt, go.sum, kafka.pom.xml) but kcat, which is Debian's.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
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


def java_agent():
    """The command that runs the agent of Apache Kafka's Java client."""
    class_path = kafka()
    source = COMPAT / "java" / "Agent.java"
    with made_once("java-agent", [source, class_path.encode()]) as (folder, missing):
        if missing:
            run(["javac", "-d", folder, "-cp", class_path, source], "javac")
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={SCRIPTS / 'peers' / 'kafka.log4j2.properties'}",
            "-cp", f"{folder}:{class_path}", "Agent"]


def go_agent():
    """The agent of franz-go; also measures latency."""
    if not shutil.which("go"):
        raise Missing("go is missing: install the version that compat/go/go.mod names")
    folder = COMPAT / "go"
    sources = sorted(folder.glob("*.go")) + [folder / "go.mod", folder / "go.sum"]
    with made_once("go-agent", sources) as (made, missing):
        if missing:
            environment = {
                **os.environ,
                "GOMODCACHE": str(cache() / "go" / "mod"),
                "GOCACHE": str(cache() / "go" / "build"),
                "GOFLAGS": "-mod=readonly -buildvcs=false",
            }
            run(["go", "build", "-o", made / "agent", "."], "go build",
                cwd=folder, env=environment)
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
    target = os.environ.get("CARGO_TARGET_DIR") or str(cache() / "target")
    built = subprocess.run(
        ["cargo", "build", "--release", "-p", "millstream-broker"], cwd=ROOT,
        env={**os.environ, "CARGO_TARGET_DIR": target})
    if built.returncode != 0:
        raise Missing("millstreamd does not build")
    return pathlib.Path(target) / "release" / "millstreamd"
