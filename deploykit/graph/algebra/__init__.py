"""What fusions compute with: affine and linear operators, their composition, and the windows of operators."""
