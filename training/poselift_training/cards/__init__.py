"""Model cards: numbers, pictures and a real clip."""
