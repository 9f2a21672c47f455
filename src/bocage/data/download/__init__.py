"""Getting a dataset: planned first, fetched with resume, unpacked, each folder whole or not at all.

`parse_request` says what is wanted, `make_plan` what that means, `download` does it.
"""

from bocage.data.download.config import DownloadConfig, parse_request
from bocage.data.download.plan import Item, Plan, make_plan
from bocage.data.download.run import Outcome, Step, download

__all__ = [
    "DownloadConfig",
    "Item",
    "Outcome",
    "Plan",
    "Step",
    "download",
    "make_plan",
    "parse_request",
]
