"""The route of the published JSON schema of model.json.

The file is made of the classes that read model.json; it lies in the package of the command line.
"""

from importlib.resources import files

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.dependencies import may_read

router = APIRouter(prefix="/v1/schemas", tags=["algorithms"], dependencies=[Depends(may_read)])


@router.get("/model.json", response_class=Response)
def get_model_schema() -> Response:
    """The JSON schema (2020-12) of model.json, which describes a network in a model folder."""
    document = files("slidelane").joinpath("model.schema.json").read_bytes()
    return Response(document, media_type="application/schema+json")
