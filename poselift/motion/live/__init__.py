"""Motion in the world of live streams: from past frames alone, with a small state that can be stored."""
