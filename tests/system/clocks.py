"""The program with a wall clock that a test may set: `python -m tests.system.clocks serve …`.

A file named by WALL_CLOCK says by how many seconds it is ahead of the machine's. The steady clocks are the machine's.
"""

import datetime as dates
import os
import sys
from pathlib import Path

FILE = Path(os.environ["WALL_CLOCK"])


class Date(dates.datetime):
    @classmethod
    def now(cls, tz=None):
        return dates.datetime.now(tz) + dates.timedelta(seconds=float(FILE.read_text()))


def main() -> None:
    import apscheduler.schedulers.base

    from agentcontainer_local.cli import app
    from agentcontainer_local.process import clock

    clock.datetime = apscheduler.schedulers.base.datetime = Date
    sys.exit(app())


if __name__ == "__main__":
    main()
