"""The page that shows poses in a browser: its files, and how they are answered."""
