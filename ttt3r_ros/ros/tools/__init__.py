"""Command-line tools around the node: play, demo, and the modules they share."""
