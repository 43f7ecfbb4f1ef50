"""Imported once, by the server that the parts of a run are forked from; touches no device."""

import ttt3r_ros.stream.segments  # noqa: F401  # imported to be there in the forks
