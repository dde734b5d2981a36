from poselift_training.data import Batch
from poselift_training.recipe import DataSource, Publication
from poselift_training.recipe_data import TrainingData, data_sources


class NoBatches:
    steps_per_epoch = 1

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


def test_the_recipe_takes_precedence_over_the_sources_in_the_data() -> None:
    data = TrainingData(NoBatches(), NoBatches(), 50.0, 1.0, (("A", "terms"), ("B", "terms"), ("B", "more terms")))
    publication = Publication(data=(DataSource("C", "none"), DataSource("A", "the terms of A")))
    before = (DataSource("A", "as it was"), DataSource("D", "terms of D"))
    said = [(source.source, source.licence) for source in data_sources(publication, data, before)]
    assert said == [
        ("C", "none"),
        ("A", "the terms of A"),
        ("B", "terms"),
        ("B", "more terms"),
        ("D", "terms of D"),
    ]
