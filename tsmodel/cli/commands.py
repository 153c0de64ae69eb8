"""The commands and their exit statuses, for help without importing any command."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["COMMANDS", "COMPLETE", "EXIT", "Command"]

EXIT: Final = {
    0: "done",
    1: "failed, or found a problem: a target that cannot be opened, damage, or changes that are not allowed",
    2: "an option or argument is not valid, no target was given, or the model cannot be loaded; nothing was done",
    3: "done, except for lines or records left out, which the output names",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output closed it, as `head` does",
}
"""The meaning of each exit status."""

COMPLETE: Final = "_TSMODEL_COMPLETE"
"""The environment variable with which a shell asks for completion."""


class Command(NamedTuple):
    """A command.

    Attributes:
        module: the module of `tsmodel.cli` that implements it.
        group: its heading in the help.
        summary: what it does, in one line.
        is_plain: whether it works without the extra `cli`.
    """

    module: str
    group: str
    summary: str
    is_plain: bool = False


COMMANDS: Final = {
    "info": Command("reading", "Read", "Show the contents of a file or a server in numbers."),
    "series": Command("reading", "Read", "List the series: meters, counts, and times."),
    "get": Command("reading", "Read", "Print or save records as a table, CSV, JSON Lines, Parquet or Arrow."),
    "follow": Command("reading", "Read", "Print new records as they arrive, like tail -f."),
    "plot": Command("plotting", "Read", "Draw fields over time into a picture file."),
    "ui": Command("ui", "Read", "Show records in a browser, and serve them over HTTP."),
    "sql": Command("sql", "Read", "Run SQL over records with DuckDB."),
    "import": Command("importing", "Write", "Infer a model from a CSV file, save it, and import the file."),
    "put": Command("writing", "Write", "Store records from CSV, JSON Lines or Parquet."),
    "copy": Command("writing", "Write", "Copy records to another file or server, with their keys."),
    "init": Command("maintaining", "Maintain", "Create a store in PostgreSQL, or a file."),
    "backup": Command("maintaining", "Maintain", "Copy a file while others use it."),
    "verify": Command("maintaining", "Maintain", "Check everything in a file."),
    "recover": Command("maintaining", "Maintain", "Save the intact records of a damaged file."),
    "compact": Command("maintaining", "Maintain", "Make a file smaller and faster to read."),
    "undo": Command("maintaining", "Maintain", "Remove records that were stored by mistake."),
    "prune": Command("maintaining", "Maintain", "Remove records older than their model's retention."),
    "spool": Command("maintaining", "Maintain", "Show a spool's pending records, and send them."),
    "doctor": Command("maintaining", "Maintain", "Check that a target is reachable, fast and healthy."),
    "serve": Command("developing", "Develop", "Serve TStorage clients of any language.", is_plain=True),
    "schema": Command("developing", "Develop", "Keep a lock file of models, and check for changes.", is_plain=True),
    "codegen": Command("developing", "Develop", "Write a model's payload type in another language.", is_plain=True),
}
"""The commands by name, in the order of the help."""
