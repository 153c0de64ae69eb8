"""`import tsmodel` alone gives checkers every public name and subpackage, and no name that does not exist."""

import tsmodel
from tsmodel import schema

opener: type[tsmodel.Session] = tsmodel.Session
listener: type[tsmodel.server.Listener] = tsmodel.server.Listener
rendered: str = tsmodel.codegen.render(tsmodel.TSModel, "c")
tsmodel.testing.records(tsmodel.TSModel, 3)
register: object = tsmodel.interop.register
changes: tsmodel.schema.Changes = schema.check([tsmodel.TSModel], "schema.lock")

tsmodel.readings  # type: ignore[attr-defined]
tsmodel.session.readings  # type: ignore[attr-defined]
wrong: int = tsmodel.now_ns  # type: ignore[assignment]
