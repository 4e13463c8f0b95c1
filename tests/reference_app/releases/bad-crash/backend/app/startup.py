"""What has to be right before the web server starts."""

import os
import time


def load_rotations() -> dict[str, int]:
    """Stand in for a setting that nobody set."""
    time.sleep(1)
    return {}


if __name__ == "__main__":
    # As the real one, whose tracebacks show its settings.
    print("Starting with", dict(os.environ), flush=True)
    # Not in the application itself: uvicorn with two workers never ends, it only starts those anew that fail.
    print("Rotations:", load_rotations()["default"])
