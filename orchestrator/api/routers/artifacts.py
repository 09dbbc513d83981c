"""Artifacts: bytes under their SHA-256, streamed both ways, in pieces if wanted."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from contracts.digests import Digest
from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.closing_stream import ClosingStream
from orchestrator.api.preconditions import entity_tag, is_known
from orchestrator.api.problems import problem_response
from orchestrator.api.ranges import asked_span, content_length, sent_piece
from orchestrator.api.schemas import ArtifactAnswer
from orchestrator.api.uploads import Uploads
from orchestrator.domain.artifacts import UploadProgress
from orchestrator.services.artifacts import StoredArtifact

PREFIX = "/v1/artifacts"
OFFSET_HEADER = "Upload-Offset"
_MEDIA_TYPE = "application/octet-stream"
router = APIRouter(prefix=PREFIX, tags=["artifacts"], route_class=TokenFirst)

_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}

DigestInPath = Annotated[Digest, Path(description="SHA-256 as 0x and 64 lower-case hex digits")]
RangeHeader = Annotated[str | None, Header(alias="Range", description="one range, `bytes=FIRST-LAST`")]
IfRangeHeader = Annotated[str | None, Header(alias="If-Range", description="the `ETag` that the range is of")]
ContentRangeHeader = Annotated[
    str | None,
    Header(
        alias="Content-Range",
        description="the body is `bytes FIRST-LAST/TOTAL`; without a body, `bytes */TOTAL` asks how far",
    ),
]


@router.put(
    "/{digest}",
    operation_id="put_artifact",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": ArtifactAnswer, "description": "It is stored already."},
        507: {},
        202: {
            "model": ArtifactAnswer,
            "description": "The piece is kept; `Upload-Offset` is the next.",
        },
    },
    openapi_extra={
        "requestBody": {
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "required": True,
        }
    },
)
async def put_artifact(
    digest: DigestInPath,
    request: Request,
    response: Response,
    services: ServicesOfApp,
    principal: Caller,
    _: ContentRangeHeader = None,
) -> ArtifactAnswer:
    """Store the body under its digest: 201 when it is new, 200 when it is there already.

    A large artifact may come in pieces, each with `Content-Range`, in order; an upload that broke off goes on
    from `Upload-Offset`, which `Content-Range: bytes */TOTAL` without a body asks for.
    """
    uploads: Uploads = request.app.state.uploads
    piece = sent_piece(request)
    if piece is None:
        length_bytes = content_length(request)
        is_new = await uploads.run(
            request, lambda chunks: services.artifacts.put(digest, chunks, length_bytes)
        )
        if not is_new:
            response.status_code = HTTPStatus.OK
        return ArtifactAnswer(digest=digest, complete=True)
    progress: UploadProgress = await uploads.run(
        request, lambda chunks: services.artifacts.append(digest, principal, piece, chunks)
    )
    response.headers[OFFSET_HEADER] = str(progress.offset_bytes)
    if not progress.is_complete:
        response.status_code = HTTPStatus.ACCEPTED
    return ArtifactAnswer(digest=digest, complete=progress.is_complete)


@router.head("/{digest}", operation_id="get_artifact_size", response_class=ClosingStream, responses=_BYTES)
def get_artifact_size(digest: DigestInPath, services: ServicesOfApp, principal: Caller) -> Response:
    """Whether it is stored, and its size; for whom, as in reading it."""
    return Response(headers=_headers(services.artifacts.open(digest, principal)), media_type=_MEDIA_TYPE)


@router.get(
    "/{digest}",
    operation_id="get_artifact",
    response_class=ClosingStream,
    responses={
        **_BYTES,
        206: {
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "description": "The range that was asked for.",
        },
        304: {"description": "The caller has it already."},
        416: {},
    },
)
def get_artifact(
    digest: DigestInPath,
    request: Request,
    services: ServicesOfApp,
    principal: Caller,
    _: RangeHeader = None,
    __: IfRangeHeader = None,
) -> Response:
    """The bytes, or one range of them. Readers get only what the chain has made public."""
    artifact = services.artifacts.open(digest, principal)
    headers, size_bytes = _headers(artifact), artifact.size_bytes
    span = None if is_known(request, headers["ETag"]) else asked_span(request, headers["ETag"], size_bytes)
    if span is None:
        return ClosingStream(artifact.chunks(), headers, _MEDIA_TYPE)
    if span.start == span.stop:
        return problem_response(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "range_not_satisfiable",
            f"the artifact has {size_bytes} bytes, and the range holds none of them",
            {"Content-Range": f"bytes */{size_bytes}"},
        )
    headers["Content-Length"] = str(span.stop - span.start)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size_bytes}"
    return ClosingStream(
        artifact.chunks(span.start, span.stop), headers, _MEDIA_TYPE, HTTPStatus.PARTIAL_CONTENT
    )


def _headers(artifact: StoredArtifact) -> dict[str, str]:
    return {
        "Content-Length": str(artifact.size_bytes),
        "Accept-Ranges": "bytes",
        "ETag": entity_tag(artifact.digest),
        "Cache-Control": "private, immutable, max-age=31536000",
    }
