"""NVFlare's side of a hospital: hands the server's task to the trainer, and the answer back.

This class is named in the site's list of allowed classes; a job names it and brings no code of its own.
"""

import os
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from tier_local import trainer
from tier_local.errors import BadInput
from tier_local.exchange import Meta, failure_meta, site_file_of
from tier_local.guard import without_words
from tier_local.transfers import CellWire

_REQUEST_SECONDS = 30.0
"""How long the server may take for one piece of an adapter; it has other sites to serve."""


class HospitalExecutor(Executor):  # type: ignore[misc] # NVFlare ships no types
    """Answers every task of a job with the hospital's trainer."""

    def __init__(self) -> None:
        super().__init__()
        self._wires: list[CellWire] = []

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        """Say which process works for the site, as soon as it does; offer nothing any more at the end."""
        if event_type == EventType.START_RUN:
            site = site_file_of(fl_ctx.get_identity_name())
            site.process_file.write_text(str(os.getpid()))
        elif event_type == EventType.END_RUN:
            for wire in self._wires:
                wire.close()

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """The hospital's answer; what goes wrong at the hospital is an answer too."""
        try:
            site = site_file_of(fl_ctx.get_identity_name())
        except BadInput as error:
            # The words name the hospital's folders, and without its file nothing permits them to leave.
            self.log_error(fl_ctx, str(error))
            return _message(failure_meta(without_words(error)))
        wire = CellWire(fl_ctx.get_engine().get_cell(), abort_signal, _REQUEST_SECONDS)
        self._wires.append(wire)
        return _message(trainer.answer(site, FLModelUtils.from_shareable(shareable).meta, wire))


def _message(meta: Meta) -> Any:
    # NVFlare wants parameters or metrics in every message.
    return FLModelUtils.to_shareable(FLModel(metrics={}, meta=meta))
