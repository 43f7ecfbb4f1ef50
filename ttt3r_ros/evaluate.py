"""``python -m ttt3r_ros.evaluate``: the command `evaluate` where it is not installed."""

import sys

from ttt3r_ros.commands import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
