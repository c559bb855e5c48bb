"""Test rows that also stand in train."""

from tunelab.data.overlap import find_overlap
from tunelab.records import Example

TRAIN = [Example("1", "Where is it?", "Here."), Example("2", "Who?", "Me.")]


def test_case_and_whitespace_do_not_count():
    test = [
        Example("a", "where  IS\nit?", "here. ", ("here. ",)),
        Example("b", "Where is it?", "There.", ("There.",)),
        Example("c", "Who?", "You.", ("You.", "me.")),
        Example("d", "Why?", "Here.", ("Here.",)),
    ]
    overlap = find_overlap(TRAIN, test)
    assert overlap == (4, 2, 3)
    assert (overlap.share_same_row, overlap.share_same_prompt) == (0.5, 0.75)


def test_plain_text_has_no_prompts_to_share():
    texts = [Example("1", "", "One."), Example("2", "", "Two.")]
    overlap = find_overlap(texts, [Example("a", "", "one."), Example("b", "", "Three.")])
    assert overlap == (2, 1, None)
    assert overlap.share_same_prompt is None


def test_train_prompt_and_target_are_compared_apart():
    assert find_overlap([Example("1", "a b", "c")], [Example("2", "a", "b c")]).num_same_row == 0


def test_the_e2e_split_shares_no_meaning(shared):
    from tunelab.tasks.e2e_nlg import E2eNlg

    task = E2eNlg(path=shared / "data/e2e_nlg")
    assert find_overlap(task.examples("train"), task.examples("test")) == (630, 0, 0)
