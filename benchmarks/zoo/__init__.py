"""Small web apps that leak, and some that only look as if they did, with the truth beside each."""
