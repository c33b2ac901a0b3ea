"""Property tests of denoisers, samplers and metrics."""
