"""What a finished run publishes: weights, scores, a plot, a model card, and a word to a tracker."""
