"""Numbers and addresses in paths and queries."""

from typing import Annotated

from fastapi import Path, Query

from contracts.messages import Address

TaskInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the task's number on chain")]
RoundInPath = Annotated[int, Path(ge=1, lt=1 << 32, description="the round's number, from 1")]
RoundOrBaseInPath = Annotated[int, Path(ge=0, lt=1 << 32, description="a round; 0 is the base model")]
SlashInPath = Annotated[int, Path(ge=0, lt=1 << 63, description="the slash's number on chain, from 0")]
NodeInPath = Annotated[Address, Path(description="the account that the node was admitted with")]
TaskInQuery = Annotated[int | None, Query(ge=1, lt=1 << 63, description="only what belongs to this task")]
NodeInQuery = Annotated[Address | None, Query(description="only what belongs to this node")]
