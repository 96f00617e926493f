"""The model that is trained: loaded, given adapters, its attention and loss made fit for packed rows, its layers made fast."""
