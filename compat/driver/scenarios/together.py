"""Several clients on one topic and in one group: what one writes all can read."""

import concurrent.futures
import contextlib
import dataclasses

from ..agent import Member, poll_until
from ..clients import RANGE, REPEATED
from ..records import CODECS, numbered, varied
from ..suite import TOGETHER, Ground
from .groups import SETTLED_SECONDS, owners_only, produce_and_receive, settled
from .producing import assert_same

# Each reads what all have written: by much more, time would go into few large records.
LARGEST = 100_000


class TogetherGround(Ground):
    suite = "together"

    def __init__(self, clients, broker, admin, run_id, log):
        super().__init__(broker, admin, run_id)
        self.clients = clients
        self.log = log
        self.agents = {name: self.connect(name) for name in clients}
        self.agent = admin
        self.opened = []

    def connect(self, name):
        client, prepared = self.clients[name]
        return client.connect(prepared, self.broker.bootstrap, self.log)

    def member(self, name, group, topics):
        agent = self.connect(name)
        self.opened.append(agent)
        agent.subscribe(group, topics)
        return Member(name, agent)

    def end(self):
        for agent in self.opened:
            with contextlib.suppress(Exception):
                agent.quit()
        self.opened = []

    def finish(self):
        self.end()
        for agent in self.agents.values():
            agent.quit()


@TOGETHER.scenario(feature="each reads what all have written, with each codec", parameters=CODECS)
def each_reads_all(ground, codec):
    topic = ground.topic()
    sent = []
    for name, agent in ground.agents.items():
        own = varied(name, nulls=False, binary=False,
                     repeated=REPEATED in ground.clients[name][0].can, largest=LARGEST)
        agent.produce(topic, own, codec=codec)
        sent += own
    for name, agent in ground.agents.items():
        try:
            seen = [seen_by(ground.clients[name][0], record) for record in sent]
            assert_same(seen, agent.consume(topic, [(0, 0)], len(sent)))
        except AssertionError as error:
            raise AssertionError(f"read by {name}: {error}") from error


def seen_by(client, record):
    """A record as a client gives it that keeps headers in a map."""
    if REPEATED in client.can:
        return record
    return dataclasses.replace(record, headers=tuple(sorted(dict(record.headers).items())))


@TOGETHER.scenario(feature="members of one group, but for kafka-go and KafkaJS, which others cannot read")
def one_group_of_all(ground):
    """The `range` assignor is the same in all of them, whoever leads."""
    names = [name for name, (client, _) in ground.clients.items() if RANGE in client.can]
    partitions = 2 * len(names)
    topic, group = ground.topic(partitions), ground.unused("g")
    members = []
    expected = {}
    for name in names:
        members.append(ground.member(name, group, [topic]))
        poll_until(members, lambda: settled(members, partitions), SETTLED_SECONDS,
                   f"{partitions} partitions are shared after {name} joined")
        turn = produce_and_receive(
            ground, topic, partitions, expected, members, f"after {name} joined")
    owners_only(members, turn)
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        while len(members) > 1:
            left = members.pop(0)
            # It may be joining just then, and wait for the others to poll.
            closed = beside.submit(left.agent.close)
            poll_until(members, lambda: settled(members, partitions), SETTLED_SECONDS,
                       f"{partitions} partitions are shared after {left.name} left")
            closed.result()


@TOGETHER.scenario()
def offsets_agree(ground):
    topic = ground.topic(3)
    ground.admin.produce(topic, numbered(100, partitions=3), codec="zstd")
    for name, agent in ground.agents.items():
        found = agent.offsets(topic, 3)
        assert found == [(0, 34), (0, 33), (0, 33)], f"{name} sees {found}"
