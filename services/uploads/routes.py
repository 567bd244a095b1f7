"""Routes by which callers send slides in: tus 1.0.0 with creation, termination and expiration."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, Field

from broker.errors import OrderError
from broker.uploads import UploadLimits, Uploads, UploadStatus
from services.dependencies import OrderingCaller, Settings
from services.uploads import protocol
from services.uploads.receiving import receive

router = APIRouter(prefix=protocol.PATH, tags=["uploads"])


class CreatedUpload(BaseModel):
    """An upload that was begun."""

    upload: str = Field(description="names the file; `Location` ends in it")
    set: str = Field(description="names all files of the slide; orders take either")
    offset: int = Field(description="how many bytes are here")
    length: int = Field(description="how many bytes there will be")


async def uploads_of(request: Request) -> Uploads:
    """Return the uploads of the application."""
    return cast(Uploads, request.app.state.uploads)


UploadFolder = Annotated[Uploads, Depends(uploads_of)]


@router.options("", status_code=204)
async def describe_uploads(config: Settings, _caller: OrderingCaller) -> Response:
    """Which version and extensions of tus are spoken, and the largest upload."""
    headers = {
        "Tus-Version": protocol.VERSION,
        "Tus-Extension": protocol.EXTENSIONS,
        "Tus-Max-Size": str(config.services.uploads.max_bytes),
    }
    return Response(status_code=204, headers=headers)


@router.options("/{upload_id}", status_code=204)
async def describe_upload(config: Settings, caller: OrderingCaller) -> Response:
    """The same as of `/v1/uploads`."""
    return await describe_uploads(config, caller)


@router.post("", status_code=201, response_model=CreatedUpload, openapi_extra=protocol.CREATION)
def create_upload(
    request: Request,
    config: Settings,
    uploads: UploadFolder,
    caller: OrderingCaller,
    set_id: Annotated[
        str | None,
        Query(alias="set", description="`Upload-Set` of the first file of the same slide"),
    ] = None,
) -> Response:
    """Begin to send a file. Its bytes go to `Location` by PATCH."""
    length = protocol.byte_count(request.headers, "Upload-Length")
    metadata = protocol.metadata_of(request.headers)
    filename = protocol.filename_of(metadata)
    settings = config.services.uploads
    limits = UploadLimits(settings.max_bytes, settings.per_caller, settings.per_caller_bytes)
    status = uploads.create(caller.name, length, filename, metadata, limits, set_id)
    headers = protocol.headers_of(status, settings.keep_s)
    headers["Location"] = f"{protocol.PATH}/{status.id}"
    view = CreatedUpload(
        upload=status.id, set=status.set_id, offset=status.offset, length=status.length
    )
    return Response(view.model_dump_json(), 201, headers, "application/json")


@router.head(
    "/{upload_id}",
    status_code=200,
    response_class=PlainTextResponse,
    openapi_extra=protocol.ANY_REQUEST,
)
def get_upload(
    upload_id: str, config: Settings, uploads: UploadFolder, caller: OrderingCaller
) -> Response:
    """How many bytes have come: the offset to go on from."""
    status = uploads.status(upload_id, caller.name)
    headers = protocol.headers_of(status, config.services.uploads.keep_s)
    headers["Upload-Length"] = str(status.length)
    if status.metadata:
        headers["Upload-Metadata"] = status.metadata
    return Response(status_code=200, headers=headers)


@router.patch("/{upload_id}", status_code=204, openapi_extra=protocol.BYTES)
async def append_to_upload(
    upload_id: str,
    request: Request,
    config: Settings,
    uploads: UploadFolder,
    caller: OrderingCaller,
) -> Response:
    """Send bytes from `Upload-Offset` on. With 204 they are on the disk."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != protocol.MEDIA_TYPE:
        raise OrderError(
            "media_type_unsupported",
            f"the Content-Type is {media_type[:100]!r}, not {protocol.MEDIA_TYPE!r}",
            hint=f"send Content-Type: {protocol.MEDIA_TYPE}",
        )
    offset = protocol.byte_count(request.headers, "Upload-Offset")
    status = await _append(uploads, upload_id, caller.name, offset, request)
    headers = protocol.headers_of(status, config.services.uploads.keep_s)
    return Response(status_code=204, headers=headers)


async def _append(
    uploads: Uploads, upload_id: str, caller: str, offset: int, request: Request
) -> UploadStatus:
    """Append the body of the request, and return how far the upload is then."""
    writer = await run_in_threadpool(uploads.open_writer, upload_id, caller, offset)
    try:
        if "content-length" in request.headers:
            writer.check_fits(protocol.byte_count(request.headers, "Content-Length"))
        await receive(request, writer)
    finally:
        writer.close()
        uploads.touch(upload_id)
    return await run_in_threadpool(uploads.status, upload_id, caller)


@router.delete("/{upload_id}", status_code=204, openapi_extra=protocol.ANY_REQUEST)
def delete_upload(upload_id: str, uploads: UploadFolder, caller: OrderingCaller) -> Response:
    """Remove a file; by the id of a set, all files of a slide."""
    uploads.delete(upload_id, caller.name)
    return Response(status_code=204)
