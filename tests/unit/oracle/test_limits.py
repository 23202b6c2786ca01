"""Shares: what a sender or lane may ask for, what it pays, and that memory stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_oracle.limits import Buckets, Rate, sender_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_full_bucket_is_spent_and_comes_back() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second=2, burst=10), clock)
    for _ in range(10):
        assert buckets.wait_s("a") == 0
        buckets.pay("a", 1)
    assert buckets.wait_s("a") == 1
    assert buckets.wait_s("b") == 0
    clock.now_s = 1.0
    assert buckets.wait_s("a") == 0


def test_debt_is_bounded_so_that_nobody_is_shut_out_for_long() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second=2, burst=10), clock)
    buckets.pay("a", 1e9)
    assert buckets.wait_s("a") == 6
    clock.now_s = 5.5
    assert buckets.wait_s("a") == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=40))
def test_nobody_gets_more_than_rate_and_burst(steps: list[tuple[float, float]]) -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second=3, burst=10), clock)
    spent, dearest = 0.0, 0.0
    for pause_s, cost in steps:
        clock.now_s += pause_s
        if buckets.wait_s("a") == 0:
            buckets.pay("a", min(cost, 10))
            spent, dearest = spent + min(cost, 10), max(dearest, cost)
    assert spent <= 10 + 3 * clock.now_s + dearest + 1e-6


def test_the_longest_unused_keys_are_forgotten() -> None:
    buckets = Buckets(Rate(1, 1), Clock(), max_keys=2)
    for key in ("a", "b", "a", "c"):
        buckets.pay(key, 2)
    assert [buckets.wait_s(key) > 0 for key in ("a", "c")] == [True, True]
    assert buckets.wait_s("b") == 0


@pytest.mark.parametrize(
    ("host", "sender"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("node-1", "node-1"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_sender(host: str, sender: str) -> None:
    assert sender_of(host) == sender
