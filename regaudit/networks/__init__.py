"""What happens inside a PyTorch network while it runs: where its layers are, and what each puts out."""
