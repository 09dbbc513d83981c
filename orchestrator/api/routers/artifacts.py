"""Artifacts: bytes under their SHA-256, streamed both ways."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.schemas import ArtifactAnswer
from orchestrator.api.uploads import Uploads

PREFIX = "/v1/artifacts"
router = APIRouter(prefix=PREFIX, tags=["artifacts"], route_class=TokenFirst)

DigestInPath = Annotated[str, Path(description="SHA-256 as 0x and 64 lower-case hex digits")]


@router.put("/{digest}", operation_id="put_artifact", status_code=HTTPStatus.CREATED)
async def put_artifact(
    digest: DigestInPath, request: Request, response: Response, services: ServicesOfApp, _: Caller
) -> ArtifactAnswer:
    """Store the body under its digest: 201 when it is new, 200 when it is there already."""
    uploads: Uploads = request.app.state.uploads
    is_new = await uploads.run(request, lambda pieces: services.artifacts.put(digest, pieces))
    if not is_new:
        response.status_code = HTTPStatus.OK
    return ArtifactAnswer(digest=digest)


@router.get("/{digest}", operation_id="get_artifact", response_class=StreamingResponse)
def get_artifact(digest: DigestInPath, services: ServicesOfApp, principal: Caller) -> StreamingResponse:
    """The bytes. Readers get only what the chain has made public."""
    artifact = services.artifacts.open(digest, principal)
    return StreamingResponse(
        artifact.chunks,
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(artifact.size_bytes),
            "ETag": f'"{digest}"',
            "Cache-Control": "private, immutable, max-age=31536000",
        },
    )
