"""Trust in a bundle: what it must have gone through before it is used, and its trial in a process of its own."""
