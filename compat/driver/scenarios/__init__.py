"""The scenarios. Importing this package registers them all."""

from . import (  # noqa: F401
    admin_tools, administration, groups, producing, reading, together, tools,
)
