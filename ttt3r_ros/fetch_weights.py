"""``python -m ttt3r_ros.fetch_weights``: the command `fetch_weights` where it is not installed."""

import sys

from ttt3r_ros.commands import fetch_weights

if __name__ == "__main__":
    sys.exit(fetch_weights())
