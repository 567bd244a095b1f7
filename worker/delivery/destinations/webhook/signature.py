"""Sign a webhook as Standard Webhooks 1.0 describes.

Source: standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signature_header(
    secrets: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes
) -> str:
    """Return `webhook-signature`: one signature for each secret, separated by blanks.

    Several secrets are in use while a receiver changes from an old one to a new one.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return " ".join(_signature(secret, signed) for secret in secrets)


def _signature(secret: bytes, signed: bytes) -> str:
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
