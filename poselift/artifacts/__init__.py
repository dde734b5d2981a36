"""Published models: versioned artifacts, published once, never rewritten, loaded without running anything they contain.

<repository>/<name>/<version>/manifest.json      everything needed to rebuild and to use the network
<repository>/<name>/<version>/model.safetensors  its weights
<repository>/<name>/labels.json                  {"stable": 3, "canary": 4}

A repository is a folder, or a prefix in an object store such as `s3://bucket/prefix`. An artifact that is loaded from
an object store is copied to a local cache folder and found there the next time.
"""
