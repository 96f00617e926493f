"""The fine-tune itself: configuration, data, model, DeepSpeed engine, loop, checkpoints, evaluation and artefacts."""
