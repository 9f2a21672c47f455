"""The command line. Each command is one thin file that imports its room only when it runs."""

from __future__ import annotations

import logging
import sys

from bocage.errors import BocageError


def main() -> None:
    """Entry point of `bocage`: 0 done, 1 some items failed, 2 the request cannot be carried out."""
    from bocage.cli.app import app

    try:
        app()
    except BocageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; finished parts are kept", file=sys.stderr)
        sys.exit(130)
    finally:
        logger = logging.getLogger("bocage")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
