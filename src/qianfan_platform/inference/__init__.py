"""One prompt in, an answer out."""
