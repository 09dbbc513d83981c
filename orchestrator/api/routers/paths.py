"""Numbers in paths."""

from typing import Annotated

from fastapi import Path

TaskInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the task's number on chain")]
RoundInPath = Annotated[int, Path(ge=1, lt=1 << 32, description="the round's number, from 1")]
RoundOrBaseInPath = Annotated[int, Path(ge=0, lt=1 << 32, description="a round; 0 is the base model")]
