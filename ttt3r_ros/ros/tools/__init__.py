"""Programs around the node: play, demo, and what they share."""
