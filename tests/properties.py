"""What property-based tests share: the same examples every time, and as many as seconds allow."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SAME_EVERY_TIME = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["~", "null", "yes", "1e3", "0x10", "2001-01-01", "\ud800", "\x85", "a: b"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
"""Whatever JSON and YAML can say."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
"""What is equal to itself after it was written and read."""
