"""What was compiled: a build log or TensorRT's engine inspector read into one model, and what follows from it."""
