"""The settings of the address that Techcyte calls when a task for a model is made."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from broker.orders.fields import Host, HttpUrl
from broker.settings.section import Section

ANY_MODEL = "*"
"""The entry of `algorithms` for every model that has none of its own."""
_SECRET = re.compile(r"[A-Za-z0-9._~-]{8,256}")


def _fits_into_an_address(secret: SecretStr) -> SecretStr:
    if not _SECRET.fullmatch(secret.get_secret_value()):
        raise ValueError(
            "is a part of an address: 8 to 256 letters, digits and ._~-; "
            "`openssl rand -hex 24` makes one"
        )
    return secret


class ModelOrder(Section):
    """What is ordered for a model."""

    algorithm: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    parameters: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)


class TechcyteWebhook(Section):
    """One secret address, where its results go, and what is ordered for each model."""

    name: str = Field(
        "techcyte",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="`created_by` of its orders; a task is told by this name, the host and its id",
    )
    secret: Annotated[SecretStr, AfterValidator(_fits_into_an_address)] = Field(repr=False)
    host: Host | None = Field(None, description="say app.techcyte.com; no task names it")
    base_url: HttpUrl | None = Field(None, description="the address of the API instead of `host`")
    algorithms: dict[str, ModelOrder] = Field(
        min_length=1, description="by the model that the task names; `*` is for any other"
    )
    api_key_id: str | None = Field(None, min_length=1, max_length=256)
    api_key_secret: SecretStr | None = Field(
        None,
        min_length=1,
        repr=False,
        description="with its id, for tasks that come without a token",
    )
    case_results: bool = Field(
        False, description="send the answer for the whole case as `caseResults` too"
    )

    @model_validator(mode="after")
    def _one_address_and_whole_key(self) -> Self:
        if (self.host is None) == (self.base_url is None):
            raise ValueError("give either host or base_url")
        if (self.api_key_id is None) != (self.api_key_secret is None):
            raise ValueError("api_key_id and api_key_secret go together")
        return self

    @property
    def address(self) -> str:
        """Host or URL to which results are sent."""
        if self.base_url is not None:
            return self.base_url.get_secret_value()
        return str(self.host)


class TechcyteSettings(Section):
    """What Techcyte may call. Without webhooks nothing is answered."""

    webhooks: tuple[TechcyteWebhook, ...] = Field((), description="the addresses that are answered")

    @model_validator(mode="after")
    def _secrets_differ(self) -> Self:
        secrets = {webhook.secret.get_secret_value() for webhook in self.webhooks}
        if len(secrets) < len(self.webhooks):
            raise ValueError("services.techcyte.webhooks: two of them have the same secret")
        return self
