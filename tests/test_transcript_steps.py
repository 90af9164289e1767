"""Drawing an answer in steps: a piece or a slice costs no more than its own rows."""

from r1tui.tui.widgets.transcript_blocks import AnswerBlock, PlainBlock, Work
from tests.markdown_rig import split_markdown


def test_an_unfinished_block_costs_one_row_a_piece() -> None:
    block, work = PlainBlock("", "answer"), Work()
    for _ in range(2000):
        block.append("word ")
        block.lay_out(80, work)
    assert work.rows_built <= 2000 + len(block.rows)


def test_a_listing_is_rendered_a_row_a_step() -> None:
    (code,) = split_markdown("```python\n" + "x = 1\n" * 100 + "```")
    assert sum(1 for _ in AnswerBlock(code, gap=False).refine(80, Work())) == 101
