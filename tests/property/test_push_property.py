"""Pieces of what is looked at: everything once, in order, and no more than asked unless one alone is more."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.chat.push import Due, shares

DUE = st.lists(
    st.builds(
        Due,
        conversation_id=st.integers(1, 1000),
        seq=st.integers(0, 9),
        last_seq=st.integers(0, 9),
        marks=st.just(0),
        member_count=st.integers(0, 1024),
    ),
    max_size=40,
)


@given(DUE, st.integers(1, 3000))
def test_shares_hold_everything_once_and_not_too_much(due: list[Due], members: int) -> None:
    pieces = list(shares(due, members=members))
    assert [one for piece in pieces for one in piece] == due
    assert all(pieces)
    assert all(sum(one.member_count for one in piece) <= members for piece in pieces if len(piece) > 1)
    for piece, following in pairwise(pieces):
        assert sum(one.member_count for one in (*piece, following[0])) > members, (
            "no piece is smaller than it need be"
        )
