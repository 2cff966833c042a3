"""How weights are bettered: optimiser, precision, many processes."""
