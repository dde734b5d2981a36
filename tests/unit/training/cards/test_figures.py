from poselift_training.cards import figures as pictures
from poselift_training.cards.markdown import Card


def test_an_unused_panel_is_not_drawn(card: Card) -> None:
    drawn, left_over = pictures.series(card.series).axes
    assert drawn.axison
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["0 frames", "full"]
    assert not left_over.axison
