"""Fuzzers: bundles that a malicious author made, with hashes that are right.

    python -m tests.fuzz [--seconds 3600] [--seed N] [--kinds graph,tokenizer,self_test]

`bundles` changes a bundle and says what came of using it, in a child process with limits; each other module has the
changes of one kind. What fails is kept in a folder, to become a test.
"""
