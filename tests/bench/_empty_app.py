"""An empty FastAPI endpoint: what the hub's answers are compared with."""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/empty")
async def empty() -> dict[str, str]:
    """Nothing."""
    return {}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
    )
