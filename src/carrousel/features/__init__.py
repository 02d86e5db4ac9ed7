"""What turns a panel into the arrays a network reads, and its outputs back into the panel's units."""
