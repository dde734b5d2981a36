from dataclasses import replace

from poselift_training.cards.markdown import Card, as_markdown

from tests.unit.training.cards.tables import rows_under


def test_a_card_shows_costs_and_calibration(card: Card) -> None:
    text = as_markdown(card)
    assert [row.split("|")[-2].strip() for row in rows_under(text, "Lookahead")] == ["+12.0", ""]
    assert "velocity" not in text.partition("## Lookahead")[2].partition("## ")[0]
    tenths = rows_under(text, "Expected errors")
    assert len(tenths) == 10
    assert tenths[2] == "| 3 | 30.0 | 33.0 | 0.91 | 30.0 | 33.0 | 0.91 |"


def test_people_who_are_in_two_splits_are_told(card: Card) -> None:
    assert "no person is in two splits" in as_markdown(card)
    shared = as_markdown(replace(card, split_shares_people=True))
    assert "some of its people are in other splits, too" in shared
    assert "no person" not in shared
