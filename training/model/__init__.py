"""The networks: causal in time, one path for batch and stream, state in and state out."""
