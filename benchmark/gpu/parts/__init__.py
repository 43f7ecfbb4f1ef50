"""The parts of a run: each module has ``measure(setting, findings, *arguments)``."""
