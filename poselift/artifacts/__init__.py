"""Published models: manifests, digests and repositories."""
