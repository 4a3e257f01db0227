"""A program under test beside the broker: started with a pipe that ends it when we end."""

import signal
import subprocess

STOP_SECONDS = 90


class Process:
    def __init__(self, command, log):
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=log, stderr=log)

    def ended(self):
        return self.process.poll() is not None

    def stop(self, which=signal.SIGTERM):
        """Waits until it has ended, by force if it takes too long."""
        if not self.ended():
            self.process.send_signal(which)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()
