"""Scripts written by hand: what one request at a time cannot show."""

import dataclasses
import functools

REGISTRY = []


@dataclasses.dataclass
class Script:
    name: str
    run: object
    alone: bool = False


def sequence(each=None, needs=(), alone=False):
    """Registers a script; with `each` it is run once for every version of that API.

    It is left out where one of the APIs that it needs is not served by both brokers. One that
    runs alone may make, change and remove what others ask for: it ends before they begin.
    """
    def register(function):
        REGISTRY.append((function, each, (*needs, *([each] if each else [])), alone))
        return function
    return register


def scripts(common):
    # The modules register when they are imported.
    from . import (  # noqa: F401
        bytes_on_the_wire, configs, fetching, groups, listing_offsets, producing, topics,
        topics_by_id,
    )
    found = []
    for function, each, needs, alone in REGISTRY:
        if not all(api in common for api in needs):
            continue
        name = function.__name__.replace("_", " ")
        if each is None:
            found.append(Script(name, function, alone))
        else:
            found += [Script(f"{each} {version} {name}",
                             functools.partial(function, version=version), alone)
                      for version in common[each]]
    return found
