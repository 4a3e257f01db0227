"""The scenarios. Importing this package registers them all."""

from . import administration, groups, producing, reading, together, tools  # noqa: F401
