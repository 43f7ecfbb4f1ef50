"""``python -m ttt3r_ros.reconstruct``: the command `reconstruct` where it is not installed."""

import sys

from ttt3r_ros.commands import reconstruct

if __name__ == "__main__":
    sys.exit(reconstruct())
