"""What a PyTorch module needs: to be called, its outputs named, its state kept, torch's errors translated."""
