"""What grew, for which endpoint, and what that growth is."""
