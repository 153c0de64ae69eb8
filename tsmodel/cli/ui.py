"""`tsmodel ui`: serves a page to look at data, and an HTTP interface."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Final

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import option
from tsmodel.cli.failures import UsageError
from tsmodel.errors import MissingLibraryError

__all__ = ["ui_"]

_NEEDED: Final = ("starlette", "uvicorn")
DEFAULT_PORT: Final = 8025
_MODEL: Final = "module:Class, a Python file, or a TOML schema; may be repeated. Without one, payloads are shown in hex."
_GUARD: Final = "Secret that clients must send. If --host is not local, one is generated and printed by default."
_ALLOW_HOST: Final = "A host name that browsers may use for the page. May be repeated."


def ui_(
    target: of.Target = None,
    model: Annotated[list[str] | None, option("--model -m", "MODEL", _MODEL, show_default=False)] = None,
    host: Annotated[str, option("--host", "ADDRESS", "Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, option("--port", "N", "Port; 0 for a free one.", min=0, max=65535)] = DEFAULT_PORT,
    token: Annotated[str | None, option("--token", "TEXT", _GUARD, envvar="TSMODEL_TOKEN", show_default=False)] = None,
    allow_host: Annotated[list[str] | None, option("--allow-host", "NAME", _ALLOW_HOST)] = None,
    tls_cert: Annotated[str | None, option("--tls-cert", "FILE", "Certificate chain (PEM): serve HTTPS.")] = None,
    tls_key: Annotated[str | None, option("--tls-key", "FILE", "Its private key (PEM). Default: in the same file.")] = None,
    max_records: Annotated[int, option("--max-records", "N", "Maximum records read by one request.", min=1)] = 50_000_000,
    max_seconds: Annotated[
        float, option("--max-seconds", "N", "Maximum duration of one request in seconds.", min=0.1)
    ] = 60.0,
    open_browser: Annotated[bool, option("--open", None, "Open the page in a browser.")] = False,
) -> None:
    """Show a file or a server in a browser (series, charts, statistics, records), and serve it over HTTP.

    It only reads. By default it listens on this machine only; with another --host it requires a token. Stop with Ctrl-C.

    Needs the extra web: pip install 'tstorage-model[web]'.

    Example:
      tsmodel ui readings.tsdb --model readings.toml
    """
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingLibraryError(f"tsmodel ui needs {name}: pip install 'tstorage-model[web]'", library=name)
    if tls_key is not None and tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert")
    from tsmodel.cli.models import models_of
    from tsmodel.cli.opening import reading
    from tsmodel.cli.output import note
    from tsmodel.io.connections import server_context
    from tsmodel.web.application import address_of, application, listening, serve
    from tsmodel.web.guard import is_loopback, new_token
    from tsmodel.web.source import Limits, Source

    if tls_cert is not None:
        server_context(tls_cert, tls_key, None)  # raises if they cannot be loaded
    models = models_of(model or [])
    if token is None and not is_loopback(host):
        token = new_token()
    session = reading(target)
    try:
        source = Source(session, models, Limits(records=max_records, seconds=max_seconds))
        names = (*(allow_host or ()), host)
        app: Any = application(source, names=names, token=token, is_secure=tls_cert is not None)
        with listening(host, port) as listener:
            address = address_of(listener, host, is_secure=tls_cert is not None)
            url = address if token is None else f"{address}#token={token}"
            print(f"{source.name} at {url}", flush=True)
            if token is not None and tls_cert is None and not is_loopback(host):
                note("the token and the data are not encrypted on the network: give --tls-cert, or use ssh -L")
            if open_browser:
                import webbrowser

                webbrowser.open(url)
            serve(app, listener, certificate=tls_cert, key=tls_key)
    finally:
        session.close()
