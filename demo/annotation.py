"""A stand-in for caMicroscope's annotation loader and its importer: `python -m demo.annotation`.

Reads the form and answers it; `demo.quip_rules` checks the content of the zip. What became of a job
is at `/job/{id}`, as Kue says it.
"""

from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import HTTP

from demo.http_server import Answer, Request
from demo.quip_rules import check_zip
from demo.receivers import LOOPBACK, Receiver, RefusedError, serve_alone

SUBMIT = "/submitZipOrder"
SUBMIT_MASK = "/submitMaskOrder"
JOB = "/job/"
MASK_FIELDS = ("case_id", "execution_id", "width", "height", "x", "y")


class AnnotationReceiver(Receiver):
    """Accepts zips and masks of any case. `cases` lists the cases of the accepted ones, in order.

    A job is `inactive` and then `active`, for one question each, then `complete`; with
    `import_error`, `failed` with that text. `jobs` has the state of each job by its id: an entry
    that is removed is a job that nobody knows any more.
    """

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        super().__init__(port, host)
        self.cases: list[str] = []
        self.jobs: dict[str, str] = {}
        self.import_error = ""

    def answer(self, request: Request) -> Answer:
        """Answer as the loader and its importer do.

        200: queued. 400: a field is missing. 500: the zip cannot be imported.
        """
        if request.method == "GET" and request.path.startswith(JOB):
            return self._job(request.path.removeprefix(JOB))
        if (request.method, request.path) == ("POST", SUBMIT_MASK):
            return self._mask(request)
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

    def _mask(self, request: Request) -> Answer:
        fields = _fields(request)
        missing = [name for name in ("mask", *MASK_FIELDS) if not fields.get(name)]
        if missing:
            return Answer(400, f"Couldn't find :{' '.join(missing)}")
        if not fields["mask"].startswith(b"\x89PNG"):
            return Answer(500, {"Status": "Failed: the mask is no PNG"})
        note = {name: fields[name].decode() for name in MASK_FIELDS}
        self.accept(request, note | {"case": note["case_id"]})
        return self._queue(note["case_id"])

    def _job(self, job_id: str) -> Answer:
        """Answer as Kue does, which says 200 of a job that there is not."""
        state = self.jobs.get(job_id)
        if state is None:
            return Answer(200, {"error": f'job "{job_id}" doesnt exist'})
        job = {"id": job_id, "type": "ZipOrder", "state": state}
        if state == "failed":
            job["error"] = self.import_error
        following = {"inactive": "active", "active": "complete"}
        if self.import_error:
            following["active"] = "failed"
        self.jobs[job_id] = following.get(state, state)
        return Answer(200, job)

    def _queue(self, case: str) -> Answer:
        self.cases.append(case)
        number = len(self.cases)
        self.jobs[str(number)] = "inactive"
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
