"""A stand-in for caMicroscope's annotation loader: `python -m demo.annotation`.

Reads the form and answers it; `demo.quip_rules` checks the content of the zip.
"""

from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import HTTP

from demo.http_server import Answer, Request
from demo.quip_rules import check_zip
from demo.receivers import LOOPBACK, Receiver, RefusedError, serve_alone

SUBMIT = "/submitZipOrder"


class AnnotationReceiver(Receiver):
    """Accepts zips of any case. `cases` lists the cases of the accepted zips, in order."""

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        super().__init__(port, host)
        self.cases: list[str] = []

    def answer(self, request: Request) -> Answer:
        """Answer as the loader does.

        200: queued. 400: a field is missing. 500: the zip cannot be imported.
        """
        if (request.method, request.path) != ("POST", SUBMIT):
            raise RefusedError(
                404, f"{request.method} {request.path} is not an address of this loader"
            )
        fields = _fields(request)
        case = fields.get("case_id", b"").decode("utf-8")
        content = fields.get("zip", b"")
        if not case:
            return Answer(400, "case_id is missing")
        if not content:
            return Answer(400, "zip is missing")
        try:
            polygons = check_zip(content)
        except ValueError as error:
            return Answer(500, {"Status": f"Failed: {error}"})
        self.accept(request, {"case": case, "features": polygons})
        return self._queue(case)

    def _queue(self, case: str) -> Answer:
        self.cases.append(case)
        number = len(self.cases)
        job = {"id": number, "type": "order", "state": "inactive", "data": {"case_id": case}}
        return Answer(200, {"Status": "Queued", "Job": job, "id": number})


def _fields(request: Request) -> dict[str, bytes]:
    """Return the fields of a multipart form by name. Raise `RefusedError` for another body."""
    kind = request.headers.get("Content-Type", "")
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + request.body
    )
    if message.get_content_type() != "multipart/form-data" or message.defects:
        raise RefusedError(400, "a whole multipart/form-data body is needed")
    return {
        str(part.get_param("name", "", "content-disposition")): _bytes(part)
        for part in message.iter_parts()
    }


def _bytes(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    if isinstance(content, bytes):
        return content
    return b""


if __name__ == "__main__":
    serve_alone(AnnotationReceiver, ("url",))
