"""Values are counted in a JSON text as if it had been read, texts in it left out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.http import json_size

JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20) | st.sampled_from(['a,"b[{\\', "\\\\", "[{,", '"', "\\" * 7]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
)


def signs(value) -> int:
    """Commas and openings outside of texts."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(0, len(value) - 1) + sum(map(signs, inner))


@given(JSON, st.integers(2, 30))
def test_only_what_is_outside_of_texts_counts_wherever_it_is_cut(value, size):
    text, count = json.dumps(value).encode(), signs(value)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_size, "PIECE_BYTES", size)
        assert not json_size.has_more_values(text, count)
        assert count == 0 or json_size.has_more_values(text, count - 1)


@given(st.binary(max_size=100), st.integers(0, 20), st.integers(2, 30))
def test_no_bytes_make_the_count_raise_or_go_on_for_ever(text, most, size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_size, "PIECE_BYTES", size)
        json_size.has_more_values(text, most)
