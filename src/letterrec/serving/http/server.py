"""The server: runs, options and tokens in, one process or several that answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from letterrec.processes.memory import share_arenas
from letterrec.runs.run import Run
from letterrec.serving.http.lifecycle import until_served
from letterrec.serving.http.options import ServerOptions
from letterrec.serving.http.process import Loading, Serving
from letterrec.serving.http.sockets import listen
from letterrec.serving.http.tokens import Tokens, TokenSource
from letterrec.serving.http.workers import serve_together
from letterrec.serving.telemetry import event, log_to_stderr


def serve(runs: Mapping[str, Path], loading: Loading, options: ServerOptions) -> None:
    """Serve runs until the process is told to stop.

    Args:
        runs: folders of finished runs, by name; the first one answers where nothing else is said.
        loading: loads a run, at the start and at every reload.
        options: how.

    Raises:
        MissingExtra: a package of the extra ``serve`` is not installed.
        RunError: a run cannot be served, or the address is not to be had.
    """
    for folder in runs.values():
        Run.open(folder)
    share_arenas()
    tokens = Tokens.read_from(
        TokenSource(options.token_file, "LETTERREC_TOKEN"),
        TokenSource(options.read_token_file, "LETTERREC_READ_TOKEN"),
    )
    if options.workers > 1:
        serve_together(runs, loading, options, tokens)
        return
    listener = listen(options.host, options.port)
    with until_served():
        log_to_stderr(at_once=True)
        event("loading", run=" ".join(map(str, runs.values())))
        serving = Serving(runs, loading, options, tokens, listener.getsockname()[0])
    log_to_stderr()
    serving.run(listener, lambda: event("serving", **serving.describe(listener)))
