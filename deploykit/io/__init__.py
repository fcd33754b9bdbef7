"""The only door for files that somebody else made: checkpoints, images, ONNX graphs."""
