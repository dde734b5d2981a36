"""Readers of JSON documents, one module per form; each is recognised by its content."""
