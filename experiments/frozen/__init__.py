"""What the frozen backbone consists of: network, weights file, linear probe."""
