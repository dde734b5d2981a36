from dataclasses import replace

from poselift.client.answers import Person, World

TOLD = {"direction": [0.0, 1.0, 0.0], "uncertainty_deg": 4.0}
MOVING = World("", [], [], [], 1.0, 1.7, {"given": False, "network": TOLD}, {})
SOMEBODY = Person("a", [[[0.0, 0.0, 0.0]]], [[False]], [[0.1]], MOVING)


def test_what_is_stored_of_a_person_holds_what_the_network_told_of_gravity():
    assert SOMEBODY.stored() == {
        "track_id": "a",
        "poses": SOMEBODY.poses,
        "expected_error_m": [[0.1]],
        "world": {"gravity": {"network": TOLD}},
    }
    untold = replace(MOVING, gravity={"given": False})
    assert replace(SOMEBODY, track_id=None, expected_error_m=None, world=untold).stored() == {"poses": SOMEBODY.poses}
