"""What the server tells its operators, however slowly they read it."""

from __future__ import annotations

import json
import logging
import os
import threading

from letterrec.serving.telemetry import JsonLines, Writer


def test_a_pipe_that_nobody_reads_holds_up_no_one_and_loses_nothing() -> None:
    n, word = 5_000, "x" * 200  # a megabyte, of which a pipe holds 64 KiB
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        handler = Writer(stream)
        handler.setFormatter(JsonLines())
        logger = logging.Logger("of this test")
        logger.addHandler(handler)

        def log() -> None:
            for i in range(n):
                logger.info(word, extra={"fields": {"i": i}})

        logging_all = threading.Thread(target=log, daemon=True)
        logging_all.start()
        logging_all.join(60)
        assert not logging_all.is_alive()
        with os.fdopen(reading) as lines:
            read = [json.loads(next(lines)) for _ in range(n)]
        assert [line["i"] for line in read] == list(range(n))
        handler.flush()
