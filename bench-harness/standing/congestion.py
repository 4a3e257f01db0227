"""The congestion control of TCP: CUBIC while brokers are measured.

BBR paces what it sends by its model of the path, which on loopback has nothing to model: one stream
stays far below what the cores could carry, and a broker's part in that cannot be seen.
"""

import contextlib
import pathlib

SETTING = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")


def congestion_control():
    return SETTING.read_text().strip()


@contextlib.contextmanager
def cubic():
    """Sets CUBIC for the connections that are opened meanwhile, where this process may."""
    before = congestion_control()
    try:
        SETTING.write_text("cubic\n")
    except PermissionError:
        pass  # The figures name the one that it was.
    try:
        yield
    finally:
        if congestion_control() != before:
            SETTING.write_text(f"{before}\n")
