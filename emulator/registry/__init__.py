"""A small OCI registry: image repositories of the account are real registries that any client can push to and pull from.

`blobs` keeps content by digest, `images` keeps manifests and tags per repository, `app` speaks the OCI distribution API,
`unpack` turns a pushed image into a directory and its configuration.
"""
