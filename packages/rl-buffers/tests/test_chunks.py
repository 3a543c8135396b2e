"""Which rows were written since when."""

from rl_buffers._chunks import Chunks


def test_chunks_have_a_fair_size() -> None:
    """A chunk has at least a mebibyte, at most 64, and no more rows than the storage."""
    assert Chunks(1_000_000, 200).rows == (1 << 20) // 200
    assert Chunks(10, 200).rows == 10
    assert Chunks(1 << 30, 1 << 10).rows == (1 << 26) >> 10
    assert Chunks(4, 1 << 30).rows == 1
    assert Chunks(4, 0).rows == 4


def test_what_was_written_after_a_save_has_changed() -> None:
    """Only chunks that a write touched differ from the save before it, and nothing is known of other saves."""
    chunks = Chunks(10 << 10, 1 << 10)
    assert chunks.rows == 1 << 10
    chunks.mark(0, 10 << 10)
    chunks.saved("first")
    chunks.mark((2 << 10) - 1, (2 << 10) + 1)
    chunks.mark(5 << 10, (5 << 10) + 1)
    assert [number for number in range(10) if not chunks.is_unchanged(number, "first")] == [1, 2, 5]
    chunks.saved("second")
    assert all(chunks.is_unchanged(number, "second") for number in range(10))
    assert not chunks.is_unchanged(1, "first")
    assert not chunks.is_unchanged(0, "other")


def test_spans_cover_the_rows_stored() -> None:
    """The last span ends with the last row."""
    spans = Chunks(10 << 10, 1 << 10).spans((2 << 10) + 3)
    assert [(span.start, span.stop) for span in spans] == [(0, 1024), (1024, 2048), (2048, 2051)]
