"""Fuzzers: whatever the product reads, changed on purpose, and used in a child process with limits.

    python -m tests.fuzz [--seconds 3600] [--cases N] [--seed N] [--kinds graph,tokenizer] [--results FILE]

`kinds` has the changes and their uses, a file for each kind of file; `child` runs cases and tells what came of them,
`campaign` goes through the kinds. What fails is kept in a folder, to become a test.
"""
