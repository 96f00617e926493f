"""Internal stages: files on disk, listed, uploaded and downloaded."""
