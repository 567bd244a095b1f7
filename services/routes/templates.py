"""The route that shows the templates of orders. They are changed in config.json only."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from broker.orders.fields import Priority
from broker.orders.roi import RoiLimits
from broker.settings.services.policies import Template
from services.dependencies import Settings, may_read

router = APIRouter(prefix="/v1/templates", tags=["orders"], dependencies=[Depends(may_read)])


class TemplateView(BaseModel):
    """A template: what its orders are, and what an order may say besides its scans."""

    name: str
    title: str
    algorithm: str
    parameters: dict[str, Any]
    destination: str = Field(description="a name in `services.destinations`, or a type")
    priority: Priority
    labels: dict[str, str]
    roi: RoiLimits
    allow: list[str]


class TemplatesView(BaseModel):
    """All templates, by name."""

    templates: list[TemplateView]


@router.get("")
def list_templates(config: Settings) -> TemplatesView:
    """The templates that orders may name, with the limits of their regions."""
    templates = sorted(config.services.templates.items())
    return TemplatesView(templates=[_view(name, template) for name, template in templates])


def _view(name: str, template: Template) -> TemplateView:
    fields = template.destination_fields
    return TemplateView(
        name=name,
        title=template.title or name,
        algorithm=template.algorithm,
        parameters=dict(template.parameters),
        destination=template.destination_name or str(fields["type"]),
        priority=template.priority,
        labels=dict(template.labels),
        roi=template.roi,
        allow=list(template.allow),
    )
