"""Many runs: accuracies on test images, candidates over seeds, and the tables that the documentation shows."""
