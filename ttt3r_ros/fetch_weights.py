"""``python -m ttt3r_ros.fetch_weights``: the command `fetch_weights` where it is not installed."""

import sys

from ttt3r_ros.weights.fetch import main

if __name__ == "__main__":
    sys.exit(main())
