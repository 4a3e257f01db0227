"""A file that a load or a member writes, line by line, read as it grows."""


class Journal:
    def __init__(self, path):
        self.path = path
        self.path.touch()
        self.position = 0

    def take(self):
        """The whole lines that are new, as words; a half-written line waits."""
        with open(self.path, "rb") as journal:
            journal.seek(self.position)
            said = journal.read()
        whole = said[: said.rfind(b"\n") + 1]
        self.position += len(whole)
        return [line.split(" ") for line in whole.decode().splitlines()]
