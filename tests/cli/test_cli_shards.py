"""Shares of a job as a user writes them."""

import pytest

from bocage.cli.shards import parse_shard
from bocage.errors import ConfigError

pytestmark = pytest.mark.unit


def test_a_share_is_a_part_and_a_number_of_parts() -> None:
    assert parse_shard("2/8") == (2, 8)
    assert parse_shard(" 1/1 ") == (1, 1)


@pytest.mark.parametrize("text", ["2", "0/8", "9/8", "-1/3", "1/0", "a/b", "1/2/3"])
def test_anything_else_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"counted from 1, such as 2/8"):
        parse_shard(text)
