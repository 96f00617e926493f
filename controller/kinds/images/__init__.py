"""How an image is made and stored: Dockerfile, build context, OCI layers, the registry. Used by the kind `Image`."""
