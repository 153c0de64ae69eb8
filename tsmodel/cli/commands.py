"""The commands, and what they end with: what help can be made of without importing any of them."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["COMMANDS", "COMPLETE", "EXIT", "Command"]

EXIT: Final = {
    0: "done",
    1: "failed, or found what it looks for: damage, changes that are not allowed",
    2: "the command line is wrong; nothing was done",
    3: "done but for lines or records that were left out, which the output names",
    130: "interrupted by Ctrl-C",
    141: "whoever read the output closed it, as `head` does",
}
"""What each exit status means."""

COMPLETE: Final = "_TSMODEL_COMPLETE"
"""The environment variable by which a shell asks for completion."""


class Command(NamedTuple):
    """A command.

    Attributes:
        module: the module of `tsmodel.cli` that has it.
        group: the heading it stands below.
        summary: what it does.
        is_plain: whether it works without the extra.
    """

    module: str
    group: str
    summary: str
    is_plain: bool = False


COMMANDS: Final = {
    "info": Command("reading", "Read", "Show what a file or a server holds."),
    "series": Command("reading", "Read", "List the series: meters, counts, and times."),
    "get": Command("reading", "Read", "Print or save records as a table, CSV, JSON Lines, Parquet or Arrow."),
    "follow": Command("reading", "Read", "Print new records as they arrive, like tail -f."),
    "plot": Command("plotting", "Read", "Draw fields over time into a picture file."),
    "ui": Command("ui", "Read", "Show records as a page in a browser, and by HTTP."),
    "sql": Command("sql", "Read", "Run SQL over records with DuckDB."),
    "import": Command("importing", "Write", "Infer a model from a CSV file, save it, and import the file."),
    "put": Command("writing", "Write", "Store records from CSV, JSON Lines or Parquet."),
    "copy": Command("writing", "Write", "Copy records to another file or server, with their keys."),
    "init": Command("care", "Look after", "Create the tables of a store in PostgreSQL, or a file."),
    "backup": Command("care", "Look after", "Copy a file while others use it."),
    "verify": Command("care", "Look after", "Check everything in a file."),
    "recover": Command("care", "Look after", "Save what is intact in a damaged file."),
    "compact": Command("care", "Look after", "Make a file smaller and faster to read."),
    "undo": Command("removing", "Look after", "Take back what was stored by mistake."),
    "prune": Command("removing", "Look after", "Remove records that are older than their model keeps them."),
    "spool": Command("spool", "Look after", "Show and send what a spool holds for a server that was away."),
    "doctor": Command("doctor", "Look after", "Check that a target is reachable, and how fast and how healthy it is."),
    "serve": Command("serve", "Develop", "Serve TStorage clients of any language.", is_plain=True),
    "schema": Command("schema", "Develop", "Keep a lock file of models, and tell what changed.", is_plain=True),
    "codegen": Command("codegen", "Develop", "Write a model's payload type in another language.", is_plain=True),
}
"""The commands by name, in the order of the help."""
