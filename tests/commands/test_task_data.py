"""The columns that a command is given."""

import argparse

from gearshift.commands.task_data import columns_of


def test_columns_that_were_typed_have_the_names_of_the_reader() -> None:
    typed = argparse.Namespace(text_column="said", pair_column="", label_column="")
    assert columns_of(typed) == {"text_column": "said"}
