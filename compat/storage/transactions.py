"""Brings the program that writes transactions: Apache Kafka's Java client, in any order."""

import subprocess

from driver import toolchain


def transactions():
    """A function that writes committed and aborted transactions to a topic of a broker."""
    class_path = toolchain.kafka()
    source = toolchain.COMPAT / "storage" / "Transactions.java"
    with toolchain.made_once("java-transactions", [source, class_path.encode()]) as (made, missing):
        if missing:
            toolchain.run(["javac", "-d", made, "-cp", class_path, source], "javac")

    def write(bootstrap, topic):
        done = subprocess.run(
            ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
             f"-Dlog4j2.configurationFile={toolchain.SCRIPTS / 'peers' / 'kafka.log4j2.properties'}",
             "-cp", f"{made}:{class_path}", "Transactions", bootstrap, topic],
            capture_output=True, text=True)
        assert done.returncode == 0, f"no transactions: {done.stderr}"
    return write
